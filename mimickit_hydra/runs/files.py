"""The files that a config names: found, recorded with the run, and found again by whoever reads the run later.

A config names files as people write them, relative to a folder that is searched. The same name may lead to another
file from another folder, on another day or on another machine. So a run keeps ``files.json``: the absolute path and the
checksum of every file that it read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimickit_hydra.config.overrides import combinations, parse, quote
from mimickit_hydra.config.paths import find_data_folder, find_model, resolve_data_file
from mimickit_hydra.config.resolved import config_of_run
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import one_line, read_json, read_xml, sha256_of
from mimickit_hydra.motion.dataset import DATASET_SUFFIXES, files_of_set, read_dataset

FILES = "files.json"
_PRIOR = "agent.smp_prior_model"
_PRIOR_FILES = ("diffusion_config.yaml", "env_config.yaml")  # lie beside a prior
# Which attribute of MuJoCo's <compiler> says where an element's file is looked for
_ASSET_FOLDERS = {"mesh": "meshdir", "hfield": "", "texture": "texturedir", "skin": "", "include": ""}


@dataclass(frozen=True)
class NamedFile:
    """``key`` (or the file in which it stands) names ``path``; ``found`` is None where there is none."""

    key: str
    path: str
    found: Path | None
    owner: str  # the config's key that leads to it


@dataclass(frozen=True)
class FileRecord:
    """A file that a run has read: what named it, where it was, and what was in it."""

    key: str
    name: str
    owner: str  # the config's key that leads to it
    path: str
    sha256: str
    size: int
    mtime_ns: int

    def is_at(self, path: Path | None) -> bool:
        """Whether ``path`` holds what the run has read."""
        if path is None:
            return False
        try:
            found = path.stat()
            if (str(path), found.st_size, found.st_mtime_ns) == (self.path, self.size, self.mtime_ns):
                return True
            return found.st_size == self.size and sha256_of(path) == self.sha256
        except (OSError, UserError):
            return False


# ------------------------------------------------------------------------------------------------------------ the files


def files_of(run: RunConfig) -> list[NamedFile]:
    """Every file that the config of a run names: assets and meshes, motions and clips, the prior, the weights."""
    if run.core.name == "mimickit" and run.core.root:
        data = Path(run.core.root).expanduser() / "data"
        run = dataclasses.replace(run, data_root=[*([str(data)] * data.is_dir()), *run.data_root])
    return [*_assets(run), *_motions(run), *_prior(run), *_weights(run)]


def _look(run: RunConfig, key: str, path: str) -> NamedFile:
    return NamedFile(key, path, _found(resolve_data_file, path, run), key)


def _found(resolve: Callable[[str, Sequence[str]], Path], path: str, run: RunConfig) -> Path | None:
    try:
        return resolve(path, run.data_root)
    except UserError:
        return None


def _assets(run: RunConfig) -> Iterator[NamedFile]:
    assets = [("env.char_file", run.env.char_file)]
    assets += [(f"env.objects[{i}].file", thing.file) for i, thing in enumerate(getattr(run.env, "objects", []))]
    for key, path in assets:
        file = _look(run, key, path)
        yield file
        if file.found is not None:
            yield from _meshes(file.found, file.found.parent, key, set())


def _meshes(asset: Path, folder: Path, owner: str, seen: set[Path]) -> Iterator[NamedFile]:
    """The files that an MJCF refers to, relative to ``folder`` (the first file's) or to what its compiler says."""
    seen.add(asset)
    try:
        root = read_xml(asset)
    except UserError:
        return  # said by whoever reads the body
    compiler = {key: value for element in root.iter("compiler") for key, value in element.attrib.items()}
    for kind, folder_key in _ASSET_FOLDERS.items():
        inside = folder / compiler.get(folder_key, compiler.get("assetdir", "")) if folder_key else folder
        for element in root.iter(kind):
            name = element.get("file")
            if not name:
                continue
            path = (inside / name).absolute()
            yield NamedFile(asset.name, name, path if path.is_file() else None, owner)
            if kind == "include" and path.is_file() and path not in seen:
                yield from _meshes(path, folder, owner, seen)


def _motions(run: RunConfig) -> Iterator[NamedFile]:
    if not hasattr(run.env, "motion_file"):
        return
    name = run.env.motion_file
    with contextlib.suppress(UserError):  # said by whoever reads the set
        if several := files_of_set(name, run.data_root):
            folder = find_data_folder(name, run.data_root)
            for file in several:
                yield NamedFile(name, str(file.relative_to(folder) if folder else file), file, "env.motion_file")
            return
    motion = _look(run, "env.motion_file", name)
    yield motion
    if motion.found is not None and motion.found.suffix in DATASET_SUFFIXES:
        try:
            dataset = read_dataset(motion.found)
        except UserError:
            return  # said by whoever reads the list
        for entry in dataset.entries:
            yield NamedFile(motion.found.name, entry.file, _found(dataset.find, entry.file, run), "env.motion_file")


def _prior(run: RunConfig) -> Iterator[NamedFile]:
    if not hasattr(run.agent, "smp_prior_model"):
        return
    model = _look(run, _PRIOR, run.agent.smp_prior_model)
    yield model
    for name in _PRIOR_FILES if model.found is not None else ():
        beside = Path(str(model.found)).with_name(name)
        if beside.is_file():
            yield NamedFile(beside.parent.name, name, beside, _PRIOR)


def _weights(run: RunConfig) -> Iterator[NamedFile]:
    if run.model_file is None:
        return
    path = find_model(run.model_file, run.data_root).absolute()
    inside = path if path.name == "checkpoints" else path / "checkpoints"
    candidates = [path, inside / "best.pt", inside / "last.pt", path / "model.pt"]
    yield NamedFile(
        "model_file", run.model_file, next((file for file in candidates if file.is_file()), None), "model_file"
    )


# ----------------------------------------------------------------------------------------------------------- the record


def record_files(run: RunConfig) -> str:
    """The text of ``files.json`` for a run that starts now."""
    records = [_record(file, file.found) for file in files_of(run) if file.found is not None]
    return json.dumps([dataclasses.asdict(record) for record in records], indent=1) + "\n"


def read_files(run_dir: Path | str) -> list[FileRecord]:
    """The files that a run has read; none where it keeps no record. UserError where the record is damaged."""
    path = Path(run_dir) / FILES
    if not path.exists():
        return []
    try:
        return [_as_record(entry) for entry in read_json(path)]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise UserError(f"{path}: not a record of files ({one_line(error)}); remove it to do without") from None


def parse_files(text: str) -> list[FileRecord]:
    """The records in the text of a ``files.json``. ValueError, TypeError or KeyError for another text."""
    return [_as_record(entry) for entry in json.loads(text)]


def _as_record(entry: Any) -> FileRecord:
    return FileRecord(**{key: kind(entry[key]) for key, kind in _KINDS.items()})


_KINDS: dict[str, Any] = {
    "key": str,
    "name": str,
    "owner": str,
    "path": str,
    "sha256": str,
    "size": int,
    "mtime_ns": int,
}


def _record(file: NamedFile, path: Path) -> FileRecord:
    about = path.stat()
    return FileRecord(file.key, file.path, file.owner, str(path), sha256_of(path), about.st_size, about.st_mtime_ns)


# -------------------------------------------------------------------------------------------------------- finding again


def as_recorded(run_dir: str, before: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Overrides that lead a reader of a run to the very files that the run has read.

    Args:
        run_dir: the run that is gone on with, tested or repeated.
        before: overrides of its settings.
        overrides: the words that follow them. A file whose key is among them is the user's choice.

    Raises:
        UserError: a file that the run has read is gone or has changed, and what is found in its place is another one.
    """
    records = read_files(config_of_run(run_dir).parent)
    if not records:
        return []
    chosen = {parse(text).key for text in overrides}
    by_name = {(record.key, record.name): record for record in records}
    files = _files_by_run([*before, *overrides])
    words = []
    for key in ("env.char_file", "env.motion_file", _PRIOR):
        named = [file for of_run in files for file in of_run if file.key == key]
        record = by_name.get((key, named[0].path)) if named else None
        if record is None or key in chosen or any(file.path != record.name for file in named):
            continue  # the user's choice, or another one in each run of a sweep
        if not record.is_at(named[0].found) and record.is_at(Path(record.path)):
            words.append(f"{key}={quote(record.path)}")
    _refuse_others(run_dir, _files_by_run([*before, *words, *overrides]) if words else files, records, chosen)
    return words


def refuse_changed(run_dir: Path, run: RunConfig) -> None:
    """UserError where a run that starts again by itself would read another file than it began with."""
    if records := read_files(run_dir):
        _refuse_others(str(run_dir), [_recorded(run)], records, set())


def _files_by_run(overrides: Sequence[str]) -> list[list[NamedFile]]:
    from mimickit_hydra.config.compose import compose, to_run

    return [_recorded(to_run(compose(words))) for words in combinations(overrides)]


def _recorded(run: RunConfig) -> list[NamedFile]:
    """The files of a run that have to be as recorded: not the weights, once it goes on from its own."""
    return [file for file in files_of(run) if not (run.resume and file.key == "model_file")]


def _refuse_others(
    run_dir: str, files: Iterable[list[NamedFile]], records: Sequence[FileRecord], chosen: set[str]
) -> None:
    known = {(record.key, name): record for record in records for name in (record.name, record.path)}
    moved: dict[str, str] = {}
    for file in itertools.chain.from_iterable(files):
        record = known.get((file.key, file.path))
        if record is None or file.owner in chosen:
            continue
        if not record.is_at(file.found):
            raise UserError(_other(run_dir, file, record))
        if (where := str(file.found)) != record.path:
            moved[record.path] = f"note: {file.key}: {record.path} is now {where}, with the same content"
    for line in moved.values():
        print(line, file=sys.stderr)


def _other(run_dir: str, file: NamedFile, record: FileRecord) -> str:
    here = Path(record.path)
    what = "" if record.is_at(here) else " which has changed" if here.is_file() else " which is gone"
    if file.found is not None and str(file.found) != record.path:
        what += f"{' and' if what else ' but'} {file.found} has other content"
    return f"{run_dir}: {file.key}: the run has read {record.path},{what}; to use another one: {file.owner}=FILE"
