"""The gradient of a ReLU network's output with respect to its input, without differentiating twice.

Between its kinks such a network is linear, so the gradient of the output with respect to the input is a product of
weight matrices and 0/1 masks: an ordinary forward computation, whose own gradient is what double backpropagation
would give.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def hidden_activations(layers: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Outputs of every hidden layer of an alternation of linear layers and ReLUs, first to last; ``x`` [B, I]."""
    hidden = []
    for linear in linears(layers):
        x = torch.relu(linear(x))
        hidden.append(x)
    return hidden


def mean_squared_input_gradient(
    layers: nn.Sequential, hidden: list[Tensor], upstream: Tensor, weight: float | Tensor
) -> Tensor:
    """Sum over the batch of ``weight`` (one number, or [B]) times ‖∂f/∂x‖².

    ``upstream`` [B or 1, H] is ∂f/∂h for the last hidden layer, ``hidden`` comes from :func:`hidden_activations`. With
    weights 1/B this is the mean.
    """
    chain = linears(layers)
    grad = torch.where(hidden[-1] > 0.0, upstream, 0.0)
    for linear, below in zip(reversed(chain[1:]), reversed(hidden[:-1]), strict=True):
        grad = torch.where(below > 0.0, grad @ linear.weight, 0.0)
    grad = grad * (weight.sqrt()[:, None] if isinstance(weight, Tensor) else weight**0.5)
    first = chain[0].weight
    rows, (hidden_size, inputs) = grad.shape[0], first.shape
    if hidden_size * (rows + inputs) < rows * inputs:
        penalty: Tensor = _SquaredProduct.apply(grad, first)
        return penalty
    return (grad @ first).square().sum()


class _SquaredProduct(torch.autograd.Function):
    """‖G W‖² = <GᵀG, W Wᵀ>: less work where the input is wider than the layer and the batch is not small."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(grad, weight)
        ctx.of_rows, ctx.of_weight = grad.T @ grad, weight @ weight.T
        return (ctx.of_rows * ctx.of_weight).sum()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor]:
        grad, weight = ctx.saved_tensors
        factor = 2.0 * upstream[0]
        return (grad @ ctx.of_weight).mul_(factor), (ctx.of_rows @ weight).mul_(factor)


def linears(layers: nn.Sequential) -> list[nn.Linear]:
    """The linear layers of an alternation of these and ReLUs."""
    return [layer for layer in layers if isinstance(layer, nn.Linear)]
