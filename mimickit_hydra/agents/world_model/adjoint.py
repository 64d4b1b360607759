"""Bounds on what a gradient may carry back through imagined steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, state: Tensor, most: float, seen: Tensor) -> Tensor:
        ctx.most, ctx.seen = most, seen
        return state.view_as(state)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        grad = torch.nan_to_num(grad, 0.0, 0.0, 0.0)
        norm = torch.linalg.vector_norm(grad, dim=-1, keepdim=True)
        ctx.seen[0] += (norm > ctx.most).float().mean()
        ctx.seen[1] += 1.0
        return grad * (ctx.most / (norm + 1e-20)).clamp(max=1.0), None, None


def bounded(state: Tensor, most: float, seen: Tensor) -> Tensor:
    """``state`` [B, X] itself; the gradient of each row is scaled to a norm of at most ``most``.

    Numbers that are none become 0. ``seen`` [2] is added the share of rows that were cut, and 1.
    """
    return _Bounded.apply(state, most, seen)  # type: ignore[no-any-return,no-untyped-call]
