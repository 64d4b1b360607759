"""Whether the files and folders that a config names are there, are what they should be, and where to get them if not.

Nothing here imports torch.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.schema import RunConfig

MOTION_SUFFIXES = (".npz", ".pkl", ".yaml")
PRIOR_SUFFIXES = (".pt",)
CHARACTER_SUFFIXES = (".xml",)


def check_files(run: RunConfig) -> None:
    """Raise UserError for the first that cannot be used."""
    for root in run.data_root:
        if not Path(root).expanduser().is_dir():
            raise UserError(f"data_root: found {root!r}, must be an existing directory")
    _check_data_file("env.char_file", run.env.char_file, CHARACTER_SUFFIXES, run)
    if hasattr(run.env, "motion_file"):
        _check_data_file("env.motion_file", run.env.motion_file, MOTION_SUFFIXES, run)
        _check_dataset(run)
    for i, thing in enumerate(getattr(run.env, "objects", [])):
        _check_data_file(f"env.objects[{i}].file", thing.file, CHARACTER_SUFFIXES, run)
    if hasattr(run.agent, "smp_prior_model"):
        _check_data_file("agent.smp_prior_model", run.agent.smp_prior_model, PRIOR_SUFFIXES, run)
    if run.model_file is not None:
        _check_model(run.model_file)
    if run.resume is not None and not Path(run.resume).expanduser().is_dir():
        raise UserError(f"resume: found {run.resume!r}, must be a run directory that exists")


def _check_data_file(key: str, path: str, suffixes: tuple[str, ...], run: RunConfig) -> None:
    if Path(path).suffix not in suffixes:
        raise UserError(f"{key}: found {path!r}, must be a file ending in {', '.join(suffixes)}")
    try:
        resolve_data_file(path, run.data_root)
    except UserError as error:
        from mimickit_hydra.config.files import where_from

        # what conf/ names is spelt right: it is to be fetched or made
        ours = path in (run.character.char_file, run.motion.motion_file) or key == "agent.smp_prior_model"
        hint = where_from(run, key) if ours else ""
        raise UserError(f"{key}: {error}{f'; {hint}' if hint else ''}") from None


def _check_dataset(run: RunConfig) -> None:
    """Every clip of a dataset is there. What else may be wrong with it is said by whoever reads it."""
    path = resolve_data_file(run.env.motion_file, run.data_root)
    if path.suffix != ".yaml":
        return
    files = _clips_of(path)
    missing = [file for file in files if not _is_there(file, run)]
    if missing:
        from mimickit_hydra.config.files import where_from

        count = f"{len(missing)} of its {len(files)} clips are missing, the first is {missing[0]}"
        raise UserError(f"env.motion_file: {run.env.motion_file}: {count}; {where_from(run, 'env.motion_file')}")


def _clips_of(dataset: Path) -> list[str]:
    import yaml

    try:
        content = yaml.load(dataset.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return [str(entry["file"]) for entry in content["motions"]]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return []


def _is_there(path: str, run: RunConfig) -> bool:
    try:
        return bool(resolve_data_file(path, run.data_root))
    except UserError:
        return False


def _check_model(model_file: str) -> None:
    path = Path(model_file).expanduser()
    allowed = "a checkpoint (.pt) or a run directory with checkpoints in it"
    if not path.exists():
        raise UserError(f"model_file: found {model_file!r}, must be a checkpoint or a run directory that exists")
    if not (_has_model(path) if path.is_dir() else _is_saved_by_torch(path)):
        raise UserError(f"model_file: found {model_file!r}, must be {allowed}")


def _has_model(folder: Path) -> bool:
    """A run directory of ours, its ``checkpoints``, or a run directory of MimicKit."""
    inside = folder if folder.name == "checkpoints" else folder / "checkpoints"
    return any(inside.glob("*.pt")) or (folder / "model.pt").is_file()


def _is_saved_by_torch(path: Path) -> bool:
    """A zip archive around one pickle; only the archive's table of contents is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
