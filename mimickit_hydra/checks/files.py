"""Checks that the files and folders a config names are there and what they should be, and says where to get them.

Nothing here imports torch.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from mimickit_hydra.config.paths import find_model, resolve_data_file
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.dataset import DATASET_SUFFIXES, Dataset, files_of_set, read_dataset, run_clips
from mimickit_hydra.motion.importers import suffixes

PRIOR_SUFFIXES = (".pt",)
CHARACTER_SUFFIXES = (".xml",)


def check_files(run: RunConfig) -> None:
    """Raise UserError for the first that cannot be used."""
    for root in run.data_root:
        if not Path(root).expanduser().is_dir():
            raise UserError(f"data_root: found {root!r}, must be an existing directory")
    _check_data_file("env.char_file", run.env.char_file, CHARACTER_SUFFIXES, run)
    if hasattr(run.env, "motion_file"):
        _check_motions(run)
    for i, thing in enumerate(getattr(run.env, "objects", [])):
        _check_data_file(f"env.objects[{i}].file", thing.file, CHARACTER_SUFFIXES, run)
    if hasattr(run.agent, "smp_prior_model"):
        _check_data_file("agent.smp_prior_model", run.agent.smp_prior_model, PRIOR_SUFFIXES, run)
    if run.model_file is not None:
        _check_model(run.model_file, run.data_root)
    if run.resume is not None and not Path(run.resume).expanduser().is_dir():
        raise UserError(f"resume: found {run.resume!r}, must be a run directory that exists")


def _check_data_file(key: str, path: str, suffixes: tuple[str, ...], run: RunConfig) -> None:
    if Path(path).suffix not in suffixes:
        raise UserError(f"{key}: found {path!r}, must be a file ending in {', '.join(suffixes)}")
    try:
        resolve_data_file(path, run.data_root)
    except UserError as error:
        from mimickit_hydra.checks.reading import where_from

        hint = where_from(run, key, path)
        raise UserError(f"{key}: {error}{f'; {hint}' if hint else ''}") from None


def _check_motions(run: RunConfig) -> None:
    """UserError unless there is a clip, or a set with some to train on."""
    try:
        several = files_of_set(run.env.motion_file, run.data_root)
    except UserError as error:
        raise UserError(f"env.motion_file: {error}") from None
    if not several:
        _check_data_file("env.motion_file", run.env.motion_file, (*suffixes(), *DATASET_SUFFIXES), run)
        _check_dataset(run)
    run_clips(run)


def _check_dataset(run: RunConfig) -> None:
    """UserError unless a list of clips is one, and every clip of it is there."""
    path = resolve_data_file(run.env.motion_file, run.data_root)
    if path.suffix not in DATASET_SUFFIXES:
        return
    try:
        dataset = read_dataset(path)
    except UserError as error:
        raise UserError(f"env.motion_file: {error}") from None
    files = [entry.file for entry in dataset.entries]
    missing = [file for file in files if not _is_there(file, dataset, run)]
    if missing:
        from mimickit_hydra.checks.reading import where_from

        count = f"{len(missing)} of its {len(files)} clips are missing, the first is {missing[0]}"
        own = f"clips lie in the root_path that it states, beside the list ({path.parent}), in a data_root, or here"
        if Path(missing[0]).is_absolute():
            own = "that path is absolute: write it relative to the list, or to a root_path that the list states"
        hint = where_from(run, "env.motion_file", missing[0]) or own
        raise UserError(f"env.motion_file: {run.env.motion_file}: {count}; {hint}")


def _is_there(file: str, dataset: Dataset, run: RunConfig) -> bool:
    try:
        return bool(dataset.find(file, run.data_root))
    except UserError:
        return False


def _check_model(model_file: str, data_root: list[str]) -> None:
    path = find_model(model_file, data_root)
    allowed = "a checkpoint (.pt) or a run directory with checkpoints in it"
    if not path.exists():
        raise UserError(f"model_file: found {model_file!r}, must be a checkpoint or a run directory that exists")
    if not (_has_model(path) if path.is_dir() else _is_saved_by_torch(path)):
        raise UserError(f"model_file: found {model_file!r}, must be {allowed}")


def _has_model(folder: Path) -> bool:
    """Whether the folder is a run directory of ours, its ``checkpoints``, or a run directory of MimicKit."""
    inside = folder if folder.name == "checkpoints" else folder / "checkpoints"
    return any(inside.glob("*.pt")) or (folder / "model.pt").is_file()


def _is_saved_by_torch(path: Path) -> bool:
    """Whether the file is a zip archive around one pickle; only its table of contents is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
