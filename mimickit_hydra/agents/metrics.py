"""Scalars to log, kept on the device until they are read once at the end of an iteration."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mimickit_hydra.distributed import Comm


class MetricMeans:
    """Means over minibatches of a fixed set of scalars: two kernels a minibatch, into a tensor that stays."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sum: Tensor | None = None
        self._count = 0

    def restart(self) -> None:
        """Forget the values, but not their names."""
        self._count = 0
        if self._sum is not None:
            self._sum.zero_()

    def add(self, values: Mapping[str, Tensor]) -> None:
        self.accumulate(values)
        self.count()

    def accumulate(self, values: Mapping[str, Tensor]) -> None:
        """The part of :meth:`add` that runs on the device."""
        stacked = torch.stack([value.detach() for value in values.values()])
        if self._sum is None:
            self._names, self._sum = list(values), torch.zeros_like(stacked)
        self._sum += stacked

    def count(self) -> None:
        """The part of :meth:`add` that runs on the host."""
        self._count += 1

    def means(self) -> dict[str, Tensor]:
        if self._sum is None:
            return {}
        return dict(zip(self._names, (self._sum / max(self._count, 1)).unbind(), strict=True))


def log_name(name: str) -> str:
    """The name in the log of a scalar: ``critic_loss`` becomes ``Critic_Loss``."""
    return "_".join(word[:1].upper() + word[1:] for word in name.split("_"))


def read(metrics: Mapping[str, Tensor], sums: Tensor, comm: Comm) -> tuple[dict[str, float], list[float]]:
    """Means over processes of ``metrics`` and totals of ``sums`` [K]: one collective and one host read for all."""
    values = [value.double().to(sums.device) / comm.world_size for value in metrics.values()]
    packed = comm.all_reduce_sum_(torch.cat([torch.stack([*values, sums.new_zeros(())]), sums])).tolist()
    means = {log_name(name): packed[index] for index, name in enumerate(metrics)}
    return means, packed[len(metrics) + 1 :]
