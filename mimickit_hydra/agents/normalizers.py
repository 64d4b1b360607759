"""Normalisers by running statistics, or by action bounds, which stay constant between two calls of ``update``."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from mimickit_hydra.distributed import Comm
from mimickit_hydra.errors import UserError

MIN_STD = 1e-4
_ROWS = 2048  # rows turned to float64 at a time: bounds the scratch memory of record()
_CUDA_NUMBERS = 2**24  # likewise on CUDA, where few large kernels count


class ObsNormalizer(nn.Module):
    """Mean and population deviation of everything ever recorded, each sample weighing the same.

    ``_count`` [1] int64, ``_mean`` and ``_std`` [O] float32 are what a checkpoint of MimicKit holds. The sums behind
    them are kept in float64 about the current mean (Chan, Golub, LeVeque 1979), so a large offset costs no digits.
    """

    _count: Tensor
    _mean: Tensor
    _std: Tensor
    _inv_std: Tensor

    def __init__(self, size: int, clip: float = float("inf"), std_clip: float = 0.0) -> None:
        super().__init__()
        self.clip = clip
        self.std_clip = std_clip
        self.register_buffer("_count", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("_mean", torch.zeros(size))
        self.register_buffer("_std", torch.ones(size))
        self.rebuild()

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def std(self) -> Tensor:
        return self._std

    def rebuild(self) -> None:
        """Take the float64 statistics from the stored mean and deviation, as after loading a ``model.pt``."""
        device = self._mean.device
        mean = self._mean.double()
        sums = {"sum": torch.zeros_like(mean), "sum_sq": torch.zeros_like(mean)}
        self._exact = {"mean": mean, "var": self._std.double().square(), **sums}
        self._recorded = 0
        inverse = self._std.reciprocal()
        if "_inv_std" in self.__dict__ and self._inv_std.device == device:
            self._inv_std.copy_(inverse)  # in place: captured rollouts know its address
        else:
            self._inv_std = inverse

    def normalize(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """(x - mean) / std clamped to ±clip; ``x`` [..., O]."""
        centred = torch.sub(x, self._mean, out=out)
        scaled = torch.mul(centred, self._inv_std, out=out)
        if self.clip == float("inf"):
            return scaled
        return torch.clamp(scaled, -self.clip, self.clip, out=out)

    def normalize_columns(self, x: Tensor, columns: Tensor) -> Tensor:
        """:meth:`normalize` of some ``columns`` [C] of an observation, ``x`` [..., C]."""
        scaled = (x - self._mean.index_select(0, columns)) * self._inv_std.index_select(0, columns)
        return scaled.clamp(-self.clip, self.clip)

    def unnormalize(self, x: Tensor) -> Tensor:
        """Raw values [..., O] from normalised ones; the clip is not undone."""
        return torch.addcmul(self._mean, x, self._std)

    def record(self, x: Tensor, count: int | None = None) -> None:
        """Add samples [..., O] to the sums of the next :meth:`update`, weighing as much as ``count`` samples do."""
        rows = x.reshape(-1, x.shape[-1])
        count = rows.shape[0] if count is None else count
        weight = count / rows.shape[0]
        for chunk in _chunks(rows):
            delta = chunk.double().sub_(self._exact["mean"])
            self._exact["sum"].add_(delta.sum(0), alpha=weight)
            self._exact["sum_sq"].add_(delta.square_().sum(0), alpha=weight)
        self._recorded += count

    def update(self, comm: Comm) -> None:
        """Fold what all processes recorded into the statistics (one collective); nothing recorded changes nothing."""
        exact = self._exact
        total = exact["mean"].new_full((1,), float(self._recorded))
        packed = comm.all_reduce_sum_(torch.cat([total, exact["sum"], exact["sum_sq"]]))
        size = exact["mean"].shape[0]
        new, shift_sum, shift_sq = packed[:1], packed[1 : size + 1], packed[size + 1 :]
        old = self._count.double()
        weight_new = new / (old + new).clamp_min(1.0)
        shift = shift_sum / new.clamp_min(1.0)
        # Both parts are about the old mean; the combined variance is about the new one.
        second = (1.0 - weight_new) * exact["var"] + weight_new * shift_sq / new.clamp_min(1.0)
        var = (second - (weight_new * shift).square()).clamp_min(0.0)
        exact["mean"] += weight_new * shift
        exact["var"] = torch.where(new > 0, var, exact["var"])
        exact["sum"].zero_()
        exact["sum_sq"].zero_()
        self._recorded = 0
        self._publish(new)

    def _publish(self, new: Tensor) -> None:
        self._count += new.long()
        self._mean.copy_(self._exact["mean"])
        self._std.copy_(self._exact["var"].clamp_min(MIN_STD**2).sqrt().clamp_min(self.std_clip))
        torch.reciprocal(self._std, out=self._inv_std)  # in place: captured rollouts know its address

    def exact_state(self) -> dict[str, Tensor]:
        """The float64 sums, for a checkpoint that continues exactly."""
        recorded = torch.tensor([self._recorded], dtype=torch.int64)
        return {**{name: tensor.clone() for name, tensor in self._exact.items()}, "recorded": recorded}

    def load_exact_state(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self._exact.items():
            tensor.copy_(state[name])
        self._recorded = int(state["recorded"])
        torch.reciprocal(self._std, out=self._inv_std)

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        super()._apply(fn, recurse)
        device = self._mean.device
        self._exact = {name: tensor.to(device) for name, tensor in self._exact.items()}
        self._inv_std = self._std.reciprocal()
        return self

    def _load_from_state_dict(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        super()._load_from_state_dict(*args, **kwargs)
        self.rebuild()


def _chunks(rows: Tensor) -> tuple[Tensor, ...]:
    """Parts of [S, O] that are turned into float64 one by one."""
    size = max(_ROWS, _CUDA_NUMBERS // rows.shape[1]) if rows.is_cuda else _ROWS
    return rows.split(size)


class ActionNormalizer(nn.Module):
    """Maps [-1, 1] to the bounds of the action space; never updated, never clips; unbounded dimensions stay as is."""

    _count: Tensor
    _mean: Tensor
    _std: Tensor

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        finite = torch.isfinite(low) & torch.isfinite(high)
        mean = torch.where(finite, 0.5 * (high + low), torch.zeros_like(low))
        std = torch.where(finite, 0.5 * (high - low), torch.ones_like(low))
        if bool((std <= 0.0).any()):
            index = int(torch.nonzero(std <= 0.0)[0])
            raise UserError(
                f"action bounds: dimension {index} has low {float(low[index]):g} and high {float(high[index]):g}; "
                "low must be less than high"
            )
        self.register_buffer("_count", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("_mean", mean.float())
        self.register_buffer("_std", std.float())

    def normalize(self, action: Tensor) -> Tensor:
        """Normalised actions from environment units; ``action`` [..., A]."""
        return (action - self._mean) / self._std

    def unnormalize(self, action: Tensor) -> Tensor:
        """Environment units from normalised ones; ``action`` [..., A]."""
        return torch.addcmul(self._mean, action, self._std)


class DiffNormalizer(nn.Module):
    """Divides by the running mean absolute value per channel (at least ``min_diff``); no centring, no clamp.

    ``_count`` [1] int64, ``_mean_abs`` [D] float32 (1 at first).
    """

    _count: Tensor
    _mean_abs: Tensor

    def __init__(self, size: int, min_diff: float = 1e-4) -> None:
        super().__init__()
        self.min_diff = min_diff
        self.register_buffer("_count", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("_mean_abs", torch.ones(size))
        self._sum = torch.zeros(size, dtype=torch.float64)
        self._recorded = 0

    def normalize(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """``x`` [..., D] over the mean absolute value of each channel, into ``out`` if given."""
        return torch.div(x, self._mean_abs.clamp_min(self.min_diff), out=out)

    def unnormalize(self, x: Tensor) -> Tensor:
        return x * self._mean_abs.clamp_min(self.min_diff)

    def record(self, x: Tensor) -> None:
        """Add samples [..., D] to the sums of the next :meth:`update`."""
        rows = x.reshape(-1, x.shape[-1])
        self._sum = self._sum.to(rows.device)
        for chunk in _chunks(rows):
            self._sum += chunk.abs().sum(0, dtype=torch.float64)
        self._recorded += rows.shape[0]

    def update(self, comm: Comm) -> None:
        """Fold what all processes recorded into the mean (one collective)."""
        self._sum = self._sum.to(self._mean_abs.device)
        packed = comm.all_reduce_sum_(torch.cat([self._sum.new_full((1,), float(self._recorded)), self._sum]))
        new, total = packed[:1], packed[1:]
        old = self._count.double()
        mean = (old * self._mean_abs.double() + total) / (old + new).clamp_min(1.0)
        self._mean_abs.copy_(torch.where(new > 0, mean, self._mean_abs.double()))
        self._count += new.long()
        self._sum.zero_()
        self._recorded = 0

    def exact_state(self) -> dict[str, Tensor]:
        return {"sum": self._sum.clone(), "recorded": torch.tensor([self._recorded], dtype=torch.int64)}

    def load_exact_state(self, state: dict[str, Tensor]) -> None:
        self._sum = cast(Tensor, state["sum"]).to(self._mean_abs.device).clone()
        self._recorded = int(state["recorded"])
