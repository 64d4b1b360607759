"""The task of walking to points on the ground (AMP, Peng et al. 2021, section 8.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import ObjectState
from mimickit_hydra.envs.parts import World
from mimickit_hydra.envs.rows import ALL, Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.tasks.location_schema import LocationEnvConfig
from mimickit_hydra.envs.tasks.task import (
    DIRECTION_EPS,
    Task,
    between,
    dot,
    heading_direction,
    turned,
    unit_circle,
)
from mimickit_hydra.motion.rotations import heading


class Location(Task):
    """The target is a point at a random distance and direction, replaced from time to time.

    Observation: the target relative to the root in the heading frame 2. Reward: closeness, speed towards it and
    facing it; within the threshold the last two are given in full.
    """

    obs_size = 2

    says_where_to_go = True
    steerable = True
    goal_name, goal_about_root = "target", True

    @classmethod
    def build(cls, config: LocationEnvConfig, world: World) -> Location:
        return cls(config, world.engine.states[0], world.engine.control_dt)

    def __init__(self, config: LocationEnvConfig, character: ObjectState, control_dt: float) -> None:
        """``character`` is the engine's live state."""
        self._config = config
        self._character = character
        self._dt = control_dt
        num_envs = len(character.root_pos)
        self.target = character.root_pos.new_zeros(num_envs, 2)  # m
        self.change_time = character.root_pos.new_zeros(num_envs)  # s, when the next target comes
        self.prev_root_pos = torch.zeros_like(character.root_pos)  # m, before the last step

    def draw(self) -> Tensor:
        """Uniform numbers ``[N, 3]``: distance, direction, time to the next change."""
        return torch.rand(len(self.target), 3, device=self.target.device)

    def new_goal(self, view: View, u: Tensor) -> tuple[Tensor, Tensor]:
        c = self._config
        distance = between(c.tar_dist_min, c.tar_dist_max, u[:, 0])
        offset = distance.unsqueeze(-1) * unit_circle(2.0 * math.pi * u[:, 1])
        change_time = view.time + between(c.tar_change_time_min, c.tar_change_time_max, u[:, 2])
        return view.character.root_pos[:, :2] + offset, change_time

    def restart(self, view: View, rows: Rows) -> None:
        target, change_time = self.new_goal(view, rows.take(self.draw()))
        rows.put(self.target, target)
        rows.put(self.change_time, change_time)

    def steer(self, place: Tensor) -> None:
        self.target.copy_(place)
        self.change_time.fill_(math.inf)

    def marks(self) -> dict[str, Tensor]:
        return {"target": torch.nn.functional.pad(self.target, (0, 1))}

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        self.prev_root_pos.copy_(self._character.root_pos)

    def update(self, view: View) -> None:
        due = Rows(mask=view.time >= self.change_time)
        target, change_time = self.new_goal(view, self.draw())
        due.put(self.target, target)
        due.put(self.change_time, change_time)

    def observe(self, view: View, rows: Rows) -> list[Tensor]:
        """Offset from the root to the target over the ground, in the heading frame: ``[n, 2]`` m."""
        offset = rows.take(self.target) - view.character.root_pos[:, :2]
        return [turned(-heading(view.character.root_rot), offset)]

    def reward(self, view: View) -> Tensor:
        """``[N]``: near the target, moving towards it at ``tar_speed`` or faster, and facing it."""
        c, root_pos = self._config, view.character.root_pos
        offset = self.target - root_pos[:, :2]
        square_dist = dot(offset, offset)
        direction = offset / square_dist.sqrt().clamp(min=DIRECTION_EPS).unsqueeze(-1)
        velocity = (root_pos - self.prev_root_pos)[:, :2] / self._dt
        speed = dot(direction, velocity)
        lag = (c.tar_speed - speed).clamp(min=0.0)
        arrived = square_dist < c.dist_threshold
        moving = torch.where(speed > 0.0, torch.exp(-c.vel_err_scale * lag * lag), 0.0)
        facing = dot(direction, heading_direction(view.character.root_rot)).clamp(min=0.0)
        return (
            c.pos_reward_w * torch.exp(-c.pos_err_scale * square_dist)
            + c.vel_reward_w * moving.masked_fill(arrived, 1.0)
            + c.face_reward_w * facing.masked_fill(arrived, 1.0)
        )

    def state_dict(self) -> dict[str, Tensor]:
        return {"target": self.target.cpu().clone(), "change_time": self.change_time.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        ALL.put(self.target, state["target"])
        ALL.put(self.change_time, state["change_time"])
