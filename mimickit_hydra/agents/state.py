"""Copies and checks of nested state, so that a checkpoint that does not fit is one clear line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.buffer import RolloutBuffer
from mimickit_hydra.agents.normalizers import ActionNormalizer
from mimickit_hydra.errors import UserError


def clone(value: Any) -> Any:
    """A deep copy of nested dicts and lists of tensors and plain values."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: clone(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(clone(entry) for entry in value)
    return value


def plain_weights(found: Any, where: str) -> dict[str, Tensor]:
    """Named tensors that a network can take: on the CPU, dense, finite, and no larger than what holds their numbers.

    UserError that begins with ``where`` for anything else.
    """
    if not isinstance(found, Mapping) or not found:
        raise UserError(f"{where}: holds no named tensors")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{where}: holds no named tensors: {str(name)[:60]!r} is a {type(value).__name__}")
        wrong = _not_plain(value)
        if wrong:
            raise UserError(f"{where}: {name[:60]!r} is {wrong}")
    return dict(found)


def _not_plain(value: Tensor) -> str:
    if value.layout != torch.strided or value.is_nested or value.is_quantized or value.device.type == "meta":
        return f"no plain tensor ({value.layout}, {value.dtype}, {value.device.type})"
    if value.dtype.is_complex:
        return f"complex ({value.dtype})"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"larger than its {value.untyped_storage().nbytes():,} bytes"
    return "" if bool(torch.isfinite(value).all()) else "not finite"


def check_names_and_shapes(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """UserError naming the first entry of a model that is missing, unknown or of another shape."""
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    if missing or unknown:
        named = (("lacks", missing), ("has unknown", unknown))
        parts = [f"{what} {_first(names)}" for what, names in named if names]
        raise UserError(f"the model does not fit this agent: it {' and '.join(parts)}; check agent and agent.model")
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise UserError(
                f"the model does not fit this agent: {name} has shape {list(found[name].shape)}, this agent's is "
                f"{list(tensor.shape)}; check agent.model, character and the env's observation keys"
            )


def check_constants(found: Mapping[str, Tensor], net: nn.Module) -> None:
    """UserError where a model holds another constant than the config gives: action bounds, or a prior's weights.

    The loaded one would count, whatever the config says. What modules keep as the config has it is no matter.
    """
    for name, own in _constants(net):
        mine, theirs = own.detach().cpu().double(), found[name].detach().cpu().double()
        if not torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5):
            index = int((mine - theirs).abs().argmax())
            values = f"{theirs.flatten()[index]:g} in the weights, {mine.flatten()[index]:g} here, at {index}"
            what = "bounds of actions" if "_a_norm" in name else "prior" if "prior" in name else name
            raise UserError(
                f"the model was trained with other {what} than this run has ({name}: {values}); use the character, "
                "engine.control_mode and agent files it was trained with"
            )


def _constants(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a model that neither training nor statistics change, except for those that loading leaves alone."""
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad and not name.endswith("_logstd_net"):
            yield name, parameter
    for name, module in net.named_modules():
        if isinstance(module, ActionNormalizer):
            yield f"{name}._mean", module._mean
            yield f"{name}._std", module._std


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def check_agent(saved: Mapping[str, Any], agent_name: str, obs_shape: tuple[int, ...]) -> None:
    """UserError if a checkpoint is of another method, or of another number or kind of environments."""
    if not isinstance(saved.get("agent_name"), str) or not isinstance(saved.get("model"), Mapping):
        raise UserError("the checkpoint holds no training state of an agent; use model_file= to load weights alone")
    if saved["agent_name"] != agent_name:
        raise UserError(f"the checkpoint is of agent {saved['agent_name'][:60]}, the config asks for {agent_name}")
    found = tuple(saved["obs"].shape)
    if found != obs_shape:
        raise UserError(
            f"the checkpoint was written with {found[0]} environments of {found[1]} observations, this run has "
            f"{obs_shape[0]} of {obs_shape[1]}; resume with the same num_envs, or use model_file= to load weights alone"
        )


def non_finite_places(buffer: RolloutBuffer, net: nn.Module, fields: Sequence[str]) -> list[str]:
    """The places of the first non-finite numbers: rollout fields with step and env, and tensors of the networks."""
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
