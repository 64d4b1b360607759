"""Terms: what any env can be given by one line of a config. To add one is to touch this file alone.

This runs in every command, so torch is not imported here: tensors bring their own methods.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mimickit_hydra.config.fields import between, setting
from mimickit_hydra.plugins import Plugin

if TYPE_CHECKING:
    from torch import Tensor

    from mimickit_hydra.envs.state import View


def register(plugin: Plugin) -> None:
    plugin.reward("upright", "my_robot.terms:upright")
    plugin.observation("wobble", "my_robot.terms:wobble", size=2)
    plugin.termination("tipped", "my_robot.terms:tipped", schema="my_robot.terms:TippedParams")


def upright(view: View) -> Tensor:
    """Height of the end of a unit vector that points up from the root, ``[n]``: env.rewards.upright.weight=0.1."""
    rotation = view.character.root_rot  # [n, 4], xyzw
    return 1.0 - 2.0 * rotation[:, :2].square().sum(-1)


def wobble(view: View) -> Tensor:
    """Angular velocity of the root about the world's x and y, ``[n, 2]`` (rad/s): env.observations.wobble={}."""
    return view.character.root_ang_vel[:, :2]


@dataclass(frozen=True)
class TippedParams:
    max_tilt: float = setting(1.0, between(0, math.pi), "rad", "of the root, before the episode ends")


def tipped(view: View, params: TippedParams) -> Tensor:
    """Whether the root leans too far, bool ``[n]``: env.terminations.tipped.max_tilt=0.8."""
    return upright(view) < math.cos(params.max_tilt)
