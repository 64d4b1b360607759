"""The rollout buffer, and minibatches that are gathered once an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class RolloutBuffer:
    """Named tensors [T, N, ...] that live as long as the agent and are overwritten every iteration."""

    def __init__(self, steps: int, num_envs: int, device: torch.device) -> None:
        self.steps = steps
        self.num_envs = num_envs
        self.device = device
        self._fields: dict[str, Tensor] = {}

    @property
    def num_samples(self) -> int:
        return self.steps * self.num_envs

    def add_field(self, name: str, *shape: int, dtype: torch.dtype = torch.float32, extra_rows: int = 0) -> None:
        """Allocate ``name`` as [T + extra_rows, N, *shape], zeros."""
        size = (self.steps + extra_rows, self.num_envs, *shape)
        self._fields[name] = torch.zeros(size, dtype=dtype, device=self.device)

    def __getitem__(self, name: str) -> Tensor:
        return self._fields[name]

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def stage(self) -> RolloutBuffer:
        """An empty buffer of one step with the same fields."""
        stage = RolloutBuffer(1, self.num_envs, self.device)
        for name, field in self._fields.items():
            extra = field.shape[0] - self.steps
            stage.add_field(name, *field.shape[2:], dtype=field.dtype, extra_rows=extra)
        return stage

    def load_row(self, source: RolloutBuffer, t: int) -> None:
        """Row ``t`` of every field of ``source`` into row 0 of this one."""
        self._copy([field[0] for field in self._fields.values()], [source[name][t] for name in self._fields])

    def store_row(self, target: RolloutBuffer, t: int) -> None:
        """Row 0 of every field into row ``t`` of ``target``."""
        self._copy([target[name][t] for name in self._fields], [field[0] for field in self._fields.values()])

    @staticmethod
    def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
        torch._foreach_copy_(targets, sources)

    def flat(self, name: str) -> Tensor:
        """[T * N, ...] view without extra rows; flat index = t * N + env."""
        return self._fields[name][: self.steps].flatten(0, 1)


def epoch_indices(num_samples: int, batch: int, epochs: int, device: torch.device) -> Iterator[Tensor]:
    """Random flat indices, one tensor [ceil(S / B) * B] an epoch, cut from a stream of whole permutations.

    Where B divides S every epoch is one exact pass; otherwise the stream runs on across epochs.
    """
    length = math.ceil(num_samples / batch) * batch
    rest = torch.empty(0, dtype=torch.int64, device=device)
    for _ in range(epochs):
        while rest.shape[0] < length:
            rest = torch.cat([rest, torch.randperm(num_samples, device=device)])
        yield rest[:length]
        rest = rest[length:]


def orders_of(fields: Mapping[str, Tensor], batch: int, epochs: int, indices: Tensor | None) -> Iterator[Tensor]:
    """Flat sample numbers of every epoch over ``fields`` [S, ...]: random, or those of ``indices`` [steps, batch]."""
    if indices is not None:
        return iter([indices.flatten()])
    first = next(iter(fields.values()))
    return epoch_indices(first.shape[0], batch, epochs, first.device)


class Minibatches:
    """Gathers the fields a head needs, shuffled, once an epoch into buffers that are reused; a minibatch is a slice."""

    def __init__(self) -> None:
        self._gathered: dict[str, Tensor] = {}

    def iterate(
        self, fields: Mapping[str, Tensor], batch: int, epochs: int, indices: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Minibatches of ``fields`` [S, ...], ceil(S / batch) an epoch; valid until the next epoch begins.

        ``indices`` [steps, batch] gives the samples of every minibatch instead of random ones.
        """
        for order in orders_of(fields, batch, epochs, indices):
            shuffled = {name: self._gather(name, field, order) for name, field in fields.items()}
            for start in range(0, order.shape[0], batch):
                yield {name: field[start : start + batch] for name, field in shuffled.items()}

    def _gather(self, name: str, field: Tensor, order: Tensor) -> Tensor:
        out = self._gathered.get(name)
        shape = (order.shape[0], *field.shape[1:])
        if out is None or out.shape != shape:
            out = self._gathered[name] = torch.empty(shape, dtype=field.dtype, device=field.device)
        return torch.index_select(field, 0, order, out=out)
