"""Terms as a user's package would bring them, registered under names that only tests use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mimickit_hydra.config.fields import POSITIVE, setting
from mimickit_hydra.envs.parts import World
from mimickit_hydra.envs.rows import Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.terms import Term
from mimickit_hydra.plugins import Plugin


@dataclass(frozen=True)
class HeightParams:
    target: float = setting(0.9, POSITIVE, "m")


@dataclass(frozen=True)
class LowParams:
    below: float = setting(unit="m")


def height(view: View, params: HeightParams) -> Tensor:
    return torch.exp(-10.0 * torch.square(view.character.root_pos[:, 2] - params.target))


def sway(view: View) -> Tensor:
    return view.character.root_ang_vel[:, :2]


def behind(view: View) -> Tensor:
    assert view.reference is not None
    return view.reference.root_pos[:, 0] - view.character.root_pos[:, 0]


def low(view: View, params: LowParams) -> Tensor:
    return view.character.root_pos[:, 2] < params.below


def wide(view: View) -> Tensor:
    return view.character.root_pos[:, :1]


class Change(Term):
    """How much the command has changed since the step before, and that as an observation."""

    def __init__(self, params: None, world: World) -> None:
        shape = (world.engine.num_envs, world.character.num_dofs)
        self.command = torch.zeros(shape, device=world.engine.device)
        self.change = torch.zeros(shape[0], device=world.engine.device)

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        self.change.copy_((command - self.command).square().sum(-1))
        self.command.copy_(command)

    def restart(self, view: View, rows: Rows) -> None:
        rows.put(self.command, torch.zeros_like(rows.take(self.command)))
        rows.put(self.change, torch.zeros_like(rows.take(self.change)))

    def __call__(self, view: View) -> Tensor:
        return view.rows.take(self.change)

    def state_dict(self) -> dict[str, Tensor]:
        return {"command": self.command.cpu().clone(), "change": self.change.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.command.copy_(state["command"])
        self.change.copy_(state["change"])


def register() -> None:
    """Make them known to this process; doing so again changes nothing."""
    plugin = Plugin("own_terms")
    plugin.reward("own_height", "own_terms:height", schema="own_terms:HeightParams")
    plugin.reward("own_behind", "own_terms:behind", follows_reference=True)
    plugin.reward("own_change", "own_terms:Change")
    plugin.reward("own_wide", "own_terms:wide")
    plugin.observation("own_sway", "own_terms:sway", size=2)
    plugin.observation("own_height", "own_terms:height", schema="own_terms:HeightParams")
    plugin.observation("own_change", "own_terms:Change")
    plugin.observation("own_wide", "own_terms:wide", size=3)
    plugin.termination("own_low", "own_terms:low", schema="own_terms:LowParams")
