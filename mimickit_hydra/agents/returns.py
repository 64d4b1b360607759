"""Value targets, advantages and their normalisation: fixed shapes, no boolean indexing, no host synchronisation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL, DONE_SUCC


def bootstrap_values(
    next_value: Tensor, done: Tensor, discount: float, reward_succ: float = 0.0, reward_fail: float = 0.0
) -> Tensor:
    """V(next_obs) [T, N] with the fixed terminal values of success and failure put in.

    A terminal state is taken to earn ``reward_succ`` or ``reward_fail`` for ever, hence r / (1 - discount). TIME keeps
    the value of the observation before the reset.
    """
    scale = 1.0 / (1.0 - discount) if discount < 1.0 else 0.0
    value = torch.where(done == DONE_SUCC, reward_succ * scale, next_value)
    return torch.where(done == DONE_FAIL, reward_fail * scale, value)


def td_lambda_return(reward: Tensor, next_value: Tensor, done: Tensor, discount: float, td_lambda: float) -> Tensor:
    """λ-returns G [T, N] (Sutton & Barto 2018, eq. 12.20), the trace cut after every ended episode.

    G_t = r_t + γ[(1 - λ_t) V'_t + λ_t G_{t+1}], λ_t = λ where done_t is NULL and 0 elsewhere; the last row bootstraps
    from its own V'. Shapes [T, N]; ``done`` int32. One kernel per time step.
    """
    trace = (done == DONE_NULL).to(reward.dtype).mul_(discount * td_lambda)
    trace[-1] = 0.0
    returns = torch.addcmul(reward, next_value, discount - trace)
    for t in range(reward.shape[0] - 2, -1, -1):
        returns[t].addcmul_(trace[t], returns[t + 1])
    return returns


def correction(values: Tensor) -> int:
    """The correction for an unbiased variance of all ``values``: 1, and 0 for a single one, which has none."""
    return min(1, values.numel() - 1)


class NormalizedAdvantage(NamedTuple):
    adv: Tensor  # [T, N]
    mean: Tensor  # []
    std: Tensor  # []


def normalize_advantage(
    adv: Tensor, mask: Tensor | None, comm: Comm, clip: float | None = None, min_std: float = 1e-5
) -> NormalizedAdvantage:
    """Advantages [T, N] standardised by the statistics of the rows with ``mask`` 1 (None = all), clamped to ±clip.

    Mean and unbiased variance are taken per process and then averaged over processes; that of one sample is 0.
    """
    if mask is None:
        var, mean = torch.var_mean(adv, correction=correction(adv))
    else:
        count = mask.sum()
        mean = (adv * mask).sum() / count.clamp_min(1.0)
        var = ((adv - mean).square() * mask).sum() / (count - 1.0).clamp_min(1.0)
    stats = comm.all_reduce_mean_(torch.stack([mean, var]))
    mean, std = stats[0], stats[1].sqrt()
    scaled = (adv - mean) / std.clamp_min(min_std)
    if clip is not None:
        scaled = scaled.clamp_(-clip, clip)
    return NormalizedAdvantage(scaled, mean, std)


class ReturnTracker:
    """Mean return and length of the episodes that ended, from whole rollouts at once and without a host read.

    The episodes of one env that end inside a rollout have together earned everything up to its last ``done``, so sums
    need no loop over time. Returns are undiscounted.
    """

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self._running = torch.zeros(2, num_envs, dtype=torch.float64, device=device)  # return, length so far
        self.episodes = torch.zeros(num_envs, dtype=torch.int64, device=device)  # ended per env
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)  # return, length, number of ended episodes

    def add(self, reward: Tensor, done: Tensor) -> None:
        """Fold in ``reward`` and ``done`` [T, N] (or one step, [N])."""
        if reward.dim() == 1:
            reward, done = reward[None], done[None]
        steps = reward.shape[0]
        ended = done != DONE_NULL
        number = torch.arange(1, steps + 1, device=reward.device)[:, None]
        last = (ended * number).amax(0)  # [N] steps up to the last end, 0 = none ended
        before = number <= last
        exact = reward.double()
        closed = torch.stack([(exact * before).sum(0), last.double()])
        whole = torch.stack([exact.sum(0), torch.full_like(closed[1], float(steps))])
        any_ended = last > 0
        finished = torch.where(any_ended, self._running + closed, 0.0)
        self._running = torch.where(any_ended, whole - closed, self._running + whole)
        count = ended.sum(0)
        self.episodes += count
        self.sums += torch.cat([finished.sum(1), count.sum().double()[None]])

    def reset_statistics(self) -> None:
        """Forget the ended episodes; those under way go on."""
        self.sums.zero_()
        self.episodes.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        return {"running": self._running.clone(), "episodes": self.episodes.clone(), "sums": self.sums.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._running.copy_(state["running"])
        self.episodes.copy_(state["episodes"])
        self.sums.copy_(state["sums"])


def mean_episode(sums: list[float]) -> tuple[float, float, int]:
    """(mean return, mean length, episodes) of :attr:`ReturnTracker.sums`; zeros where nothing ended."""
    count = int(sums[2])
    return (sums[0] / count, sums[1] / count, count) if count else (0.0, 0.0, 0)
