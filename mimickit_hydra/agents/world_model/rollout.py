"""The policy's objective and the critic's targets, from rollouts imagined in the world model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mimickit_hydra.agents.normalizers import ObsNormalizer
from mimickit_hydra.agents.world_model.adjoint import bounded
from mimickit_hydra.agents.world_model.imagination import Imagination
from mimickit_hydra.agents.world_model.model import WorldModel
from mimickit_hydra.agents.world_model.networks import Policy


@dataclass
class Imagined:
    """``H`` steps of ``B`` imagined rollouts; actions are normalised."""

    norm_obs: Tensor  # [H + 1, B, O]
    means: Tensor  # [H, B, A] what the policy asks for
    actions: Tensor  # [H, B, A] with noise, inside the bounds
    rewards: Tensor  # [H, B] of the state reached
    alive: Tensor  # [H, B] log-probability to go on from there


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Context in which gradients pass through ``modules`` but not to their parameters."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class Dream:
    """What imagines rollouts: the env's terms, the world model, and how observations and actions are scaled."""

    def __init__(
        self, imagination: Imagination, world: WorldModel, norm: ObsNormalizer, command: Callable[[Tensor], Tensor],
        reward_scale: Tensor, uses_head: bool, seen: Tensor, compiled: bool,
    ) -> None:  # fmt: skip
        """``command`` makes the env's action of a normalised one; ``reward_scale`` [] makes the best step's reward 1.

        ``seen`` [2] counts how often a state's gradient is cut, see :func:`bounded`. With ``compiled`` the steps are
        compiled into few kernels, once, for a minute.
        """
        self._imagination, self._world, self._norm, self._command = imagination, world, norm, command
        self._reward_scale, self._uses_head, self._seen = reward_scale, uses_head, seen
        self._dt = imagination.control_dt
        self._step = torch.compile(self._one_step, dynamic=False) if compiled else self._one_step
        self._judge = torch.compile(self._all_judged, dynamic=False) if compiled else self._all_judged

    def roll(
        self, policy: Policy, state: Tensor, command: Tensor, ids: Tensor, time: Tensor, noise: Tensor, clip: float
    ) -> Imagined:
        """Imagine from states [B, X], reached by commands [B, A], of clips [B] at times [B] (s).

        ``noise`` [H, B, A] is added to normalised actions; ``clip`` bounds the gradient of each state of each rollout.
        """
        steps, imagination = len(noise), self._imagination
        glimpse = imagination.glimpses(ids, time, steps + 1)
        shown = self._shown(state, command, ids, time, glimpse, steps + 1)
        first, straight = policy.first(shown[:-1], policy.weights(imagination.shown), bias=True)
        weights = policy.weights(imagination.own)
        states, commands = [state], [command]
        own: list[Tensor] = []
        means: list[Tensor] = []
        actions: list[Tensor] = []
        heads: list[Tensor] = []
        for k in range(steps):
            now = (ids, time + k * self._dt, glimpse(k, 1))
            seen, mean, action, command, state, head = self._step(
                policy, weights, state, command, now, first[k], straight[k], noise[k]
            )
            state = bounded(state, clip, self._seen)
            for found, value in zip((own, means, actions, commands, states, heads),
                                    (seen, mean, action, command, state, head), strict=True):  # fmt: skip
                found.append(value)
        own.append(self._own(state, command, (ids, time + steps * self._dt, glimpse(steps, 1))))
        rewards, alive = self._judge(
            torch.cat(states[1:]), torch.cat(commands[1:]), torch.cat(commands[:-1]),
            self._repeated(ids, time, steps, 1), glimpse(1, steps),
        )  # fmt: skip
        rewards, alive = rewards.unflatten(0, (steps, -1)), alive.unflatten(0, (steps, -1))
        if self._uses_head:
            alive = alive + functional.logsigmoid(-torch.stack(heads))
        norm_obs = imagination.joined(torch.stack(own), shown)
        return Imagined(norm_obs, torch.stack(means), torch.stack(actions), rewards * self._reward_scale, alive)

    @torch.no_grad()
    def rewards(self, states: Tensor, commands: Tensor, before: Tensor, ids: Tensor, time: Tensor) -> Tensor:
        """The env's rewards [K, B] of states [K, B, X] reached by ``commands`` [K, B, A], each after ``before``.

        They follow times [B] (s) of clips [B].
        """
        steps = len(states)
        glimpse = self._imagination.glimpses(ids, time, steps + 1)(1, steps)
        flat = [part.flatten(0, 1) for part in (states, commands, before)]
        when = self._repeated(ids, time, steps, 1)
        return self._all_judged(flat[0], flat[1], flat[2], when, glimpse)[0].unflatten(0, (steps, -1))

    def _repeated(self, ids: Tensor, time: Tensor, steps: int, first: int) -> tuple[Tensor, Tensor]:
        """Clips and times [steps B] of so many steps from step ``first`` on."""
        later = self._dt * torch.arange(first, first + steps, device=time.device).unsqueeze(-1)
        return ids.repeat(steps), (time + later).flatten()

    def _shown(self, state: Tensor, command: Tensor, ids: Tensor, time: Tensor, glimpse: Any, steps: int) -> Tensor:
        """What a rollout will see of the reference alone [steps, B, .], in one batch."""
        with torch.no_grad():
            many_ids, many_times = self._repeated(ids, time, steps, 0)
            states, commands = (part.repeat(steps, 1) for part in (state, command))
            view = self._imagination.view(states, many_ids, many_times, glimpse(0, steps), commands, commands)
            raw = self._imagination.observe(view, of_reference=True)
            return self._norm.normalize_columns(raw, self._imagination.shown).unflatten(0, (steps, -1))

    def _own(self, state: Tensor, command: Tensor, now: tuple[Any, ...]) -> Tensor:
        ids, time, glimpse = now
        view = self._imagination.view(state, ids, time, glimpse, command, command)
        seen = self._imagination.observe(view, of_reference=False)
        return self._norm.normalize_columns(seen, self._imagination.own)

    def _one_step(
        self, policy: Policy, weights: tuple[Tensor, Tensor], state: Tensor, command: Tensor, now: tuple[Any, ...],
        first: Tensor, straight: Tensor, noise: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        own = self._own(state, command, now)
        mine, direct = policy.first(own, weights, bias=False)
        mean = policy.onward(first + mine, straight + direct)
        action = mean + noise
        command = self._command(action)
        state, head = self._world(state, command)
        return own, mean, action, command, state, head

    def _all_judged(
        self, states: Tensor, commands: Tensor, before: Tensor, when: tuple[Tensor, Tensor], glimpse: Any
    ) -> tuple[Tensor, Tensor]:
        return self._imagination.judge(self._imagination.view(states, *when, glimpse, commands, before))


def objective(found: Imagined, value: Tensor, discount: float) -> Tensor:
    """The mean of (1 - γ) Σ γ^t A_t r_t + γ^H A_H V(s_H) over rollouts; V is worth 1 if every reward is.

    ``value`` [B] is V(s_H); A_t is the probability to have come to t.
    """
    steps = len(found.rewards)
    reached = found.alive.cumsum(0).exp()
    powers = discount ** torch.arange(steps, device=value.device, dtype=value.dtype).unsqueeze(-1)
    paid = (1.0 - discount) * (powers * reached * found.rewards).sum(0)
    return (paid + discount**steps * reached[-1] * value).mean()


@torch.no_grad()
def lambda_targets(rewards: Tensor, alive: Tensor, values: Tensor, discount: float, td_lambda: float) -> Tensor:
    """λ-returns [H, B] in units of a value, of :class:`Imagined`'s fields and ``values`` [H + 1, B].

    An end is worth nothing.
    """
    going_on, result, later = alive.exp(), [], values[-1]
    for k in reversed(range(len(rewards))):
        ahead = (1.0 - td_lambda) * values[k + 1] + td_lambda * later
        later = going_on[k] * ((1.0 - discount) * rewards[k] + discount * ahead)
        result.append(later)
    return torch.stack(result[::-1])


def changes(actions: Tensor) -> Tensor:
    """Mean squared change of actions [H, B, A] from step to step, summed over their numbers."""
    return (actions[1:] - actions[:-1]).square().sum(-1).mean() if len(actions) > 1 else actions.new_zeros(())


def outside(means: Tensor) -> Tensor:
    """Mean squared part of normalised actions [..., A] that is outside their bounds, summed over their numbers."""
    return (means.abs() - 1.0).clamp(min=0.0).square().sum(-1).mean()


def windows_of(first: int, last: int, iterations: int) -> Sequence[tuple[int, int]]:
    """Lengths of windows, doubling from ``first`` to ``last``, each with the iteration from which it holds."""
    lengths = [first]
    while lengths[-1] < last:
        lengths.append(min(2 * lengths[-1], last))
    return [(iterations * k // max(len(lengths) - 1, 1), length) for k, length in enumerate(lengths)]
