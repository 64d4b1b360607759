"""Writes the weights of a run in the layout of MimicKit's ``model.pt``."""

from __future__ import annotations

from pathlib import Path

from mimickit_hydra.training.checkpoint import save_model
from mimickit_hydra.training.weights import ModelWeights, whole_weights


def export_model(run: Path, target: Path) -> ModelWeights:
    """Write the weights of ``run`` to ``target`` as a ``model.pt`` for MimicKit; returns what was read."""
    found = whole_weights(run)
    save_model(target, found.weights)
    return found
