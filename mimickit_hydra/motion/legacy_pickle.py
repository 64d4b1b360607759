"""Read MimicKit's pickled clips without running anything that a pickle may ask for.

A pickle is a program. Only the few names that plain numbers, numpy arrays and torch tensors need are answered, and each
is answered with a stand-in of ours that keeps data: numpy's and torch's own constructors are never called with what the
file says. Any other name is refused.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.motion.errors import MotionFileError

_MAX_ITEM_SIZE = 16  # bytes of the largest number type
_MAX_NUMBERS = 10**8  # in one tensor
_KINDS = "biuf"
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # first number of the stream that torch writes for a storage
_STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip


def read_pickle(path: Path) -> Any:
    """The object in ``path`` with arrays and tensors as numpy arrays. Raises MotionFileError with one line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MotionFileError(f"{path}: cannot read the motion ({error.strerror or error})") from None
    try:
        return _plain(_Unpickler(io.BytesIO(data)).load())
    except _RefusedError as error:
        raise MotionFileError(
            f"{path}: refused, the pickle asks for {error} and a motion holds only numbers; nothing was run"
        ) from None
    except RecursionError:
        raise MotionFileError(f"{path}: the pickle is nested too deeply for a motion") from None
    except Exception as error:  # a broken pickle can raise nearly anything
        raise MotionFileError(f"{path}: truncated or not a pickle ({_one_line(error)})") from None


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:120] if text else type(error).__name__


class _RefusedError(Exception):
    """The pickle named something that a motion does not need."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.", 1) if module.startswith("numpy.core.") else module
        stand_in = _ALLOWED.get((module, name))
        if stand_in is None:
            raise _RefusedError(f"{module}.{name}"[:100])
        return stand_in

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("an external object")


class _StorageUnpickler(_Unpickler):
    """Reads the stream that torch writes for a storage; its numbers follow behind the pickles."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _StandIn(lambda: np.dtype(_STORAGES[name]))
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        kind, storage_type, key, _, count, *view = pid
        if kind != "storage" or any(view):
            raise ValueError("a tensor that shares its numbers with another")
        return storage_type(), str(key), int(count)


class _StandIn:
    """What the pickle gets for a name: it can be called, and nothing about it can be changed."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a state for a name")


class _Dtype:
    """Stand-in for ``numpy.dtype``: a number type by its code, and its byte order from the state."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in _KINDS or self.dtype.itemsize > _MAX_ITEM_SIZE:
            raise ValueError(f"array of type {code!r}, expected numbers")

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stand-in for ``numpy.ndarray``."""

    def __init__(self, *_: Any) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _from_buffer(raw, dtype, shape, "F" if fortran else "C").value


def _numbers(raw: Any, dtype: Any) -> np.ndarray:
    if not isinstance(raw, bytes | bytearray) or not isinstance(dtype, _Dtype):
        raise ValueError("an array of something else than numbers")
    return np.frombuffer(raw, dtype=dtype.dtype)


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: str) -> _Array:
    array = _Array()
    array.value = _numbers(raw, dtype).reshape(tuple(shape), order="F" if order == "F" else "C")
    return array


def _scalar(dtype: Any, raw: Any) -> Any:
    return _numbers(raw, dtype)[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Bytes inside pickles of protocol 2 and older."""
    if encoding != "latin1":
        raise ValueError(f"bytes in encoding {encoding!r}, expected latin1")
    return text.encode("latin1")


def _storage(raw: Any) -> np.ndarray:
    """The numbers of a torch storage: magic number, version, platform, the storage's description, keys, data."""
    if not isinstance(raw, bytes | bytearray):
        raise ValueError("a storage without bytes")
    stream = io.BytesIO(raw)
    magic, _, platform = (_Unpickler(stream).load() for _ in range(3))
    if magic != _TORCH_MAGIC or platform.get("little_endian") is not True:
        raise ValueError("not a storage of torch")
    dtype, key, count = _StorageUnpickler(stream).load()
    if _Unpickler(stream).load() != [key] or int.from_bytes(stream.read(8), "little") != count:
        raise ValueError("a damaged storage of torch")
    return np.frombuffer(stream.read(count * dtype.itemsize), dtype=dtype, count=count)


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> _Array:
    """Stand-in for torch's rebuilding of a tensor; numpy checks that the view lies inside the storage."""
    shape, steps = tuple(int(n) for n in size), tuple(int(n) for n in stride)
    if not isinstance(storage, np.ndarray) or math.prod(shape) > _MAX_NUMBERS:
        raise ValueError(f"a tensor of {math.prod(shape)} numbers")
    index = np.full(shape, int(offset))
    for axis, step in enumerate(steps):
        index += (np.arange(shape[axis]) * step).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    array = _Array()
    array.value = storage[index]
    return array


def _parameter(tensor: _Array, *_: Any) -> _Array:
    return tensor


_ALLOWED: dict[tuple[str, str], _StandIn] = {
    ("numpy", "dtype"): _StandIn(_Dtype),
    ("numpy", "ndarray"): _StandIn(_Array),
    ("numpy._core.multiarray", "_reconstruct"): _StandIn(_Array),
    ("numpy._core.multiarray", "scalar"): _StandIn(_scalar),
    ("numpy._core.numeric", "_frombuffer"): _StandIn(_from_buffer),
    ("_codecs", "encode"): _StandIn(_encode),
    ("collections", "OrderedDict"): _StandIn(dict),
    ("torch.storage", "_load_from_bytes"): _StandIn(_storage),
    ("torch._utils", "_rebuild_tensor_v2"): _StandIn(_tensor),
    ("torch._utils", "_rebuild_parameter"): _StandIn(_parameter),
}


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
