"""Weights of a run in the layout of MimicKit's ``model.pt``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.runtime.checkpoint import load_checkpoint, save_model

FORMATS = ("mimickit",)


def model_weights(path: Path) -> tuple[dict[str, Any], Path, bool]:
    """Weights and normalisers in ``path``, the file they come from, and whether that is a checkpoint of ours.

    ``path`` is a run directory (its best checkpoint, or the newest), one checkpoint, or a bare ``model.pt``.
    """
    path = path.expanduser()
    best, bare = path / "checkpoints" / "best.pt", path / "model.pt"
    if path.is_dir() and best.exists():
        path = best
    elif path.is_dir() and bare.exists() and not best.parent.exists():
        path = bare
    loaded = load_checkpoint(path)
    if "agent" not in loaded.payload:
        return loaded.payload, loaded.path, False
    try:
        return dict(loaded.payload["agent"]["model"]), loaded.path, True
    except (KeyError, TypeError):
        raise UserError(f"{loaded.path}: holds no weights of an agent") from None


def export_model(run: Path, target: Path) -> Path:
    """Write the weights of ``run`` as a ``model.pt`` for MimicKit; returns the checkpoint they came from."""
    if target.is_dir():
        target = target / "model.pt"
    weights, source, _ = model_weights(run)
    save_model(target, weights)
    return source
