"""The task of not being hit by balls thrown from all sides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import Engine, ObjectSpec, ObjectState, ResetState
from mimickit_hydra.envs.checks import body_indices
from mimickit_hydra.envs.parts import World
from mimickit_hydra.envs.rows import ALL, Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.tasks.dodgeball_schema import DodgeballEnvConfig
from mimickit_hydra.envs.tasks.task import Task, between, dot, unit_circle
from mimickit_hydra.motion.rotations import quat_rotate

BALL_FILE = "data/assets/objects/dodgeball.xml"
BALL_COLOR = (0.9725, 0.42, 0.1137)
RADIUS = 0.1  # m, of the asset
GRAVITY = -9.81  # m/s^2
IDLE_X, IDLE_Y = 10.0, 10.0  # m, where the first ball waits
BOUNCE = 2.0 * math.sqrt(2.0)
AWAY_W, AWAY_SCALE, STILL_W = 0.9, 0.3, 0.1  # weights of the reward, 1/m


class Dodgeball(Task):
    """Balls wait beside the character until each is thrown at a point near the target body, again and again.

    Observation, ball by ball: position relative to the root 3 and velocity 3, both in the heading frame. Reward: far
    from the nearest ball, and standing still. A hit ends the episode in failure.
    """

    @classmethod
    def scene(cls, config: DodgeballEnvConfig, resolve: Callable[[str], Path]) -> list[ObjectSpec]:
        file = str(resolve(BALL_FILE))
        return [
            ObjectSpec(f"projectile{i}", file, articulated=False, start_pos=resting_place(i), color=BALL_COLOR)
            for i in range(config.num_projectiles)
        ]

    @classmethod
    def build(cls, config: DodgeballEnvConfig, world: World) -> Dodgeball:
        (body,) = body_indices("env.proj_target_body", [config.proj_target_body], world.character.body_names)
        return cls(config, world.engine, body, world.objects, ends_on_hit=config.enable_early_termination)

    def __init__(
        self,
        config: DodgeballEnvConfig,
        engine: Engine,
        target_body: int,
        balls: Sequence[int],
        *,
        ends_on_hit: bool,
    ) -> None:
        """``target_body`` is an index of the character's bodies, ``balls`` are the engine's objects."""
        self._config = config
        self._engine = engine
        self._target_body = target_body
        self._balls = balls
        self._ends_on_hit = ends_on_hit
        self.obs_size = 6 * len(balls)
        like = engine.states[0].root_pos
        shape = (len(like), len(balls))
        self.trigger_time = like.new_zeros(shape)  # s, of the next throw
        self.prev_vel = like.new_zeros((*shape, 3))  # m/s, before physics or as thrown
        self._prev_height = like.new_full(shape, RADIUS)  # m, likewise
        self._fall = like.new_tensor([0.0, 0.0, GRAVITY * engine.control_dt])  # m/s, of a step in free flight
        self._rest = [_resting(like, i) for i in range(len(balls))]

    # ------------------------------------------------------------------------------------------------------- throwing

    def draw_triggers(self) -> Tensor:
        """Uniform numbers ``[N, balls]``: time to the next throw."""
        return torch.rand_like(self.trigger_time)

    def draw_throws(self) -> tuple[Tensor, Tensor]:
        """Normal numbers ``[N, balls, 3]`` (aim) and uniform ones ``[N, balls, 4]``: speed, height, distance, angle."""
        return torch.randn_like(self.prev_vel), torch.rand(*self.trigger_time.shape, 4, device=self.prev_vel.device)

    def _next_trigger(self, time: Tensor, u: Tensor) -> Tensor:
        c = self._config
        return time.unsqueeze(-1) + between(c.proj_trigger_time_min, c.proj_trigger_time_max, u)

    def _throw(self, view: View) -> tuple[Tensor, Tensor]:
        """Positions and velocities ``[N, balls, 3]`` of balls thrown now, to arrive where the target will be.

        The body is assumed to keep its horizontal velocity and its height; the ball flies on a parabola.
        """
        c, (aim, u) = self._config, self.draw_throws()
        body = self._engine.states[0]
        target = body.body_pos[:, self._target_body].unsqueeze(1) + c.proj_aim_noise_scale * aim
        speed = between(c.proj_speed_min, c.proj_speed_max, u[..., 0])
        height = between(max(c.proj_h_min, RADIUS), c.proj_h_max, u[..., 1])
        distance = between(c.proj_dist_min, c.proj_dist_max, u[..., 2])
        duration = (distance / speed).unsqueeze(-1)
        meeting = target[..., :2] + duration * body.body_vel[:, self._target_body, :2].unsqueeze(1)
        away = unit_circle(2.0 * math.pi * u[..., 3])
        position = torch.cat([meeting + distance.unsqueeze(-1) * away, height.unsqueeze(-1)], dim=-1)
        rise = (target[..., 2:] - height.unsqueeze(-1)) / duration - 0.5 * GRAVITY * duration
        return position, torch.cat([-speed.unsqueeze(-1) * away, rise], dim=-1)

    def restart(self, view: View, rows: Rows) -> None:
        rows.put(self.trigger_time, self._next_trigger(view.time, rows.take(self.draw_triggers())))
        rows.put(self.prev_vel, torch.zeros_like(rows.take(self.prev_vel)))
        rows.put(self._prev_height, torch.full_like(rows.take(self._prev_height), RADIUS))

    def reset_objects(self) -> dict[int, ResetState]:
        return dict(zip(self._balls, self._rest, strict=True))

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        self.prev_vel.copy_(self._velocities())
        self._prev_height.copy_(self._positions()[..., 2])

    def update(self, view: View) -> None:
        due = view.time.unsqueeze(-1) >= self.trigger_time
        if view.diverged is not None:
            due = due & ~view.diverged.unsqueeze(-1)
        position, velocity = self._throw(view)
        trigger_time = self._next_trigger(view.time, self.draw_triggers())
        for i, ball in enumerate(self._balls):
            rest = self._rest[i]
            thrown = ResetState(
                position[:, i], rest.root_rot, velocity[:, i], rest.root_ang_vel, rest.dof_pos, rest.dof_vel
            )
            self._engine.place(ball, due[:, i], thrown)
        self.prev_vel.copy_(torch.where(due.unsqueeze(-1), velocity, self.prev_vel))
        self._prev_height.copy_(torch.where(due, position[..., 2], self._prev_height))
        self.trigger_time.copy_(torch.where(due, trigger_time, self.trigger_time))

    # -------------------------------------------------------------------------------- observation, reward, termination

    def _positions(self) -> Tensor:
        return torch.stack([self._engine.states[ball].root_pos for ball in self._balls], dim=1)

    def _velocities(self) -> Tensor:
        return torch.stack([self._engine.states[ball].root_vel for ball in self._balls], dim=1)

    def observe(self, view: View, rows: Rows) -> list[Tensor]:
        """Offset from the root and velocity of every ball, in the heading frame: ``[n, 6 * balls]``, m and m/s."""
        offset = rows.take(self._positions()) - view.character.root_pos.unsqueeze(1)
        vectors = torch.stack([offset, rows.take(self._velocities())], dim=2)
        heading_inv = view.character.heading_inv
        return [quat_rotate(heading_inv[:, None, None], vectors).flatten(1)]

    def reward(self, view: View) -> Tensor:
        """``[N]``: far from the nearest ball, and standing still."""
        offset = self._positions() - view.character.root_pos.unsqueeze(1)
        nearest = torch.linalg.vector_norm(offset, dim=-1).amin(-1)
        velocity = view.character.root_vel[:, :2]
        still = torch.exp(-dot(velocity, velocity))
        return AWAY_W * (1.0 - torch.exp(-AWAY_SCALE * nearest)) + STILL_W * still

    def hit(self, view: View) -> Tensor:
        """Bool ``[N]``: some ball near the character was pushed or turned aside, and not by the ground."""
        c = self._config
        position, velocity = self._positions(), self._velocities()
        apart = view.character.body_pos.unsqueeze(1) - position.unsqueeze(2)
        near = torch.linalg.vector_norm(apart, dim=-1).amin(-1) < c.hit_dist
        others = torch.stack([self._forces_of_others(self._engine.states[ball]) for ball in self._balls], dim=1)
        pushed = torch.linalg.vector_norm(others[..., :2], dim=-1).amax(-1) > c.hit_force_threshold
        change = torch.linalg.vector_norm(velocity - (self.prev_vel + self._fall), dim=-1)
        return (near & (pushed | (change > c.hit_delta_v_threshold + self._change_by_ground()))).any(-1)

    @staticmethod
    def _forces_of_others(ball: ObjectState) -> Tensor:
        return ball.contact_forces - ball.ground_contact_forces

    def _change_by_ground(self) -> Tensor:
        """The most ``[N, balls]`` by which the ground can have changed a velocity (m/s) during the step.

        A ball that would have gone through the ground met it: it is thrown back by at most twice the speed it came
        with, and friction pulls as much sideways.
        """
        dt = self._engine.control_dt
        lowest = self._prev_height + dt * (self.prev_vel[..., 2] + 0.5 * GRAVITY * dt)
        drop = (self._prev_height - RADIUS).clamp(min=0.0)
        impact = torch.sqrt(self.prev_vel[..., 2].clamp(max=0.0).square() - 2.0 * GRAVITY * drop)
        return torch.where(lowest < RADIUS, BOUNCE * impact, 0.0)

    def failure(self, view: View) -> dict[str, Tensor]:
        return {"hit": self.hit(view)} if self._ends_on_hit else {}

    def state_dict(self) -> dict[str, Tensor]:
        return {"trigger_time": self.trigger_time.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        ALL.put(self.trigger_time, state["trigger_time"])


def resting_place(index: int) -> tuple[float, float, float]:
    """The position (m) in which ball ``index`` waits."""
    return IDLE_X + index, IDLE_Y, RADIUS


def _resting(like: Tensor, index: int) -> ResetState:
    """The state of ball ``index`` waiting, in all environments."""
    n = len(like)
    position = like.new_tensor(resting_place(index)).expand(n, 3).contiguous()
    rotation = like.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(n, 4).contiguous()
    return ResetState(
        position, rotation, like.new_zeros(n, 3), like.new_zeros(n, 3), like.new_zeros(n, 0), like.new_zeros(n, 0)
    )
