"""A ring of whole trajectories: the newest steps of every environment, in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.errors import UserError

Fields = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


class Trajectories:
    """Named tensors [T, N, ...]: the newest ``T`` control steps of ``N`` environments.

    A step holds what was before and after it, so a window that runs over the end of an episode goes on from the state
    that was stored. The host knows how many steps there are, and so does a tensor, for graphs.
    """

    def __init__(self, steps: int, envs: int, fields: Fields, device: torch.device) -> None:
        self.steps, self.envs = steps, envs
        self.pushed = 0  # steps ever
        self._fields = {
            name: torch.zeros((steps, envs, *shape), dtype=dtype, device=device)
            for name, (shape, dtype) in fields.items()
        }
        self._pushed = torch.zeros((), dtype=torch.int64, device=device)

    @property
    def fill(self) -> int:
        """How many steps there are."""
        return min(self.pushed, self.steps)

    def __getitem__(self, name: str) -> Tensor:
        return self._fields[name]

    def push(self, rollout: Mapping[str, Tensor], count: int) -> None:
        """Append the first ``count`` rows of [.., N, ...] tensors; the oldest steps give way."""
        for t in range(count):
            row = self.pushed % self.steps
            torch._foreach_copy_([field[row] for field in self._fields.values()],
                                 [rollout[name][t] for name in self._fields])  # fmt: skip
            self.pushed += 1
        self._pushed.fill_(self.pushed)

    def windows(self, count: int, length: int, first: int, last: int) -> Tensor:
        """Flat numbers [length, count] of steps in a row: random windows of environments ``first`` .. ``last`` - 1."""
        device = self._pushed.device
        fill = self._pushed.clamp(max=self.steps)
        u = torch.rand(2, count, dtype=torch.float64, device=device)
        offset = (u[0] * (fill - length + 1)).long().clamp(min=0)
        begin = self._pushed - fill + offset
        time = (begin + torch.arange(length, device=device).unsqueeze(-1)) % self.steps
        env = first + (u[1] * (last - first)).long()
        return time * self.envs + env

    def take(self, name: str, index: Tensor) -> Tensor:
        """Field ``name`` at flat numbers ``index`` [...]: [..., .]."""
        flat = self._fields[name].flatten(0, 1)
        return flat.index_select(0, index.flatten()).unflatten(0, index.shape)

    def filled(self, name: str) -> Tensor:
        """All steps [S, ...] of a field that were ever pushed, in no order."""
        return self._fields[name][: self.fill].flatten(0, 1)

    def state_dict(self) -> dict[str, Any]:
        fields = {name: field[: self.fill].clone() for name, field in self._fields.items()}
        return {"pushed": self.pushed, "steps": self.steps, "fields": fields}

    def load_state_dict(self, state: Mapping[str, Any], key: str) -> None:
        """Continue from :meth:`state_dict`; UserError naming ``key`` if it is of another size."""
        found = {name: tuple(value.shape[1:]) for name, value in state["fields"].items()}
        wanted = {name: tuple(value.shape[1:]) for name, value in self._fields.items()}
        if int(state["steps"]) != self.steps or found != wanted:
            raise UserError(
                f"the checkpoint's {key} holds {int(state['steps'])} steps, this run's {self.steps}, or of other "
                "sizes; resume with the same num_envs, env and agent keys, or use model_file= for weights alone"
            )
        self.pushed = int(state["pushed"])
        self._pushed.fill_(self.pushed)
        for name, field in self._fields.items():
            field[: self.fill].copy_(state["fields"][name])
