"""Checks and copies of nested state, so that a checkpoint that does not fit is one clear line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.buffer import RolloutBuffer
from mimickit_hydra.agents.errors import AgentError


def clone(value: Any) -> Any:
    """A deep copy of nested dicts and lists of tensors and plain values."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: clone(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(clone(entry) for entry in value)
    return value


def check_names_and_shapes(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """AgentError naming the first entry of a model that is missing, unknown or of another shape."""
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    if missing or unknown:
        named = (("lacks", missing), ("has unknown", unknown))
        parts = [f"{what} {_first(names)}" for what, names in named if names]
        raise AgentError(f"the model does not fit this agent: it {' and '.join(parts)}; check agent and agent.model")
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise AgentError(
                f"the model does not fit this agent: {name} has shape {list(found[name].shape)}, this agent's is "
                f"{list(tensor.shape)}; check agent.model, character and the env's observation keys"
            )


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def check_agent(saved: Mapping[str, Any], agent_name: str, obs_shape: tuple[int, ...]) -> None:
    """AgentError if a checkpoint is of another method, or of another number or kind of environments."""
    if "agent_name" not in saved or "model" not in saved:
        raise AgentError("the checkpoint holds no training state of an agent; use model_file= to load weights alone")
    if saved["agent_name"] != agent_name:
        raise AgentError(f"the checkpoint is of agent {saved['agent_name']}, the config asks for {agent_name}")
    found = tuple(saved["obs"].shape)
    if found != obs_shape:
        raise AgentError(
            f"the checkpoint was written with {found[0]} environments of {found[1]} observations, this run has "
            f"{obs_shape[0]} of {obs_shape[1]}; resume with the same num_envs, or use model_file= to load weights alone"
        )


def non_finite_places(buffer: RolloutBuffer, net: nn.Module, fields: Sequence[str]) -> list[str]:
    """Where the first non-finite numbers are: rollout fields with step and env, and tensors of the networks."""
    places = []
    for name in fields:
        if name in buffer:
            bad = ~torch.isfinite(buffer[name])
            if bool(bad.any()):
                index = torch.nonzero(bad)[0].tolist()
                where = f"rollout {name}, step {index[0]}, env {index[1]}"
                places.append(where + (f", component {index[2]}" if len(index) > 2 else ""))
    for name, tensor in net.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            places.append(name)
    return places
