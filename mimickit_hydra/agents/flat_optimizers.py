"""Optimisers of one flat vector of parameters, by the fused kernels of torch.optim.

The first use of torch.optim imports a compiler, which takes seconds and which nothing here needs.
"""

from __future__ import annotations

from collections.abc import Sequence

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

    def __init__(self, parameter: nn.Parameter, rate: float | Tensor, weight_decay: float) -> None:
        """``rate`` may be a tensor [] on the device, which may change between steps."""
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
            lr=self.rate,  # type: ignore[arg-type]  # a number or a tensor: it has a form for each
            beta1=self.betas[0], beta2=self.betas[1], weight_decay=self.weight_decay, eps=self.eps,
            amsgrad=False, maximize=False,
        )  # fmt: skip


class Muon:
    """Muon for matrices, Adam for what else is in the vector (Jordan 2024; with the scale of Liu et al. 2025).

    The momentum of a matrix is turned into the nearest matrix with equal singular values, by five Newton-Schulz steps,
    and scaled by ``0.2 sqrt(max(rows, columns))``, which makes its steps as large as Adam's. torch.optim has Muon only
    from 2.9 on, with a rate that a graph would keep as it was.
    """

    betas = (0.9, 0.99)
    eps = 1e-10
    momentum = 0.95
    steps = (3.4445, -4.7750, 2.0315)  # coefficients of one Newton-Schulz step

    def __init__(self, parameter: nn.Parameter, rate: float, matrices: Sequence[torch.Size]) -> None:
        """``matrices``: the shapes that lie at the beginning of the vector, one after the other."""
        self.parameter = parameter
        self.rate = torch.tensor(rate, device=parameter.device)  # may be changed between steps
        self._shapes = list(matrices)
        self._sizes = [shape.numel() for shape in self._shapes]
        self._rest = parameter.numel() - sum(self._sizes)
        self.moments: dict[str, Tensor] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter.data),  # of matrices: the momentum
            "exp_avg_sq": torch.zeros_like(parameter.data),
        }

    @torch.no_grad()
    def step(self) -> None:
        """One step on ``parameter.grad``."""
        assert self.parameter.grad is not None
        sizes = [*self._sizes, self._rest]
        weights, grads, means = (
            vector.split(sizes) for vector in (self.parameter.data, self.parameter.grad, self.moments["exp_avg"])
        )
        for weight, grad, mean, shape in zip(weights, grads, means, self._shapes, strict=False):
            mean.mul_(self.momentum).add_(grad)
            turned = self._orthogonal(grad.add(mean, alpha=self.momentum).view(shape))
            weight.sub_(turned.flatten() * (self.rate * (0.2 * max(shape) ** 0.5)))
        self._adam(weights[-1], grads[-1], means[-1])

    def _adam(self, weight: Tensor, grad: Tensor, mean: Tensor) -> None:
        step, square = self.moments["step"], self.moments["exp_avg_sq"][len(self.parameter) - self._rest :]
        beta1, beta2 = self.betas
        step.add_(1)
        mean.lerp_(grad, 1.0 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
        size = self.rate * (1.0 - beta2**step).sqrt() / (1.0 - beta1**step)
        weight.sub_(mean / square.sqrt().add_(self.eps) * size)

    def _orthogonal(self, matrix: Tensor) -> Tensor:
        tall = matrix.shape[0] > matrix.shape[1]
        x = matrix.T if tall else matrix
        x = x / (x.norm() + 1e-20)
        x = x.bfloat16() if x.is_cuda else x
        a, b, c = self.steps
        for _ in range(5):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return (x.T if tall else x).float()
