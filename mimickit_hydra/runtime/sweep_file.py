"""``sweep.yaml``: which runs a sweep has, where they are, and what they were started with. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.runtime.files import write_text_atomic

FILE = "sweep.yaml"
FROZEN = "frozen.yaml"  # in each run directory: the config as it was at submission


@dataclass(frozen=True)
class SweepRun:
    """A line of the manifest. ``dir`` and ``config`` are relative to the sweep's directory."""

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
    write_text_atomic(sweep.path / FILE, f"# continue this sweep: mimickit sweep resume <this directory>\n{text}")


def read_sweep(path: Path | str) -> Sweep:
    """The manifest in a sweep's directory (or the file itself). UserError says what is wrong with it."""
    import yaml

    path = Path(path).expanduser()
    folder = path.parent if path.name == FILE else path
    try:
        content = yaml.load(
            (folder / FILE).read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except FileNotFoundError:
        what = "no sweep.yaml in it, so it is not the directory of a sweep" if folder.is_dir() else "no such directory"
        raise UserError(f"{path}: {what}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{folder / FILE}: not readable ({str(error).splitlines()[0]})") from None
    return _parse(folder.absolute(), content)


def _parse(folder: Path, content: Any) -> Sweep:
    try:
        runs = [SweepRun(**{key: entry[key] for key in _KEYS}) for entry in content["runs"]]
        for run in runs:  # the file may come from elsewhere: nothing outside its own directory is touched
            if not (folder / run.dir).resolve().is_relative_to(folder.resolve()):
                raise UserError(f"{folder / FILE}: {run.dir}: a run outside the sweep's directory")
        rest = {key: content[key] for key in ("command", "created", "cwd", "sweeper", "trials") if content.get(key)}
        return Sweep(folder, runs, **rest)
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / FILE}: not a sweep's manifest (lacks {error})") from None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Between processes of one machine: only one at a time changes the manifest."""
    with open(folder / ".sweep.lock", "w") as file:
        try:
            import fcntl
        except ImportError:  # Windows has no sweeps in parallel
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


_KEYS = tuple(entry.name for entry in dataclasses.fields(SweepRun))

__all__ = ["FILE", "FROZEN", "Sweep", "SweepRun", "add_runs", "create_sweep", "locked", "read_sweep", "write_sweep"]
