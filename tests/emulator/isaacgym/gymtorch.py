"""Tensors of the emulated simulator as torch tensors on the same memory, and back."""

import numpy as np
import torch

from isaacgym import gymapi

_KINDS = {
    torch.float32: gymapi.DTYPE_FLOAT32, torch.uint8: gymapi.DTYPE_UINT8, torch.int16: gymapi.DTYPE_INT16,
    torch.int32: gymapi.DTYPE_UINT32, torch.int64: gymapi.DTYPE_UINT64,
}  # fmt: skip


def wrap_tensor(gym_tensor, offsets=None, counts=None):
    """The memory of a simulator's tensor as a torch tensor."""
    if not isinstance(gym_tensor, gymapi.Tensor):
        raise TypeError("wrap_tensor takes a gymapi.Tensor, found {}".format(type(gym_tensor).__name__))
    if offsets is not None or counts is not None:
        raise NotImplementedError("emulated isaacgym: wrap_tensor with offsets")
    return torch.from_numpy(gym_tensor._array)


def unwrap_tensor(torch_tensor):
    """A descriptor of a torch tensor's memory."""
    if not isinstance(torch_tensor, torch.Tensor):
        raise TypeError("unwrap_tensor takes a torch tensor, found {}".format(type(torch_tensor).__name__))
    if not torch_tensor.is_contiguous():
        raise RuntimeError("Input tensor must be contiguous")
    if torch_tensor.dtype not in _KINDS:
        raise RuntimeError("emulated isaacgym: no tensor type for {}".format(torch_tensor.dtype))
    return gymapi.Tensor._of(np.asarray(torch_tensor.detach()), _KINDS[torch_tensor.dtype])
