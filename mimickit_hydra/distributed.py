"""Reductions and broadcasts over the processes of a run; a process on its own pays nothing for them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


class Comm:
    """The process group if one exists when this is made, otherwise rank 0 of 1. Reductions are in place."""

    def __init__(self) -> None:
        grouped = dist.is_available() and dist.is_initialized()
        self.rank: int = dist.get_rank() if grouped else 0
        self.world_size: int = dist.get_world_size() if grouped else 1

    @property
    def is_root(self) -> bool:
        return self.rank == 0

    def all_reduce_sum_(self, tensor: Tensor) -> Tensor:
        if self.world_size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
        return tensor

    def all_reduce_mean_(self, tensor: Tensor) -> Tensor:
        """Unweighted mean over processes (gloo has no average of its own)."""
        if self.world_size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
            tensor.div_(self.world_size)
        return tensor

    def all_reduce_min_(self, tensor: Tensor) -> Tensor:
        if self.world_size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MIN)
        return tensor

    def broadcast_(self, tensor: Tensor) -> Tensor:
        """Overwrite the tensor on every process with rank 0's values."""
        if self.world_size > 1:
            if tensor.is_contiguous():
                dist.broadcast(tensor, src=0)
            else:
                packed = tensor.detach().contiguous()
                dist.broadcast(packed, src=0)
                with torch.no_grad():
                    tensor.copy_(packed)
        return tensor

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.barrier()
