"""Action distributions, in normalised action units, and the network heads that put them out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimickit_hydra.agents.errors import AgentError
from mimickit_hydra.agents.networks import linear_head
from mimickit_hydra.config.one_line import suggestion

LOG_2PI = math.log(2.0 * math.pi)
STD_TYPES = ("FIXED", "CONSTANT", "VARIABLE")


class DiagGaussian(NamedTuple):
    """Independent Gaussians: ``mean`` [..., A] and ``logstd`` [A] or [..., A] (broadcast, never expanded)."""

    mean: Tensor
    logstd: Tensor

    @property
    def std(self) -> Tensor:
        return self.logstd.exp()

    @property
    def mode(self) -> Tensor:
        return self.mean

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise, ``noise`` [..., A] standard normal."""
        return torch.addcmul(self.mean, self.std, noise)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density [...] of ``x`` [..., A]."""
        return gaussian_log_prob_of_noise((x - self.mean) * torch.exp(-self.logstd), self.logstd)

    def entropy(self) -> Tensor:
        """Differential entropy [...] in nats ([] where the deviation does not depend on the state)."""
        return self.logstd.sum(-1) + 0.5 * self.mean.shape[-1] * (LOG_2PI + 1.0)

    def kl(self, other: DiagGaussian) -> Tensor:
        """KL(self || other) [...]."""
        ratio = (2.0 * (self.logstd - other.logstd)).exp()
        shift = ((self.mean - other.mean) * torch.exp(-other.logstd)).square()
        return (other.logstd - self.logstd + 0.5 * (ratio + shift)).sum(-1) - 0.5 * self.mean.shape[-1]

    def param_reg(self) -> Tensor:
        """Squared length of the mean [...]."""
        return self.mean.square().sum(-1)


def gaussian_log_prob_of_noise(noise: Tensor, logstd: Tensor) -> Tensor:
    """Log density [...] of mean + std * noise; ``noise`` [..., A], ``logstd`` [A] or [..., A]."""
    return -0.5 * noise.square().sum(-1) - logstd.sum(-1) - 0.5 * noise.shape[-1] * LOG_2PI


class GaussianHead(nn.Module):
    """Linear mean; log standard deviation FIXED (a stored constant), CONSTANT (trained) or VARIABLE (linear)."""

    def __init__(self, in_size: int, action_size: int, std_type: str, std: float, weight_scale: float) -> None:
        super().__init__()
        if std_type not in STD_TYPES:
            near = suggestion(std_type, STD_TYPES)
            raise AgentError(f"model.actor_std_type: {std_type!r} is not one of {', '.join(STD_TYPES)}{near}")
        if not std > 0.0:
            raise AgentError(f"model.action_std: found {std}, must be greater than 0")
        self.state_dependent_std = std_type == "VARIABLE"
        # The order of registration is the order of names in a checkpoint.
        self._logstd_net: nn.Linear | nn.Parameter
        if self.state_dependent_std:
            self._mean_net = linear_head(in_size, action_size, weight_scale)
            self._logstd_net = linear_head(in_size, action_size, weight_scale)
            nn.init.constant_(self._logstd_net.bias, math.log(std))
        else:
            logstd = torch.full((action_size,), math.log(std))
            self._logstd_net = nn.Parameter(logstd, requires_grad=std_type == "CONSTANT")
            self._mean_net = linear_head(in_size, action_size, weight_scale)

    def forward(self, hidden: Tensor) -> DiagGaussian:
        """``hidden`` [..., H] -> distribution over [..., A]."""
        if isinstance(self._logstd_net, nn.Linear):
            return DiagGaussian(self._mean_net(hidden), self._logstd_net(hidden))
        return DiagGaussian(self._mean_net(hidden), self._logstd_net)


class Categorical(NamedTuple):
    """One of C actions; ``log_probs`` [..., C] normalised. Actions are int64 [..., 1]."""

    log_probs: Tensor

    @classmethod
    def from_logits(cls, logits: Tensor) -> Categorical:
        return cls(F.log_softmax(logits, dim=-1))

    @property
    def mode(self) -> Tensor:
        return self.log_probs.argmax(-1, keepdim=True)

    def sample(self) -> Tensor:
        flat = self.log_probs.exp().flatten(0, -2)
        return torch.multinomial(flat, 1).view(*self.log_probs.shape[:-1], 1)

    def log_prob(self, action: Tensor) -> Tensor:
        return self.log_probs.gather(-1, action).squeeze(-1)

    def entropy(self) -> Tensor:
        return -(self.log_probs.exp() * self.log_probs).sum(-1)

    def param_reg(self) -> Tensor:
        """Sum over classes of squared log-probabilities (of the normalised logits, as upstream has it)."""
        return self.log_probs.square().sum(-1)


class CategoricalHead(nn.Module):
    """Linear logits; the bias keeps torch's default."""

    def __init__(self, in_size: int, num_actions: int, weight_scale: float) -> None:
        super().__init__()
        self._logit_net = nn.Linear(in_size, num_actions)
        nn.init.uniform_(self._logit_net.weight, -weight_scale, weight_scale)

    def forward(self, hidden: Tensor) -> Categorical:
        return Categorical.from_logits(self._logit_net(hidden))
