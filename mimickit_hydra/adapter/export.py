"""Weights of a run in the layout of MimicKit's ``model.pt``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.runtime.checkpoint import load_checkpoint, save_model

FORMATS = ("mimickit",)


class ModelWeights(NamedTuple):
    """Weights and normaliser statistics by MimicKit's names, and where they come from."""

    weights: dict[str, Any]
    path: Path
    ours: bool  # from a complete checkpoint of ours rather than a bare model.pt
    warnings: list[str]


def model_weights(path: Path) -> ModelWeights:
    """Read ``path``: a run directory (its best checkpoint, else the newest), one checkpoint, or a bare ``model.pt``."""
    path = path.expanduser()
    best, bare = path / "checkpoints" / "best.pt", path / "model.pt"
    if path.is_dir() and best.exists():
        path = best
    elif bare.exists() and not best.parent.exists():  # the run directory of a checkout
        path = bare
    loaded = load_checkpoint(path, replay=False)
    if "agent" not in loaded.payload:
        return ModelWeights(loaded.payload, loaded.path, False, loaded.warnings)
    try:
        weights = dict(loaded.payload["agent"]["model"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{loaded.path}: holds no weights of an agent") from None
    return ModelWeights(weights, loaded.path, True, loaded.warnings)


def export_model(run: Path, target: Path) -> ModelWeights:
    """Write the weights of ``run`` to ``target`` as a ``model.pt`` for MimicKit; returns what was read."""
    found = model_weights(run)
    save_model(target, found.weights)
    return found
