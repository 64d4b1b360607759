"""The manifest ``sweep.yaml``: the runs of a sweep, their directories and overrides. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimickit_hydra.errors import UserError
from mimickit_hydra.files import END, WHOLE, refuse_cut, remove_leftovers, write_text_atomic
from mimickit_hydra.foreign import parse_yaml, read_text

FILE = "sweep.yaml"
FROZEN = "frozen.yaml"  # in each run directory: the config as it was at submission
DAMAGED = FILE + ".damaged"  # the manifest that :func:`rebuild` has replaced


class DamagedManifestError(UserError):
    """A manifest that cannot be read; :func:`rebuild` can make it again."""


@dataclass(frozen=True)
class SweepRun:
    """One run in the manifest. ``dir`` and ``config`` are relative to the sweep's directory."""

    number: int
    dir: str
    overrides: list[str]
    varied: list[str]  # the overrides in which the runs differ
    config: str


@dataclass(frozen=True)
class Sweep:
    path: Path  # of the sweep's directory
    runs: list[SweepRun]
    command: list[str] = field(default_factory=list)  # the overrides given by hand
    created: str = ""
    cwd: str = ""  # where the runs start, so that relative paths in the config keep their meaning
    sweeper: str = "basic"
    trials: int | None = None  # how many runs a search is to have

    def run_dir(self, run: SweepRun) -> Path:
        return self.path / run.dir


def create_sweep(path: Path, command: Sequence[str], *, sweeper: str = "basic", trials: int | None = None) -> Sweep:
    """Make the directory of a new sweep. UserError if it holds one already."""
    path = Path(path)
    if (path / FILE).exists():
        raise UserError(f"{path} already holds a sweep; continue it with: mimickit sweep resume {path}")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made: {error.strerror or error}") from None
    return Sweep(path, [], list(command), time.strftime("%Y-%m-%dT%H:%M:%S%z"), os.getcwd(), sweeper, trials)


def add_runs(sweep: Sweep, planned: Sequence[tuple[str, Sequence[str], Sequence[str], str]]) -> Sweep:
    """Write the directories and frozen configs of ``(name, overrides, varied, frozen text)`` and then the manifest."""
    runs = list(sweep.runs)
    for name, overrides, varied, frozen in planned:
        run_dir = sweep.path / name
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            (run_dir / FROZEN).write_text(frozen, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{run_dir}: cannot be written to: {error.strerror or error}") from None
        runs.append(SweepRun(len(runs), name, list(overrides), list(varied), f"{name}/{FROZEN}"))
    sweep = dataclasses.replace(sweep, runs=runs)
    write_sweep(sweep)
    return sweep


def write_sweep(sweep: Sweep) -> None:
    import yaml

    content = {
        "format": 1,
        "created": sweep.created,
        "command": sweep.command,
        "cwd": sweep.cwd,
        "sweeper": sweep.sweeper,
        "trials": sweep.trials,
        "runs": [dataclasses.asdict(run) for run in sweep.runs],
    }
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(content, Dumper=dumper, sort_keys=False, width=1000, default_flow_style=None)
    how = "# continue this sweep: mimickit sweep resume <this directory>\n"
    write_text_atomic(sweep.path / FILE, WHOLE + how + text + END)


def read_sweep(path: Path | str) -> Sweep:
    """The manifest in a sweep's directory (or the file itself).

    UserError says what is wrong with it, DamagedManifestError where there is one.
    """
    folder = folder_of(path)
    if not (folder / FILE).exists():
        what = "no sweep.yaml in it, so it is not the directory of a sweep" if folder.is_dir() else "no such directory"
        raise UserError(f"{path}: {what}")
    try:
        text = read_text(folder / FILE)
        refuse_cut(text, folder / FILE)
        return _parse(folder.absolute(), parse_yaml(text, folder / FILE))
    except UserError as error:
        raise DamagedManifestError(f"{error}; mimickit sweep resume {folder} makes it again from its runs") from None


def folder_of(path: Path | str) -> Path:
    """The directory of the sweep, which may be given by its manifest."""
    path = Path(path).expanduser()
    return path.parent if path.name == FILE else path


def rebuild(path: Path | str) -> Sweep:
    """Make a damaged manifest again, from the run directories and the lines of it that can still be read.

    The damaged one is kept beside it. UserError where there are no runs.
    """
    folder = folder_of(path).absolute()
    found = [(place, _overrides_of(folder / place / FROZEN)) for place in _run_places(folder)]
    if not found:
        raise UserError(f"{folder / FILE}: damaged, and no {FROZEN} of a run is there to make it again; start it anew")
    common = set.intersection(*(set(words) for _, words in found))
    runs = [
        SweepRun(number, place, words, [word for word in words if word not in common], f"{place}/{FROZEN}")
        for number, (place, words) in enumerate(found)
    ]
    sweep = Sweep(folder, runs, **{"cwd": os.getcwd(), **_legible(folder / FILE)})
    os.replace(folder / FILE, folder / DAMAGED)
    write_sweep(sweep)
    return sweep


def _run_places(folder: Path) -> list[str]:
    """The directories below ``folder`` that hold a frozen config, in the order of the numbers in their names."""
    places = []
    for current, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if FROZEN in files and Path(current) != folder:
            places.append(Path(current).relative_to(folder).as_posix())
            folders.clear()  # earlier starts of a run are in it
    return sorted(
        places, key=lambda place: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", place)]
    )


def _overrides_of(frozen: Path) -> list[str]:
    """The words a run was frozen with; none where its file is damaged, which then fails that run alone."""
    from mimickit_hydra.runs.snapshot import frozen_words

    try:
        return frozen_words(read_text(frozen), frozen)
    except UserError:
        return []


def _legible(path: Path) -> dict[str, Any]:
    """What a damaged manifest still says about the sweep as a whole, line by line."""
    try:
        lines = read_text(path).splitlines()
    except UserError:
        return {}
    kept: dict[str, Any] = {}
    for line in lines:
        with contextlib.suppress(UserError):
            kept |= _typed(parse_yaml(line, path), _OF_A_SWEEP, "")
    return kept


def _parse(folder: Path, content: Any) -> Sweep:
    where = f"{folder / FILE}: not a sweep's manifest"
    if not isinstance(content, dict) or not isinstance(content.get("runs"), list):
        raise UserError(f"{where} (lacks 'runs')")
    runs = [SweepRun(**_typed(entry, _OF_A_RUN, where, needed=True)) for entry in content["runs"]]
    for run in runs:  # the file may come from elsewhere: nothing outside its own directory is touched
        for part in (run.dir, run.config):
            if not _is_inside(folder, part):
                raise UserError(f"{folder / FILE}: {part[:100]!r}: a run outside the sweep's directory")
    return Sweep(folder, runs, **_typed(content, _OF_A_SWEEP, where))


def _is_inside(folder: Path, part: str) -> bool:
    try:
        return (folder / part).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # no name of a file, or a circle of links
        return False


def _typed(found: Any, kinds: Mapping[str, Any], where: str, needed: bool = False) -> dict[str, Any]:
    """The entries of ``found`` in ``kinds``; UserError for one of another kind, or for one that is missing."""
    if not isinstance(found, dict):
        raise UserError(f"{where} (a run is a {type(found).__name__})")
    kept = {key: found[key] for key in kinds if found.get(key) is not None}
    for key, value in kept.items():
        texts = kinds[key] is list and isinstance(value, list) and not all(isinstance(word, str) for word in value)
        if not isinstance(value, kinds[key]) or isinstance(value, bool) or texts:
            raise UserError(f"{where} ({key}: found {str(value)[:60]!r})")
    if needed and len(kept) < len(kinds):
        raise UserError(f"{where} (lacks {next(key for key in kinds if key not in kept)!r})")
    return kept


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Context in which only this process, of those on this machine, changes the manifest."""
    with open(folder / ".sweep.lock", "w") as file:
        try:
            import fcntl
        except ImportError:  # Windows has no sweeps in parallel
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        remove_leftovers(folder)
        yield


_OF_A_RUN = {"number": int, "dir": str, "overrides": list, "varied": list, "config": str}
_OF_A_SWEEP = {"command": list, "created": str, "cwd": str, "sweeper": str, "trials": int}
