"""A task: walk forward at a pace that changes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mimickit_hydra.envs.rows import Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.tasks.task import Task, World, between, heading_direction
from my_robot.plugin import PaceConfig


class Pace(Task):
    """All environments at once: every tensor has a row for each, and nothing here loops over them or reads one back.

    On a GPU a whole step is recorded once and replayed: tensors are written in place, and `if` on their values is
    written as a mask.
    """

    obs_size = 1  # numbers that it adds to the observation
    says_where_to_go = True  # so the reference motion must not

    def __init__(self, config: PaceConfig, world: World) -> None:
        self.config = config
        num_envs, device = world.engine.num_envs, world.engine.device
        self.pace = torch.zeros(num_envs, device=device)  # m/s
        self.change_time = torch.zeros(num_envs, device=device)  # s, when the next pace comes

    def restart(self, view: View, rows: Rows) -> None:
        """The episodes of these rows begin: called at a reset, with the view of these rows alone."""
        self._draw(view, rows)

    def update(self, view: View) -> None:
        """Physics has made a step."""
        self._draw(view, Rows(mask=view.time >= self.change_time))

    def _draw(self, view: View, rows: Rows) -> None:
        pace = between(self.config.pace_min, self.config.pace_max, torch.rand_like(self.pace))
        rows.put(self.pace, rows.take(pace))
        rows.put(self.change_time, view.time + self.config.pace_time)

    def observe(self, view: View, rows: Rows) -> list[Tensor]:
        return [rows.take(self.pace)[:, None]]

    def reward(self, view: View) -> Tensor:
        root = view.character
        speed = (root.root_vel[:, :2] * heading_direction(root.root_rot)).sum(-1)
        return torch.exp(-20.0 * (speed - self.pace).square())

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on exactly where this one stopped."""
        return {"pace": self.pace.cpu().clone(), "change_time": self.change_time.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.pace.copy_(state["pace"])
        self.change_time.copy_(state["change_time"])
