"""What actions mean: their bounds for each control mode, and the pose that they may be offsets from.

Actions are physical values; scaling them belongs to the agent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mimickit_hydra.engines.catalog import CONTROL_MODES
from mimickit_hydra.engines.interface import ObjectModel
from mimickit_hydra.envs.errors import EnvError, nearest
from mimickit_hydra.envs.parts import Part, World
from mimickit_hydra.envs.rows import Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.motion.robot import NO_LIMIT, NO_TORQUE_LIMIT

SPHERICAL_RANGE = 1.2  # of the largest limit of the joint's three axes
HINGE_RANGE = 1.4  # of the half range, so that a PD target beyond the limit can still press against it
VELOCITY_RANGE = 2.0 * math.pi  # rad/s


def action_bounds(
    model: ObjectModel, control_mode: str, zero_center: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest and highest action ``[D]`` (rad, rad/s or N m by ``control_mode``) of one character.

    A 3-DoF joint is commanded by an exponential map, so its bounds are one symmetric number for all three axes; a hinge
    keeps its own centre unless ``zero_center``. A joint without a range goes half a turn either way, and targets stay
    within what the file's position actuators take. Raises EnvError for a mode that this character cannot be driven in.
    """
    if control_mode not in CONTROL_MODES:
        allowed = ", ".join(CONTROL_MODES)
        hint = nearest(control_mode, CONTROL_MODES)
        raise EnvError(f"engine.control_mode: found {control_mode!r}, allowed are {allowed}{hint}")
    if control_mode in ("pos", "pd_explicit"):
        return _position_bounds(model, control_mode, zero_center)
    if control_mode == "torque":
        high = torch.as_tensor(model.torque_limits, dtype=torch.float32).clone()
        if bool((high >= NO_TORQUE_LIMIT).any()):
            raise EnvError("engine.control_mode: torque needs joints with torque limits, and not all of these have one")
    else:
        high = torch.full((model.num_dofs,), VELOCITY_RANGE if control_mode == "vel" else 1.0)
    return -high, high


def _position_bounds(model: ObjectModel, control_mode: str, zero_center: bool) -> tuple[torch.Tensor, torch.Tensor]:
    lower, upper = (torch.as_tensor(end, dtype=torch.float32) for end in (model.dof_low, model.dof_high))
    low, high = torch.empty_like(lower), torch.empty_like(upper)
    start = 0
    for body, width in enumerate(int(d) for d in model.dof_dims):
        part = slice(start, start + width)
        start += width
        if width == 0:
            continue
        if bool((lower[part] <= -NO_LIMIT).any() or (upper[part] >= NO_LIMIT).any()):
            center, reach = torch.zeros(width), torch.full((width,), math.pi)
        elif width == 1:
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
    if model.target_low is not None and model.target_high is not None:
        low = low.maximum(torch.as_tensor(model.target_low, dtype=torch.float32))
        high = high.minimum(torch.as_tensor(model.target_high, dtype=torch.float32))
        if bool((low > high).any()):
            raise EnvError(f"env.char_file: ctrlrange and range of joints of {model.name} have no angle in common")
    return low, high


class AboutReference(Part):
    """Moves the targets of the joints' controllers by where the reference is in the next frame.

    An action in the middle of its bounds then aims at the reference, and a policy that has learned nothing follows it
    for a while. Offsets of a joint of three DoFs are added to its exponential map.
    """

    follows_reference = True
    target_steps = (1,)

    def __init__(self, world: World, middle: Tensor) -> None:
        """``middle [D]`` rad is what an action aims at that changes nothing."""
        engine = world.engine
        self._character, self._middle = world.character, middle.to(engine.device)
        self._ahead = torch.zeros(engine.num_envs, len(middle), device=engine.device)

    def _aim(self, view: View) -> Tensor:
        return self._character.rot_to_dof(view.targets[self.targets[0]].joint_rot)

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        command += self._ahead - self._middle

    def restart(self, view: View, rows: Rows) -> None:
        rows.put(self._ahead, self._aim(view))

    def update(self, view: View) -> None:
        self._ahead.copy_(self._aim(view))

    def state_dict(self) -> dict[str, Tensor]:
        return {"ahead": self._ahead.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._ahead.copy_(state["ahead"])
