"""The task of walking in one direction at a speed while facing another (AMP, Peng et al. 2021, section 8.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mimickit_hydra.envs.rows import Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.tasks.steering_schema import SteeringEnvConfig
from mimickit_hydra.envs.tasks.task import DIRECTION_EPS, GoalTask, between, dot, heading_direction, turned, unit_circle
from mimickit_hydra.motion.rotations import heading

DIRECTION, FACING, SPEED = slice(0, 2), slice(2, 4), 4  # columns of the goal


class Steering(GoalTask):
    """The goal is a direction, a facing direction and a speed, replaced from time to time.

    Observation: direction in the heading frame 2, speed 1, facing direction in the heading frame 2. Reward: velocity
    near the goal's, and facing.
    """

    obs_size = 5
    goal_name, goal_size, chances = "goal", 5, 4
    goal: Tensor  # [N, 5]: direction, facing direction, speed (m/s)
    _config: SteeringEnvConfig

    def new_goal(self, view: View, u: Tensor) -> tuple[Tensor, Tensor]:
        """From direction, facing direction, speed and time to the next change."""
        c = self._config
        angle = between(-math.pi, math.pi, u[:, 0]) if c.rand_tar_dir else torch.zeros_like(u[:, 0])
        facing = between(-math.pi, math.pi, u[:, 1]) if c.rand_face_dir else angle
        speed = between(c.tar_speed_min, c.tar_speed_max, u[:, 2:3])
        change_time = view.time + between(c.tar_change_time_min, c.tar_change_time_max, u[:, 3])
        return torch.cat([unit_circle(angle), unit_circle(facing), speed], dim=-1), change_time

    def steer(self, place: Tensor) -> None:
        """Go there and look there, at a metre a second for each metre that it is away, within what is trained."""
        c, away = self._config, place - self._character.root_pos[:, :2]
        distance = torch.linalg.vector_norm(away, dim=-1, keepdim=True)
        direction = away / distance.clamp(min=DIRECTION_EPS)
        speed = distance.clamp(c.tar_speed_min, c.tar_speed_max)
        self.goal.copy_(torch.cat([direction, direction, speed], dim=-1))
        self.change_time.fill_(math.inf)

    def marks(self) -> dict[str, Tensor]:
        start = self._character.root_pos * self._character.root_pos.new_tensor([1.0, 1.0, 0.0])
        flat = [self.goal[:, SPEED:] * self.goal[:, DIRECTION], 0.5 * self.goal[:, FACING]]
        ends = [start + torch.nn.functional.pad(vector, (0, 1)) for vector in flat]
        return {name: torch.stack([start, end], dim=1) for name, end in zip(("goal", "facing"), ends, strict=True)}

    def observe(self, view: View, rows: Rows) -> list[Tensor]:
        """Direction 2, speed 1 (m/s) and facing 2, in the heading frame: ``[n, 5]``."""
        goal, angle = rows.take(self.goal), -heading(view.character.root_rot)
        return [turned(angle, goal[:, DIRECTION]), goal[:, SPEED:], turned(angle, goal[:, FACING])]

    def reward(self, view: View) -> Tensor:
        """``[N]``: the velocity that is asked for, and the facing."""
        c, goal = self._config, self.goal
        velocity = (view.character.root_pos - self.prev_root_pos)[:, :2] / self._dt
        error = goal[:, SPEED:] * goal[:, DIRECTION] - velocity
        forward = dot(goal[:, DIRECTION], velocity) >= 0.0
        moving = torch.where(forward, torch.exp(-c.reward_steering_vel_scale * dot(error, error)), 0.0)
        facing = dot(goal[:, FACING], heading_direction(view.character.root_rot)).clamp(min=0.0)
        return c.reward_steering_tar_w * moving + c.reward_steering_face_w * facing
