"""Fused steps of one flat vector of parameters: the kernels of torch.optim, called by hand.

The first use of torch.optim imports a compiler, which takes seconds and which nothing here needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SGD:
    """Stochastic gradient descent with momentum and weight decay: ``b = m b + g + w p``, ``p -= r b``."""

    def __init__(self, parameter: nn.Parameter, rate: float, weight_decay: float, momentum: float) -> None:
        self.parameter = parameter
        self.rate, self.weight_decay, self.momentum = rate, weight_decay, momentum
        self.moments = {"momentum_buffer": torch.zeros_like(parameter.data)}

    @torch.no_grad()
    def step(self) -> None:
        """One step on ``parameter.grad``."""
        assert self.parameter.grad is not None
        torch._fused_sgd_(
            [self.parameter], [self.parameter.grad], [self.moments["momentum_buffer"]],
            lr=self.rate, weight_decay=self.weight_decay, momentum=self.momentum, dampening=0.0, nesterov=False,
            maximize=False, is_first_step=False,
        )  # fmt: skip


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2); its step counter is on the device."""

    betas = (0.9, 0.999)
    eps = 1e-8

    def __init__(self, parameter: nn.Parameter, rate: float, weight_decay: float) -> None:
        self.parameter = parameter
        self.rate, self.weight_decay = rate, weight_decay
        self.moments: dict[str, Tensor] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter.data),
            "exp_avg_sq": torch.zeros_like(parameter.data),
        }

    @torch.no_grad()
    def step(self) -> None:
        """One step on ``parameter.grad``."""
        assert self.parameter.grad is not None
        self.moments["step"].add_(1)
        torch._fused_adamw_(
            [self.parameter], [self.parameter.grad], [self.moments["exp_avg"]], [self.moments["exp_avg_sq"]], [],
            [self.moments["step"]],
            lr=self.rate, beta1=self.betas[0], beta2=self.betas[1], weight_decay=self.weight_decay, eps=self.eps,
            amsgrad=False, maximize=False,
        )  # fmt: skip
