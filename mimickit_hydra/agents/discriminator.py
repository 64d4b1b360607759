"""The discriminator of AMP, ASE and ADD: its network, its loss, and the reward it gives to the policy."""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimickit_hydra.agents.gradient_penalty import hidden_activations, mean_squared_input_gradient
from mimickit_hydra.agents.model import ActorCritic
from mimickit_hydra.agents.networks import build_net, linear_head
from mimickit_hydra.agents.schema import AMPModelConfig

MIN_FAKE_PROB = 1e-4  # bounds the reward: -ln(1e-4) = 9.21


class DiscriminatorModel(ActorCritic):
    """Actor, critic and a discriminator: normalised discriminator observation [..., D] -> logit [...]."""

    def __init__(
        self, config: AMPModelConfig, input_size: int, action_size: int, disc_obs_size: int, critic_size: int = 0
    ) -> None:
        super().__init__(config, input_size, action_size, critic_size)
        self._disc_layers, size = build_net(config.disc_net, disc_obs_size)
        self._disc_logits = linear_head(size, 1, 1.0)

    def discriminator(self, norm_disc_obs: Tensor) -> Tensor:
        """Logits [...] of normalised discriminator observations [..., D]; high where they look like the clips'."""
        logit: Tensor = self._disc_logits(self._disc_layers(norm_disc_obs))
        return logit.squeeze(-1)

    def disc_parameters(self) -> list[nn.Parameter]:
        return [*self._disc_layers.parameters(), *self._disc_logits.parameters()]


class DiscriminatorLoss(NamedTuple):
    total: Tensor
    negative: Tensor  # logits [M]
    positive: Tensor  # logits [P]
    grad_penalty: Tensor
    logit: Tensor  # squared norm of the last layer's weight


def discriminator_loss(
    layers: nn.Sequential, head: nn.Linear, inputs: Tensor, num_negative: int, grad_penalty: float, logit_reg: float
) -> DiscriminatorLoss:
    """Cross entropy with a gradient penalty on both classes (Peng et al. 2021, eq. 8), both without a target norm.

    ``inputs`` [M + P, D], normalised: M = ``num_negative`` rows of the agent, then P of demonstrations. Either class
    weighs one half in both terms. ``logit_reg`` is the weight of the last layer's squared norm, its bias left out.
    """
    hidden = hidden_activations(layers, inputs)
    logits = head(hidden[-1]).squeeze(-1)
    negative, positive = logits[:num_negative], logits[num_negative:]
    entropy = 0.5 * (F.softplus(negative).mean() + F.softplus(-positive).mean())
    weight = torch.empty_like(logits)
    weight[:num_negative].fill_(0.5 / num_negative)
    weight[num_negative:].fill_(0.5 / max(inputs.shape[0] - num_negative, 1))
    with torch.no_grad() if grad_penalty == 0.0 else contextlib.nullcontext():
        penalty = mean_squared_input_gradient(layers, hidden, head.weight, weight)
    logit = head.weight.square().sum()
    total = entropy + grad_penalty * penalty + logit_reg * logit
    return DiscriminatorLoss(total, negative.detach(), positive.detach(), penalty.detach(), logit.detach())


def style_reward(logit: Tensor, scale: float) -> Tensor:
    """``scale`` · −ln max(1 − σ(d), 1e-4) of the logit d [...], as a clipped softplus that keeps its digits."""
    return F.softplus(logit).clamp_max(-math.log(MIN_FAKE_PROB)).mul(scale)


def fraction(condition: Tensor) -> Tensor:
    """The share of a boolean tensor that is true."""
    return condition.to(torch.float32).mean()
