"""The base class of tasks, and functions that tasks share."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import ObjectSpec, ObjectState
from mimickit_hydra.envs.parts import Part, World
from mimickit_hydra.envs.rows import ALL, Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.motion.rotations import heading

DIRECTION_EPS = 1e-12  # m^2, squared length below which a vector has no direction


class Task(Part):
    """A part with a goal. Goals are redrawn by mask from numbers drawn for all environments: fixed shapes."""

    says_where_to_go: ClassVar[bool] = False  # so no reference can say so too
    steerable: ClassVar[bool] = False  # somebody who watches can say where to go

    @classmethod
    def scene(cls, config: Any, resolve: Callable[[str], Path]) -> list[ObjectSpec]:
        """The objects that it adds to the scene; ``resolve`` finds a file that a config would name."""
        return []

    @classmethod
    def build(cls, config: Any, world: World) -> Task:
        """The task of an env's ``config``, the dataclass it is registered with."""
        return cls(config, world)  # type: ignore[call-arg]

    def steer(self, place: Tensor) -> None:
        """Take ``place [N, 2]`` m, to which somebody points, for the goal until the next restart."""
        raise NotImplementedError

    @abc.abstractmethod
    def reward(self, view: View) -> Tensor:
        """Task reward ``[N]`` of the step just made."""


class GoalTask(Task):
    """A task with one goal for each environment, drawn anew with every episode and from time to time.

    The goals ``[N, goal_size]`` are the attribute ``goal_name``; beside them it remembers only ``change_time [N]`` (s,
    when the next goal comes) and ``prev_root_pos [N, 3]`` (m, before the last step).
    """

    says_where_to_go = True
    steerable = True
    goal_name: ClassVar[str]
    goal_size: ClassVar[int]
    chances: ClassVar[int]  # how many uniform numbers a goal is made of, with the time until the next
    goal_about_root: ClassVar[bool] = False  # the goal is a place, drawn about where the root is then

    @classmethod
    def build(cls, config: Any, world: World) -> GoalTask:
        return cls(config, world.engine.states[0], world.engine.control_dt)

    def __init__(self, config: Any, character: ObjectState, control_dt: float) -> None:
        """``character`` is the engine's live state."""
        self._config = config
        self._character = character
        self._dt = control_dt
        num_envs = len(character.root_pos)
        setattr(self, self.goal_name, character.root_pos.new_zeros(num_envs, self.goal_size))
        self.change_time = character.root_pos.new_zeros(num_envs)
        self.prev_root_pos = torch.zeros_like(character.root_pos)

    @abc.abstractmethod
    def new_goal(self, view: View, u: Tensor) -> tuple[Tensor, Tensor]:
        """Goals ``[n, G]`` of uniform numbers ``u`` that :meth:`draw` gives, and until when they hold, ``[n]`` s."""

    def draw(self) -> Tensor:
        """The uniform numbers ``[N, chances]`` that goals are made of."""
        return torch.rand(len(self.change_time), self.chances, device=self.change_time.device)

    def restart(self, view: View, rows: Rows) -> None:
        self._put(rows, *self.new_goal(view, rows.take(self.draw())))

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        self.prev_root_pos.copy_(self._character.root_pos)

    def update(self, view: View) -> None:
        self._put(Rows(mask=view.time >= self.change_time), *self.new_goal(view, self.draw()))

    def _put(self, rows: Rows, goal: Tensor, change_time: Tensor) -> None:
        rows.put(getattr(self, self.goal_name), goal)
        rows.put(self.change_time, change_time)

    def state_dict(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).cpu().clone() for name in (self.goal_name, "change_time")}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._put(ALL, state[self.goal_name], state["change_time"])


class MixedReward:
    """The reward of imitation and task together, as DeepMimic trains tasks (Peng et al. 2018, section 5.3)."""

    def __init__(
        self, imitation: Callable[[View], Tensor], task: Task, imitation_weight: float, task_weight: float
    ) -> None:
        self.imitation = imitation
        self._task = task
        self._imitation_weight = imitation_weight
        self._task_weight = task_weight

    def __call__(self, view: View) -> Tensor:
        return self._imitation_weight * self.imitation(view) + self._task_weight * self._task.reward(view)

    def parts(self, view: View, everyone: bool) -> dict[str, Tensor]:
        """What imitation and task give, ``[n]`` by name; without ``everyone`` the imitation alone."""
        imitation = getattr(self.imitation, "parts", None)
        found = {} if imitation is None else imitation(view, everyone)
        found = {name: self._imitation_weight * value for name, value in found.items()}
        return found | ({"task": self._task_weight * self._task.reward(view)} if everyone else {})


def between(low: float, high: float, u: Tensor) -> Tensor:
    """Uniform numbers ``u`` in [0, 1) moved to [low, high)."""
    return low + (high - low) * u


def unit_circle(angle: Tensor) -> Tensor:
    """Directions ``[..., 2]`` of angles ``[...]`` (rad)."""
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def heading_direction(root_rot: Tensor) -> Tensor:
    """Where roots ``[n, 4]`` face over the ground ``[n, 2]``."""
    return unit_circle(heading(root_rot))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products ``[...]`` of ``[..., k]``."""
    return (a * b).sum(-1)


def turned(angle: Tensor, vector: Tensor) -> Tensor:
    """Vectors ``[n, 2]`` turned by angles ``[n]`` (rad)."""
    cos, sin = angle.cos(), angle.sin()
    x, y = vector.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
