"""The task of walking to points on the ground (AMP, Peng et al. 2021, section 8.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mimickit_hydra.envs.rows import Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.tasks.location_schema import LocationEnvConfig
from mimickit_hydra.envs.tasks.task import (
    DIRECTION_EPS,
    GoalTask,
    between,
    dot,
    heading_direction,
    turned,
    unit_circle,
)
from mimickit_hydra.motion.rotations import heading


class Location(GoalTask):
    """The target is a point at a random distance and direction, replaced from time to time.

    Observation: the target relative to the root in the heading frame 2. Reward: closeness, speed towards it and
    facing it; within the threshold the last two are given in full.
    """

    obs_size = 2
    goal_name, goal_size, chances, goal_about_root = "target", 2, 3, True
    target: Tensor  # [N, 2] m
    _config: LocationEnvConfig

    def new_goal(self, view: View, u: Tensor) -> tuple[Tensor, Tensor]:
        """From distance, direction and time to the next change."""
        c = self._config
        distance = between(c.tar_dist_min, c.tar_dist_max, u[:, 0])
        offset = distance.unsqueeze(-1) * unit_circle(2.0 * math.pi * u[:, 1])
        change_time = view.time + between(c.tar_change_time_min, c.tar_change_time_max, u[:, 2])
        return view.character.root_pos[:, :2] + offset, change_time

    def steer(self, place: Tensor) -> None:
        self.target.copy_(place)
        self.change_time.fill_(math.inf)

    def marks(self) -> dict[str, Tensor]:
        return {"target": torch.nn.functional.pad(self.target, (0, 1))}

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
