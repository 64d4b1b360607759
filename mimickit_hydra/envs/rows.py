"""Rows: the environments that a computation concerns, so that a step and both ways to reset share their code."""

from __future__ import annotations

import torch
from torch import Tensor, where


class Rows:
    """All environments (a step), a list of them or a mask over them (a reset).

    A list makes the work proportional to the environments that restart, at the price of knowing their number on the
    host: free on the CPU, a stall on a GPU. A mask computes every row and keeps those asked for: fixed shapes, no
    host sync, fit for a CUDA graph. Both give the same numbers.
    """

    def __init__(self, index: Tensor | None = None, mask: Tensor | None = None) -> None:
        self.index = index  # [n] int64
        self.mask = mask  # [N] bool

    def take(self, tensor: Tensor) -> Tensor:
        """The rows to compute with: ``[N, .]`` or, for a list, ``[n, .]``."""
        return tensor if self.index is None else tensor.index_select(0, self.index)

    def put(self, buffer: Tensor, value: Tensor) -> None:
        """Write the computed rows ``value`` into ``buffer`` ``[N, .]``, leaving every other row as it is."""
        if self.index is not None:
            buffer.index_copy_(0, self.index, value)
        elif self.mask is not None:
            mask = self.mask.view(-1, *[1] * (buffer.dim() - 1))
            if torch.compiler.is_compiling():  # which knows no ``out`` with gaps
                buffer.copy_(where(mask, value, buffer))
            else:
                where(mask, value, buffer, out=buffer)
        else:
            buffer.copy_(value)

    def weights(self, like: Tensor) -> Tensor | None:
        """``[n]``: 1 for computed rows that count and 0 for the rest, or None if all count."""
        return None if self.mask is None else self.mask.to(like.dtype)


ALL = Rows()


def reset_rows(mask: Tensor | None, by_index: bool) -> Rows | None:
    """Rows of a reset mask ``[N]``, or None where nothing restarts (known only ``by_index``)."""
    if mask is None:
        return ALL
    if not by_index:
        return Rows(mask=mask)
    index = mask.nonzero().squeeze(-1)
    return Rows(index=index) if index.numel() > 0 else None
