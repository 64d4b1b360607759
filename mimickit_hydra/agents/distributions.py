"""Action distributions, in normalised action units, and the network heads that put them out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.networks import linear_head

LOG_2PI = math.log(2.0 * math.pi)


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

    def _load_from_state_dict(self, state_dict, prefix, *args):  # type: ignore[no-untyped-def]
        """A deviation that nothing trains is the config's, whatever the weights were trained with."""
        own = self._logstd_net
        if isinstance(own, nn.Parameter) and not own.requires_grad:
            state_dict = {**state_dict, f"{prefix}_logstd_net": own.detach()}
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, hidden: Tensor) -> DiagGaussian:
        """``hidden`` [..., H] -> distribution over [..., A]."""
        if isinstance(self._logstd_net, nn.Linear):
            return DiagGaussian(self._mean_net(hidden), self._logstd_net(hidden))
        return DiagGaussian(self._mean_net(hidden), self._logstd_net)
