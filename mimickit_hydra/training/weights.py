"""Reads a policy's weights by MimicKit's names, from a run, a checkpoint of ours or a bare ``model.pt``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mimickit_hydra.agents.state import plain_weights
from mimickit_hydra.config.paths import find_model
from mimickit_hydra.errors import UserError
from mimickit_hydra.training.checkpoint import load_checkpoint


class ModelWeights(NamedTuple):
    """Weights and normaliser statistics by MimicKit's names, and where they come from."""

    weights: dict[str, Any]
    path: Path
    ours: bool  # from a complete checkpoint of ours rather than a bare model.pt
    config: str  # of the run that trained them, "" where nothing says
    warnings: list[str]
    left_out: tuple[str, ...] = ()  # what a packed policy does not hold: the networks that only training uses

    def completed(self, own: Mapping[str, Tensor]) -> dict[str, Any]:
        """All weights of an agent: these, and ``own`` for what a packed policy leaves out."""
        return {**{name: own[name] for name in self.left_out if name in own}, **self.weights}


def model_weights(path: Path) -> ModelWeights:
    """Read ``path``: a run directory (its best checkpoint, else the newest), one checkpoint, or a bare ``model.pt``."""
    path = find_model(str(path))
    best, bare = path / "checkpoints" / "best.pt", path / "model.pt"
    if path.is_dir() and best.exists():
        path = best
    elif bare.exists() and not best.parent.exists():  # the run directory of a checkout
        path = bare
    loaded = load_checkpoint(path, replay=False)
    ours = "agent" in loaded.payload
    agent = loaded.payload.get("agent")
    if ours and not (isinstance(agent, Mapping) and isinstance(agent.get("model"), Mapping)):
        raise UserError(f"{loaded.path}: holds no weights of an agent")
    weights = plain_weights(agent["model"] if isinstance(agent, Mapping) else loaded.payload, str(loaded.path))
    config = loaded.payload.get("config") if ours else ""
    left_out = agent.get("left_out", []) if isinstance(agent, Mapping) else []
    if not (isinstance(left_out, list) and all(isinstance(name, str) for name in left_out)):
        raise UserError(f"{loaded.path}: left_out is no list of names")
    text = config if isinstance(config, str) else ""
    return ModelWeights(weights, loaded.path, ours, text, loaded.warnings, tuple(left_out))


def whole_weights(path: Path) -> ModelWeights:
    """The same for who needs every network; UserError for a packed policy."""
    found = model_weights(path)
    if found.left_out:
        raise UserError(f"{found.path}: holds the policy alone, without {found.left_out[0]}; give the run directory")
    return found
