"""Where training episodes start: which clip of the set, and when in it.

Samplers that learn divide all clips into bins of about a second and keep, for each bin, how episodes fared in it. What
they keep is forgotten exponentially, is part of a checkpoint, and is joined over the processes of a run after each
iteration. Nothing here waits for the device or has a shape that depends on data, so it runs inside a captured step.

    p = (1 - u) w / sum(w) + u q

is a start's probability of being in a bin: q by the clips' weights alone, w what was learned, u a true share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.reference import ReferenceMotion
from mimickit_hydra.envs.sampling_schema import BinParams, MjlabParams

PRIOR_VISITS = 0.2  # failed visits that every bin is thought to have had, so that what nobody has seen is worth a look


@dataclass(frozen=True)
class Setting:
    """What a sampler needs to know beside its parameters.

    Attributes:
        reference: the clips, on the device of the env.
        control_dt: s, of a step.
        most_reward: the largest reward of a step that the env can pay, where it is known.
    """

    reference: ReferenceMotion
    control_dt: float
    most_reward: float | None = None


class StartSampler:
    """Draws starts of training episodes; tests draw by weight whatever the sampler, so that they can be compared."""

    def __init__(self, params: Any, setting: Setting) -> None:
        """``params`` is the dataclass of the sampler's schema, or None."""

    def draw(self, num: int) -> tuple[Tensor, Tensor]:
        """Clip ids ``[num]`` and times in them ``[num]`` (s)."""
        raise NotImplementedError

    def record(self, motion_ids: Tensor, motion_time: Tensor, reward: Tensor, failed: Tensor) -> None:
        """Learn from a training step of all environments, before any restarts.

        ``motion_ids [N]`` and ``motion_time [N]`` (s) are where they are now, ``reward [N]`` is that of the step,
        ``failed [N]`` (bool) who ends here in failure.
        """

    def share(self, comm: Comm) -> None:
        """Join what the processes have learned since the last call; called by all of them, outside of any step."""

    def diagnostics(self) -> dict[str, Tensor]:
        """Scalars for the log."""
        return {}

    def of_clips(self) -> dict[str, Tensor]:
        """What there is to say about each clip ``[M]``, by name; nothing where nothing is learned."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """What an exact continuation needs, as CPU tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore :meth:`state_dict`, into the same buffers."""


class ByWeight(StartSampler):
    """A clip by its weight, and any time in it."""

    def __init__(self, params: Any, setting: Setting) -> None:
        self._reference = setting.reference

    def draw(self, num: int) -> tuple[Tensor, Tensor]:
        return self._reference.draw(num)


class Bins:
    """All clips in stretches of equal length within a clip, numbered along the set.

    Attributes: ``clip [B]`` and ``start [M]``, ``counts [M]`` (which bins are whose), ``share [B]`` (probability of a
    start in it by the weights of the clips), ``seconds [B]``.
    """

    def __init__(self, reference: ReferenceMotion, counts: Tensor, by_length: bool = False) -> None:
        """``counts [M]`` bins of each clip. ``by_length``: the share of a clip is its length instead of its weight."""
        library, device = reference.library, reference.clip_end.device
        self._library = library
        self.counts = counts.to(device)
        self.start = self.counts.cumsum(0) - self.counts
        self.clip = torch.repeat_interleave(torch.arange(len(counts), device=device), self.counts)
        self.number = len(self.clip)
        weights = (library.lengths if by_length else library.weights).to(device)
        self.share = (weights / weights.sum() / self.counts)[self.clip]
        self.seconds = (library.lengths.to(device) / self.counts)[self.clip]
        self._last = int(torch.nonzero(self.share)[-1])

    @classmethod
    def of_about(cls, reference: ReferenceMotion, seconds: float, by_length: bool = False) -> Bins:
        """Bins of about ``seconds`` each, at least one a clip."""
        counts = (reference.library.lengths / seconds).round().clamp(min=1.0).long()
        return cls(reference, counts, by_length)

    def place(self, motion_ids: Tensor, motion_time: Tensor) -> tuple[Tensor, Tensor]:
        """The bins ``[n]`` of clips ``[n]`` at times ``[n]`` (s), and the part of each that has passed ``[n]``.

        A clip that repeats begins again.
        """
        count = self.counts[motion_ids]
        place = self._library.phase(motion_ids, motion_time) * count
        inside = torch.minimum(place.long(), count - 1)
        return self.start[motion_ids] + inside, place - inside

    def choose(self, probability: Tensor, num: int) -> Tensor:
        """Bins ``[num]`` drawn by ``probability [B]``."""
        sums = probability.cumsum(0)
        wanted = torch.rand(num, device=sums.device) * sums[-1]
        return torch.searchsorted(sums, wanted, right=True).clamp(max=self._last)

    def inside(self, bins: Tensor) -> tuple[Tensor, Tensor]:
        """Clips ``[num]`` and random times ``[num]`` (s) in these bins."""
        ids = self.clip[bins]
        place = (bins - self.start[ids]) + torch.rand(len(bins), device=bins.device)
        return ids, place / self.counts[ids] * self._library.lengths[ids]

    def ahead(self, size: int, decay: float) -> tuple[Tensor, Tensor]:
        """The next ``size`` bins of each ``[size, B]`` within its clip, and how much each counts ``[size, 1]``."""
        end = (self.start + self.counts - 1)[self.clip]
        steps = torch.arange(size, device=end.device).unsqueeze(-1)
        index = torch.minimum(torch.arange(self.number, device=end.device) + steps, end)
        kernel = torch.tensor([decay**m for m in range(size)], device=end.device)
        return index, (kernel / kernel.sum()).unsqueeze(-1)

    def of_clips(self, values: Tensor) -> Tensor:
        """Sums ``[M]`` over the bins of each clip of ``values [B]``."""
        return torch.zeros_like(self.start, dtype=values.dtype).index_add_(0, self.clip, values)

    def describe(self, probability: Tensor) -> dict[str, Tensor]:
        """How uneven ``probability [B]`` is: entropy (1 if all bins are equal), the likeliest bin and clip."""
        entropy = torch.special.entr(probability).sum() / math.log(max(self.number, 2))
        top, which = self.of_clips(probability).max(0)
        return {
            "sampling_entropy": entropy if self.number > 1 else torch.ones_like(entropy),
            "sampling_top_bin": probability.max(),
            "sampling_top_clip": top,
            "sampling_top_clip_id": which.to(probability.dtype),
        }


class Uniform(StartSampler):
    """Every second of the set alike: a clip by its length. A clip of weight 0 is left out."""

    def __init__(self, params: Any, setting: Setting) -> None:
        self._library = library = setting.reference.library
        lengths = torch.where(library.weights > 0, library.lengths, 0.0).double()
        self._sums = (lengths / lengths.sum()).cumsum(0).float()
        self._last = int(torch.nonzero(lengths)[-1])

    def draw(self, num: int) -> tuple[Tensor, Tensor]:
        wanted = torch.rand(num, device=self._sums.device)
        ids = torch.searchsorted(self._sums, wanted, right=True).clamp(max=self._last)
        return ids, self._library.sample_times(ids)


class Learned(StartSampler):
    """A sampler that learns a weight for every bin: ``w = worth ** power``, smoothed ahead and mixed as said above."""

    def __init__(self, params: BinParams, setting: Setting) -> None:
        self.params = params
        self.bins = Bins.of_about(setting.reference, params.bin_seconds)
        self._ahead, self._kernel = self.bins.ahead(params.look_ahead, params.look_ahead_decay)
        self._visit = setting.control_dt / self.bins.seconds  # of a step
        self._keep = 1.0 - 1.0 / params.memory
        # Steps in each bin and what came of them, as all processes know it and as this one has seen it since.
        self._known = torch.zeros(2, self.bins.number, device=self._visit.device)
        self._fresh = torch.zeros_like(self._known)

    def _result(self, reward: Tensor, failed: Tensor) -> Tensor:
        """What came of a step ``[N]``, to be summed over a bin."""
        raise NotImplementedError

    def worth(self) -> Tensor:
        """How much a start in each bin is worth ``[B]``, from 0 to 1."""
        raise NotImplementedError

    def draw(self, num: int) -> tuple[Tensor, Tensor]:
        return self.bins.inside(self.bins.choose(self.probability(), num))

    def record(self, motion_ids: Tensor, motion_time: Tensor, reward: Tensor, failed: Tensor) -> None:
        where, _ = self.bins.place(motion_ids, motion_time)
        self._known *= self._keep
        self._fresh *= self._keep
        self._fresh[0].index_add_(0, where, torch.ones_like(reward))
        self._fresh[1].index_add_(0, where, self._result(reward, failed))

    def probability(self) -> Tensor:
        """Of a start in each bin ``[B]``."""
        params, share = self.params, self.bins.share
        worth = (self.worth().pow(params.power)[self._ahead] * self._kernel).sum(0) * (share > 0)
        # Where nothing is worth anything any more, the weights of the clips decide.
        learned = torch.where(worth.sum() > 0, worth / worth.sum().clamp(min=1e-30), share)
        mixed = (1.0 - params.uniform_share) * learned + params.uniform_share * share
        capped = torch.minimum(mixed, (params.most - 1.0) * share)  # what is cut off comes back by the weights
        return capped + share * (1.0 - capped.sum())

    def _seen(self) -> tuple[Tensor, Tensor]:
        steps, results = (self._known + self._fresh).unbind(0)
        return steps, results

    def share(self, comm: Comm) -> None:
        if comm.world_size > 1:
            comm.all_reduce_sum_(self._fresh)
        self._known += self._fresh
        self._fresh.zero_()

    def of_clips(self) -> dict[str, Tensor]:
        probability, worth = (self.bins.of_clips(values) for values in (self.probability(), self.worth()))
        return {"probability": probability, "worth": worth / self.bins.counts}

    def diagnostics(self) -> dict[str, Tensor]:
        return {**self.bins.describe(self.probability()), "sampling_worth": (self.worth() * self.bins.share).sum()}

    def state_dict(self) -> dict[str, Tensor]:
        return {"known": self._known.cpu().clone(), "fresh": self._fresh.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._known.copy_(state["known"])
        self._fresh.copy_(state["fresh"])


class ByFailure(Learned):
    """Bins by their failure rate: failures in a bin over the visits to it, so that a visit more is no failure more."""

    def _result(self, reward: Tensor, failed: Tensor) -> Tensor:
        return failed.to(reward.dtype)

    def worth(self) -> Tensor:
        steps, failures = self._seen()
        return ((failures + PRIOR_VISITS) / (steps * self._visit + PRIOR_VISITS)).clamp(max=1.0)


class ByReturn(Learned):
    """Bins by the part of the reward that episodes miss in them; what a failure cuts off is missed too."""

    def __init__(self, params: BinParams, setting: Setting) -> None:
        super().__init__(params, setting)
        self._most = setting.most_reward

    def record(self, motion_ids: Tensor, motion_time: Tensor, reward: Tensor, failed: Tensor) -> None:
        super().record(motion_ids, motion_time, reward, failed)
        where, passed = self.bins.place(motion_ids, motion_time)
        rest = (1.0 - passed).clamp(min=0.0) / self._visit[where]  # steps to the end of the bin
        self._fresh[0].index_add_(0, where, torch.where(failed, rest, 0.0))

    def _result(self, reward: Tensor, failed: Tensor) -> Tensor:
        return reward

    def worth(self) -> Tensor:
        steps, rewards = self._seen()
        mean = rewards / (steps + PRIOR_VISITS / self._visit)
        most = mean.max().clamp(min=1e-30) if self._most is None else max(self._most, 1e-30)
        return (1.0 - mean / most).clamp(0.0, 1.0)


class LikeMjlab(StartSampler):
    """mjlab 1.6's adaptive sampling, for comparison: failures are counted, and a constant is added to them.

    The counts grow with the number of environments, so the constant is no share of the starts, and a bin that is
    visited more fails more. With several clips their bins follow one another, and look-ahead ends with a clip.
    """

    def __init__(self, params: MjlabParams, setting: Setting) -> None:
        library, dt = setting.reference.library, setting.control_dt
        self._library, self._dt, self._params = library, dt, params
        device = setting.reference.clip_end.device
        self._frames = (library.lengths / dt).round().long().to(device) + 1  # [M] of a clip at the control rate
        self.bins = Bins(setting.reference, (self._frames.double() * dt + 1e-9).floor().long() + 1)
        self._ahead, self._kernel = self.bins.ahead(params.adaptive_kernel_size, params.adaptive_lambda)
        self._average = torch.zeros(self.bins.number, device=device)  # failures a step
        self._counts = torch.zeros_like(self._average)  # of the last step, which its own draws do not see

    def draw(self, num: int) -> tuple[Tensor, Tensor]:
        return self.inside(self.bins.choose(self.probability(), num))

    def inside(self, bins: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Clips ``[n]`` and times ``[n]`` (s) of whole frames in these bins, at ``u [n]`` in [0, 1) of each."""
        ids = self.bins.clip[bins]
        u = torch.rand(len(bins), device=bins.device) if u is None else u
        place = ((bins - self.bins.start[ids]) + u) / self.bins.counts[ids]
        return ids, (place * (self._frames[ids] - 1)).floor() * self._dt

    def record(self, motion_ids: Tensor, motion_time: Tensor, reward: Tensor, failed: Tensor) -> None:
        self._average.mul_(1.0 - self._params.adaptive_alpha).add_(self._counts, alpha=self._params.adaptive_alpha)
        frames, counts = self._frames[motion_ids], self.bins.counts[motion_ids]
        frame = (self._library.phase(motion_ids, motion_time) * (frames - 1)).round().long()
        self._counts.zero_()
        self._counts.index_add_(0, self.bins.start[motion_ids] + frame * counts // frames, failed.to(reward.dtype))

    def probability(self) -> Tensor:
        """Of a start in each bin ``[B]``."""
        constant = self._params.adaptive_uniform_ratio / self.bins.number
        smooth = ((self._average + constant)[self._ahead] * self._kernel).sum(0) * (self.bins.share > 0)
        return torch.where(smooth.sum() > 0, smooth / smooth.sum().clamp(min=1e-30), self.bins.share)

    def of_clips(self) -> dict[str, Tensor]:
        return {"probability": self.bins.of_clips(self.probability())}

    def diagnostics(self) -> dict[str, Tensor]:
        return self.bins.describe(self.probability())

    def state_dict(self) -> dict[str, Tensor]:
        return {"average": self._average.cpu().clone(), "counts": self._counts.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._average.copy_(state["average"])
        self._counts.copy_(state["counts"])
