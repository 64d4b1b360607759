"""The task of walking in one direction at a speed while facing another (AMP, Peng et al. 2021, section 8.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import ObjectState
from mimickit_hydra.envs.parts import World
from mimickit_hydra.envs.rows import ALL, Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.tasks.steering_schema import SteeringEnvConfig
from mimickit_hydra.envs.tasks.task import DIRECTION_EPS, Task, between, dot, heading_direction, turned, unit_circle
from mimickit_hydra.motion.rotations import heading

DIRECTION, FACING, SPEED = slice(0, 2), slice(2, 4), 4  # columns of the goal


class Steering(Task):
    """The goal is a direction, a facing direction and a speed, replaced from time to time.

    Observation: direction in the heading frame 2, speed 1, facing direction in the heading frame 2. Reward: velocity
    near the goal's, and facing.
    """

    obs_size = 5

    says_where_to_go = True
    steerable = True
    goal_name = "goal"

    @classmethod
    def build(cls, config: SteeringEnvConfig, world: World) -> Steering:
        return cls(config, world.engine.states[0], world.engine.control_dt)

    def __init__(self, config: SteeringEnvConfig, character: ObjectState, control_dt: float) -> None:
        """``character`` is the engine's live state."""
        self._config = config
        self._character = character
        self._dt = control_dt
        num_envs = len(character.root_pos)
        self.goal = character.root_pos.new_zeros(num_envs, 5)  # direction, facing direction, speed (m/s)
        self.change_time = character.root_pos.new_zeros(num_envs)  # s, when the next goal comes
        self.prev_root_pos = torch.zeros_like(character.root_pos)  # m, before the last step

    def draw(self) -> Tensor:
        """Uniform numbers ``[N, 4]``: direction, facing direction, speed, time to the next change."""
        return torch.rand(len(self.goal), 4, device=self.goal.device)

    def new_goal(self, view: View, u: Tensor) -> tuple[Tensor, Tensor]:
        c = self._config
        angle = between(-math.pi, math.pi, u[:, 0]) if c.rand_tar_dir else torch.zeros_like(u[:, 0])
        facing = between(-math.pi, math.pi, u[:, 1]) if c.rand_face_dir else angle
        speed = between(c.tar_speed_min, c.tar_speed_max, u[:, 2:3])
        change_time = view.time + between(c.tar_change_time_min, c.tar_change_time_max, u[:, 3])
        return torch.cat([unit_circle(angle), unit_circle(facing), speed], dim=-1), change_time

    def restart(self, view: View, rows: Rows) -> None:
        goal, change_time = self.new_goal(view, rows.take(self.draw()))
        rows.put(self.goal, goal)
        rows.put(self.change_time, change_time)

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

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        self.prev_root_pos.copy_(self._character.root_pos)

    def update(self, view: View) -> None:
        due = Rows(mask=view.time >= self.change_time)
        goal, change_time = self.new_goal(view, self.draw())
        due.put(self.goal, goal)
        due.put(self.change_time, change_time)

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

    def state_dict(self) -> dict[str, Tensor]:
        return {"goal": self.goal.cpu().clone(), "change_time": self.change_time.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        ALL.put(self.goal, state["goal"])
        ALL.put(self.change_time, state["change_time"])
