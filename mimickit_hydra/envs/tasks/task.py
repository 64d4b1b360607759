"""What all tasks share."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable

import torch
from torch import Tensor

from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.parts import Part
from mimickit_hydra.envs.state import View
from mimickit_hydra.motion.rotations import heading

DIRECTION_EPS = 1e-12  # m^2, squared length below which a vector has no direction


class Task(Part):
    """A part with a goal. Goals are redrawn by mask from numbers drawn for all environments: fixed shapes."""

    @abc.abstractmethod
    def reward(self, view: View) -> Tensor:
        """Task reward ``[N]`` of the step just made."""


class MixedReward:
    """Imitation and task together, as DeepMimic trains tasks (Peng et al. 2018, section 5.3)."""

    def __init__(
        self, imitation: Callable[[View], Tensor], task: Task, imitation_weight: float, task_weight: float
    ) -> None:
        self.imitation = imitation
        self._task = task
        self._imitation_weight = imitation_weight
        self._task_weight = task_weight

    def __call__(self, view: View) -> Tensor:
        return self._imitation_weight * self.imitation(view) + self._task_weight * self._task.reward(view)


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


def check_range(key: str, low: float, high: float, least: float = -math.inf) -> None:
    """EnvError unless ``least <= env.KEY_min <= env.KEY_max``."""
    if low > high:
        raise EnvError(f"env.{key}_min={low:g} is above env.{key}_max={high:g}")
    if low < least:
        raise EnvError(f"env.{key}_min: found {low:g}, allowed are numbers from {least:g}")
