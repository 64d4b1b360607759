"""Replay buffers: rings of rows whose fill level the host knows, so that nothing waits for the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.errors import UserError


class Ring:
    """The newest ``capacity`` of all rows ever pushed, [capacity, D] float32."""

    def __init__(self, capacity: int, size: int, device: torch.device) -> None:
        self.capacity = capacity
        self.pushed = 0  # rows ever
        self._rows = torch.empty(capacity, size, device=device)  # the system hands out memory as it fills
        self._limit = torch.zeros((), dtype=torch.float64, device=device)  # ``fill`` where graphs can read it

    @property
    def fill(self) -> int:
        """The number of rows in the ring."""
        return min(self.pushed, self.capacity)

    def push(self, rows: Tensor) -> None:
        """Append rows [n, D], n at most the capacity; the oldest give way."""
        count, head = rows.shape[0], self.pushed % self.capacity
        before_wrap = min(count, self.capacity - head)
        self._rows[head : head + before_wrap].copy_(rows[:before_wrap])
        self._rows[: count - before_wrap].copy_(rows[before_wrap:])
        self.pushed += count
        self._limit.fill_(self.fill)

    def sample(self, out: Tensor) -> Tensor:
        """Fill ``out`` [n, D] with rows drawn uniformly, with replacement."""
        index = torch.rand(out.shape[0], dtype=torch.float64, device=out.device).mul_(self._limit)
        return torch.index_select(self._rows, 0, torch.minimum(index, self._limit - 1.0).long(), out=out)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows[: self.fill].clone(), "pushed": self.pushed, "capacity": self.capacity}

    def load_state_dict(self, state: Mapping[str, Any], key: str) -> None:
        """Continue from :meth:`state_dict`; UserError naming ``key`` if it is of another size."""
        found, wanted = (int(state["capacity"]), state["rows"].shape[1]), (self.capacity, self._rows.shape[1])
        if found != wanted:
            raise UserError(
                f"the checkpoint's {key} holds {found[0]} samples of {found[1]} numbers, this run's {wanted[0]} of "
                f"{wanted[1]}; resume with the same num_envs, env and agent keys, or use model_file= for weights alone"
            )
        self.pushed = int(state["pushed"])
        self._limit.fill_(self.fill)
        self._rows[: self.fill].copy_(state["rows"])


class Replay(Ring):
    """Past discriminator observations of the agent, so that the discriminator does not forget what it has refuted."""

    def push_rollout(self, rows: Tensor, samples_when_full: int) -> None:
        """Keep a rollout [S, D]: all of it, in random order, until the ring was full once; then a random part.

        A rollout larger than the ring fills it with a random part of itself.
        """
        room = self.capacity if self.pushed < self.capacity else min(samples_when_full, self.capacity)
        order = torch.randperm(rows.shape[0], device=rows.device)[:room]
        self.push(rows.index_select(0, order))
