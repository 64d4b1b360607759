"""PPO's losses (Schulman et al. 2017, eq. 7) as pure functions of a minibatch, with terms that other methods share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mimickit_hydra.agents.distributions import DiagGaussian


class ActorRegularizers(NamedTuple):
    """Weights of the actor's extra terms; 0 switches a term off and removes its log key."""

    bound: float = 0.0
    entropy: float = 0.0
    reg: float = 0.0


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of ``x`` [B] over the rows with ``mask`` 1 (None = all); 0 where there are none."""
    if mask is None:
        return x.mean()
    return (x * mask).sum() / mask.sum().clamp_min(1.0)


def critic_loss(value: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of ``value`` and ``target`` [B], without a factor of one half."""
    return (target - value).square().mean()


def action_bound_loss(mean: Tensor) -> Tensor:
    """Squared distance [B] by which the mean [B, A] leaves [-1, 1]."""
    return (mean.abs() - 1.0).clamp_min(0.0).square().sum(-1)


def surrogate_loss(
    logp: Tensor, old_logp: Tensor, adv: Tensor, clip_ratio: float, mask: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped surrogate to minimise, and what is logged of the importance ratio. Inputs [B]."""
    ratio = torch.exp(logp - old_logp)
    clipped = ratio.clamp(1.0 - clip_ratio, 1.0 + clip_ratio)
    loss = -masked_mean(torch.minimum(adv * ratio, adv * clipped), mask)
    with torch.no_grad():
        outside = ((ratio - 1.0).abs() > clip_ratio).to(ratio.dtype)
        parts = {"clip_frac": masked_mean(outside, mask), "imp_ratio": masked_mean(ratio, mask)}
    return loss, parts


def regularize(
    loss: Tensor, dist: DiagGaussian, weights: ActorRegularizers, mask: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """``loss`` plus the weighted bound, entropy and mean-size terms, and each term by its log name."""
    parts: dict[str, Tensor] = {}
    if weights.bound != 0.0:
        parts["action_bound_loss"] = masked_mean(action_bound_loss(dist.mean), mask)
        loss = loss + weights.bound * parts["action_bound_loss"]
    if weights.entropy != 0.0:
        parts["action_entropy"] = masked_mean(dist.entropy().expand(dist.mean.shape[:-1]), mask)
        loss = loss - weights.entropy * parts["action_entropy"]
    if weights.reg != 0.0:
        parts["action_reg_loss"] = masked_mean(dist.param_reg(), mask)
        loss = loss + weights.reg * parts["action_reg_loss"]
    return loss, {name: part.detach() for name, part in parts.items()}


def ppo_actor_loss(
    dist: DiagGaussian,
    norm_action: Tensor,
    old_logp: Tensor,
    adv: Tensor,
    mask: Tensor | None,
    clip_ratio: float,
    weights: ActorRegularizers,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total actor loss of a minibatch and its logged parts.

    ``norm_action`` [B, A], ``old_logp``, ``adv`` and ``mask`` [B]; samples with mask 0 (mode actions) do not count.
    """
    loss, parts = surrogate_loss(dist.log_prob(norm_action), old_logp, adv, clip_ratio, mask)
    loss, extra = regularize(loss, dist, weights, mask)
    return loss, {**parts, **extra}
