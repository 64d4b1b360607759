"""Lists every file that a config names, and the files that those name: found or missing, and where to get them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.assets.fetch import GO2_CLIP_NAMES, PACKAGES, WHERE
from mimickit_hydra.config.defaults import read
from mimickit_hydra.config.paths import find_model
from mimickit_hydra.config.roots import conf_dir
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.runs.files import NamedFile, files_of


@dataclass(frozen=True)
class HintedFile(NamedFile):
    """A file that a config names, with where to get it if there is none."""

    hint: str = ""


def named_files(run: RunConfig) -> list[HintedFile]:
    """Every file of a run: assets and meshes, motions and clips, the prior, weights, runs, other interpreters."""
    named = [file for file in files_of(run) if file.owner != "model_file"]
    hints = [where_from(run, file.owner, file.path) or "check the path" for file in named]
    found = [HintedFile(**vars(file), hint=hint) for file, hint in zip(named, hints, strict=True)]
    return [*found, *_given(run)]


def where_from(run: RunConfig, key: str, path: str) -> str:
    """Where to get ``path``, to which ``key`` leads; empty for the user's own files, which only the user can find."""
    if key == "agent.smp_prior_model":
        return f"mimickit prior train DIR motion={run.motion.name}, then agent.smp_prior_model=DIR/model.pt"
    if key == "env.motion_file" and _is_ours("motion", run.motion.name, "motion_file", run.env.motion_file):
        fetched = run.character.name == "go2" and Path(path).stem in GO2_CLIP_NAMES
        return "mimickit assets fetch go2" if fetched else f"clips: {WHERE}"
    if key == "env.char_file" and _is_ours("character", run.character.name, "char_file", run.env.char_file):
        return f"mimickit assets fetch {run.character.name}" if run.character.name in PACKAGES else WHERE
    return ""


def _is_ours(group: str, option: str, key: str, value: str) -> bool:
    """Whether a value is what this package's own option states."""
    file = conf_dir() / group / f"{option}.yaml"
    return file.is_file() and read(file).values.get(key) == value


# ------------------------------------------------------------------------------------------------- what the user names


def _given(run: RunConfig) -> Iterator[HintedFile]:
    """Files or folders whose paths stand in the config as they are."""
    paths = [("model_file", run.model_file), ("resume", run.resume), ("engine.python", _python(run))]
    paths += [(f"data_root[{i}]", root) for i, root in enumerate(run.data_root)]
    paths += [(f"core.{key}", getattr(run.core, key, None)) for key in ("root", "python")]
    for key, path in paths:
        if path:
            found = find_model(path, run.data_root) if key == "model_file" else Path(path).expanduser()
            yield HintedFile(key, path, found if found.exists() else None, key, "check the path")


def _python(run: RunConfig) -> str | None:
    from mimickit_hydra.engines.catalog import IN_PROCESS

    python: str | None = run.engine.python
    return None if python == IN_PROCESS else python
