"""Probes: environments that act without noise, play the clips over and over, and show where the policy falls.

Every probe has a stretch of the set to itself, all of equal length, and goes through it in order. Where its episode
ends, because it fell or because time is over, it goes on from there; at the end of its stretch it begins again. So all
of them together play the whole set, each second as often as any other, while training goes on.

A bin of the clips remembers the falls of probes in it, and each visit without a fall halves that. A share of the other
environments' episodes starts in the seconds before such places, the more often the more falls are remembered, and
fewer of them once hardly any are. The rest start as the env's own sampler says. Nothing waits for the device or has a
shape that depends on data.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.reference import ReferenceMotion
from mimickit_hydra.envs.sampling import Bins, StartSampler

BIN_SECONDS = 0.5
KEPT = 0.5  # of a memory of falls, by a visit
LEAST_SECONDS = 60.0  # that falls an hour are averaged over; longer sets are averaged over their own length


class Probes(StartSampler):
    """Sends the starts of another sampler to where probes fell."""

    def __init__(
        self, inner: StartSampler, reference: ReferenceMotion, control_dt: float, probes: Tensor, share: float,
        lead: float, comm: Comm,
    ) -> None:  # fmt: skip
        """``probes [N]`` (bool) says which environments they are.

        ``share`` of the other starts are sent to between half of ``lead`` s and all of it before a fall.
        """
        self._inner, self._reference, self._library = inner, reference, reference.library
        self._share, self._lead = share, lead
        self.bins = Bins.of_about(reference, BIN_SECONDS)
        device = probes.device
        self._index = probes.nonzero().squeeze(-1)  # [P]
        lengths = torch.where(self._library.weights > 0, self._library.lengths, 0.0).to(device)
        self._ends = lengths.cumsum(0)  # s into the set at which each clip ends
        self._begins = self._ends - lengths
        self._total = float(self._ends[-1])
        number = torch.arange(comm.rank, comm.world_size * len(self._index), comm.world_size, device=device)
        stretches = torch.arange(comm.world_size * len(self._index) + 1, dtype=torch.float64, device=device)
        bounds = (self._total * stretches / (len(stretches) - 1)).float()
        self._first, self._last = bounds[number], bounds[number + 1]
        self._place = self._first.clone()  # [P] s into the set, where each probe goes on
        self._visit = control_dt / self.bins.seconds  # of a step
        # Falls remembered in each bin; visits to it and falls in it since processes met; falls and seconds played.
        self._known = torch.zeros(self.bins.number, device=device)
        self._fresh = torch.zeros(2, self.bins.number, device=device)
        self._tally = torch.zeros(2, device=device)

    def draw(self, num: int) -> tuple[Tensor, Tensor]:
        ids, times = self._inner.draw(num)
        u = torch.rand(2, num, device=times.device)
        chosen = self.bins.choose(self._known, num)
        fallen, when = self.bins.inside(chosen)
        sent = u[0] < self.share_sent
        ids = torch.where(sent, fallen, ids)
        times = torch.where(sent, self._before(fallen, when, 0.5 * self._lead * (1.0 + u[1])), times)
        clip = torch.searchsorted(self._ends, self._place, right=True).clamp(max=len(self._ends) - 1)
        return ids.index_copy(0, self._index, clip), times.index_copy(0, self._index, self._place - self._begins[clip])

    @property
    def share_sent(self) -> Tensor:
        """The share [] of starts that go to where probes fell: less than said where less than a fall is remembered."""
        return self._share * self._known.sum().clamp(max=1.0)

    def _before(self, ids: Tensor, times: Tensor, seconds: Tensor) -> Tensor:
        """Times ``[n]`` so many ``seconds [n]`` earlier; a clip that repeats is entered from its end."""
        length, earlier = self._library.lengths[ids], times - seconds
        repeats = torch.isinf(self._reference.clip_end[ids])
        return torch.where(repeats, torch.remainder(earlier, length), earlier.clamp(min=0.0))

    def record(self, motion_ids: Tensor, motion_time: Tensor, reward: Tensor, failed: Tensor) -> None:
        self._inner.record(motion_ids, motion_time, reward, failed)
        ids, times, fell = (values.index_select(0, self._index) for values in (motion_ids, motion_time, failed))
        where, _ = self.bins.place(ids, times)
        fell = fell.to(reward.dtype)
        self._fresh[0].index_add_(0, where, self._visit[where])
        self._fresh[1].index_add_(0, where, fell)
        place = self._begins[ids] + self._library.phase(ids, times) * self._library.lengths[ids]
        on_its_way = (place >= self._first) & (place < self._last)
        torch.where(on_its_way, place, self._first, out=self._place)

    def share(self, comm: Comm) -> None:
        self._inner.share(comm)
        if comm.world_size > 1:
            comm.all_reduce_sum_(self._fresh)
        visits, falls = self._fresh
        self._known.mul_(KEPT**visits).add_(falls)
        seconds = (visits * self.bins.seconds).sum()
        self._tally.mul_(torch.exp(-seconds / max(self._total, LEAST_SECONDS)))
        self._tally.add_(torch.stack([falls.sum(), seconds]))
        self._fresh.zero_()

    def diagnostics(self) -> dict[str, Tensor]:
        return {
            **self._inner.diagnostics(),
            "probe_falls_per_hour": 3600.0 * self._tally[0] / self._tally[1].clamp(min=1e-6),
            "probe_starts": self.share_sent,
        }

    def of_clips(self) -> dict[str, Tensor]:
        return {**self._inner.of_clips(), "falls": self.bins.of_clips(self._known)}

    def _own(self) -> dict[str, Tensor]:
        return {
            "probe_place": self._place, "probe_known": self._known, "probe_fresh": self._fresh,
            "probe_tally": self._tally,
        }  # fmt: skip

    def state_dict(self) -> dict[str, Tensor]:
        own = {name: tensor.cpu().clone() for name, tensor in self._own().items()}
        return {**self._inner.state_dict(), **own}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._inner.load_state_dict(state)
        for name, tensor in self._own().items():
            if name in state:  # a run that had no probes goes on with some that have seen nothing
                tensor.copy_(state[name])
