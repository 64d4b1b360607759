"""Bounds of the action per control mode. Actions are physical values; scaling belongs to the agent."""

from __future__ import annotations

import math

import torch

from mimickit_hydra.engines.interface import CONTROL_MODES, ObjectModel
from mimickit_hydra.envs.errors import EnvError, nearest

SPHERICAL_RANGE = 1.2  # of the largest limit of the joint's three axes
HINGE_RANGE = 1.4  # of the half range, so that a PD target beyond the limit can still press against it
VELOCITY_RANGE = 2.0 * math.pi  # rad/s


def action_bounds(
    model: ObjectModel, control_mode: str, zero_center: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest and highest action ``[D]`` (rad, rad/s or N m by ``control_mode``) of one character.

    A 3-DoF joint is commanded by an exponential map, so its bounds are one symmetric number for all three axes; a hinge
    keeps its own centre unless ``zero_center``. Raises EnvError for a mode that this character cannot be driven in.
    """
    if control_mode not in CONTROL_MODES:
        allowed = ", ".join(CONTROL_MODES)
        hint = nearest(control_mode, CONTROL_MODES)
        raise EnvError(f"engine.control_mode: found {control_mode!r}, allowed are {allowed}{hint}")
    if control_mode in ("pos", "pd_explicit"):
        return _position_bounds(model, control_mode, zero_center)
    if control_mode == "torque":
        high = torch.as_tensor(model.torque_limits, dtype=torch.float32).clone()
    else:
        high = torch.full((model.num_dofs,), VELOCITY_RANGE if control_mode == "vel" else 1.0)
    return -high, high


def _position_bounds(model: ObjectModel, control_mode: str, zero_center: bool) -> tuple[torch.Tensor, torch.Tensor]:
    lower = torch.as_tensor(model.dof_low, dtype=torch.float32)
    upper = torch.as_tensor(model.dof_high, dtype=torch.float32)
    low, high = torch.empty_like(lower), torch.empty_like(upper)
    start = 0
    for body, width in enumerate(int(d) for d in model.dof_dims):
        part = slice(start, start + width)
        start += width
        if width == 0:
            continue
        if width == 1:
            center = torch.zeros(1) if zero_center else 0.5 * (lower[part] + upper[part])
            reach = HINGE_RANGE * torch.maximum((upper[part] - center).abs(), (lower[part] - center).abs())
        elif control_mode == "pd_explicit":
            raise EnvError(
                f"engine.control_mode: 'pd_explicit' drives hinges only, but the joint of body "
                f"{model.body_names[body]!r} of {model.name} has {width} DoFs; use 'pos'"
            )
        else:
            center = torch.zeros(width)
            reach = SPHERICAL_RANGE * torch.maximum(lower[part].abs(), upper[part].abs()).amax().expand(width)
        low[part], high[part] = center - reach, center + reach
    return low, high
