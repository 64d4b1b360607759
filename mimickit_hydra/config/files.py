"""Every file that a config names, and the files those name: whether each is there, and where to get it if not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.fetch import PACKAGES, WHERE
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.schema import RunConfig

# Which attribute of MuJoCo's <compiler> says where an element's file is looked for
_ASSET_FOLDERS = {"mesh": "meshdir", "hfield": "", "texture": "texturedir", "skin": "", "include": ""}


@dataclass(frozen=True)
class NamedFile:
    """``key`` (or the file in which it stands) names ``path``; ``found`` is None where there is none."""

    key: str
    path: str
    found: Path | None
    hint: str = ""  # where to get it


def named_files(run: RunConfig) -> list[NamedFile]:
    """Assets with their meshes, motions with every clip of a dataset, the prior, weights, runs, other interpreters."""
    if run.core.name == "mimickit" and run.core.root:
        data = Path(run.core.root).expanduser() / "data"
        run = dataclasses.replace(run, data_root=[*([str(data)] * data.is_dir()), *run.data_root])
    return [*_assets(run), *_motions(run), *_prior(run), *_given(run)]


def where_from(run: RunConfig, key: str) -> str:
    """Where to get the file that ``key`` names."""
    if key == "agent.smp_prior_model":
        return f"mimickit prior train DIR motion={run.motion.name}, then agent.smp_prior_model=DIR/model.pt"
    if key == "env.motion_file":
        return "mimickit assets fetch go2" if run.character.name == "go2" else f"clips: {WHERE}"
    return f"mimickit assets fetch {run.character.name}" if run.character.name in PACKAGES else WHERE


def _look(run: RunConfig, key: str, path: str, hint: str) -> NamedFile:
    try:
        return NamedFile(key, path, resolve_data_file(path, run.data_root))
    except UserError:
        return NamedFile(key, path, None, hint)


# -------------------------------------------------------------------------------------------------------------- assets


def _assets(run: RunConfig) -> Iterator[NamedFile]:
    hint = where_from(run, "env.char_file")
    assets = [("env.char_file", run.env.char_file)]
    assets += [(f"env.objects[{i}].file", thing.file) for i, thing in enumerate(getattr(run.env, "objects", []))]
    for key, path in assets:
        file = _look(run, key, path, hint)
        yield file
        if file.found is not None:
            yield from _meshes(file.found, hint)


def _meshes(asset: Path, hint: str) -> Iterator[NamedFile]:
    """What an MJCF refers to: relative to its own folder, or to what its compiler element says."""
    try:
        root = ElementTree.parse(asset).getroot()
    except (ElementTree.ParseError, OSError):
        return  # said by whoever reads the body
    compiler = {key: value for element in root.iter("compiler") for key, value in element.attrib.items()}
    for kind, folder_key in _ASSET_FOLDERS.items():
        folder = asset.parent / compiler.get(folder_key, compiler.get("assetdir", "")) if folder_key else asset.parent
        for element in root.iter(kind):
            name = element.get("file")
            if name:
                path = folder / name
                yield NamedFile(asset.name, name, path if path.is_file() else None, hint)


# ------------------------------------------------------------------------------------------------------------- motions


def _motions(run: RunConfig) -> Iterator[NamedFile]:
    if not hasattr(run.env, "motion_file"):
        return
    hint = where_from(run, "env.motion_file")
    motion = _look(run, "env.motion_file", run.env.motion_file, hint)
    yield motion
    if motion.found is None:
        return
    from mimickit_hydra.motion.library import DATASET_SUFFIXES, read_dataset

    if motion.found.suffix in DATASET_SUFFIXES:
        for entry in read_dataset(motion.found):
            yield _look(run, motion.found.name, entry.file, hint)


def _prior(run: RunConfig) -> Iterator[NamedFile]:
    if hasattr(run.agent, "smp_prior_model"):
        key = "agent.smp_prior_model"
        yield _look(run, key, run.agent.smp_prior_model, where_from(run, key))


# ------------------------------------------------------------------------------------------------- what the user names


def _given(run: RunConfig) -> Iterator[NamedFile]:
    """Paths as they are, files or folders."""
    paths = [("model_file", run.model_file), ("resume", run.resume), ("engine.python", _python(run))]
    paths += [(f"data_root[{i}]", root) for i, root in enumerate(run.data_root)]
    paths += [(f"core.{key}", getattr(run.core, key, None)) for key in ("root", "python")]
    for key, path in paths:
        if path:
            found = Path(path).expanduser()
            yield NamedFile(key, path, found if found.exists() else None, "check the path")


def _python(run: RunConfig) -> str | None:
    from mimickit_hydra.engines.catalog import IN_PROCESS

    python: str | None = run.engine.python
    return None if python == IN_PROCESS else python
