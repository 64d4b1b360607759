"""Shared memory that two processes see as the same tensors: a mapped file on the CPU, CUDA IPC on a GPU.

The block is laid out from a table of names, types and shapes that both sides compute from. The host owns it, so that a
worker which dies takes nothing with it; nothing has a name in the file system, so nothing can be left behind.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import weakref
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch

Row = Tuple[str, str, Sequence[int]]  # name, "float32" or "bool", shape
_ALIGN = 256  # bytes; what a GPU's own allocator keeps to
_TYPES = {"float32": (np.float32, torch.float32), "bool": (np.bool_, torch.bool)}


class Layout:
    """The place of each tensor of the table in the block."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = [(str(name), str(kind), tuple(int(length) for length in shape)) for name, kind, shape in rows]
        self.offsets: List[int] = []
        end = 0
        for _, kind, shape in self.rows:
            self.offsets.append(end)
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(_TYPES[kind][0]).itemsize
            end += -(-size // _ALIGN) * _ALIGN
        self.nbytes = max(end, _ALIGN)


def create_file(nbytes: int) -> int:
    """A descriptor of ``nbytes`` of memory that has no name in the file system."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("mimickit")
    else:  # not Linux
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, nbytes)
    return descriptor


def map_file(layout: Layout, descriptor: int) -> Dict[str, torch.Tensor]:
    """The block of a descriptor as tensors, which keep it mapped; the descriptor may be closed."""
    block = mmap.mmap(descriptor, layout.nbytes)
    tensors = {}
    for (name, kind, shape), offset in zip(layout.rows, layout.offsets):
        count = int(np.prod(shape, dtype=np.int64))
        values: Any = np.frombuffer(block, dtype=_TYPES[kind][0], count=count, offset=offset).reshape(shape)
        tensors[name] = torch.from_numpy(values)
    return tensors


class _Handle(ctypes.Structure):
    _fields_ = (("reserved", ctypes.c_char * 64),)


class _Allocation:
    """Device memory of the CUDA driver that any version of torch can wrap; freed with the last tensor on it."""

    def __init__(self, address: int, free: str) -> None:
        self.address = address
        release = weakref.finalize(self, getattr(_driver(), free), ctypes.c_uint64(address))
        release.atexit = False  # the driver cleans up after a process itself


class _Part:
    """A part of an allocation in the form that torch wraps."""

    def __init__(self, memory: _Allocation, offset: int, shape: Tuple[int, ...], typestr: str) -> None:
        self.memory = memory
        data = (memory.address + offset, False)
        self.__cuda_array_interface__ = {"shape": shape, "typestr": typestr, "data": data, "version": 2}


def create_cuda(layout: Layout, device: Any) -> Tuple[Dict[str, torch.Tensor], bytes]:
    """A new block on ``device`` as tensors, and the 64 bytes by which another process finds it."""
    with torch.cuda.device(device):
        torch.zeros(1, device=device)  # makes torch's context the current one
        address = ctypes.c_uint64()
        _check(_driver().cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(layout.nbytes)), "cuMemAlloc")
        memory = _Allocation(address.value, "cuMemFree_v2")
        handle = _Handle()
        _check(_driver().cuIpcGetMemHandle(ctypes.byref(handle), address), "cuIpcGetMemHandle")
        tensors = _wrap(layout, memory, device)
        for tensor in tensors.values():
            tensor.zero_()
        torch.cuda.synchronize(device)
        return tensors, ctypes.string_at(ctypes.byref(handle), 64)


def open_cuda(layout: Layout, device: Any, raw: bytes) -> Dict[str, torch.Tensor]:
    """The block another process created, as tensors."""
    with torch.cuda.device(device):
        torch.zeros(1, device=device)
        handle, address = _Handle(), ctypes.c_uint64()
        ctypes.memmove(ctypes.byref(handle), raw, 64)
        lazily = ctypes.c_uint(1)  # CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS, the only flag there is
        _check(_driver().cuIpcOpenMemHandle_v2(ctypes.byref(address), handle, lazily), "cuIpcOpenMemHandle")
        return _wrap(layout, _Allocation(address.value, "cuIpcCloseMemHandle"), device)


def _wrap(layout: Layout, memory: _Allocation, device: Any) -> Dict[str, torch.Tensor]:
    tensors = {}
    for (name, kind, shape), offset in zip(layout.rows, layout.offsets):
        dtype = _TYPES[kind][1]
        if 0 in shape:
            tensors[name] = torch.zeros(shape, dtype=dtype, device=device)
        elif kind == "bool":  # through bytes: not every version of torch takes a boolean here
            part = _Part(memory, offset, shape, "|u1")
            tensors[name] = torch.as_tensor(part, device=device).view(torch.bool)
        else:
            tensors[name] = torch.as_tensor(_Part(memory, offset, shape, "<f4"), device=device)
    return tensors


def _driver() -> Any:
    return ctypes.CDLL("libcuda.so.1")


def _check(code: int, what: str) -> None:
    if code:
        raise RuntimeError(
            "{} failed with CUDA error {}: sharing GPU memory between processes needs the same visible GPUs in both, "
            "and in a container --ipc=host".format(what, code)
        )
