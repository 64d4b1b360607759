"""Read MimicKit's pickled clips without running anything that a pickle may ask for.

A pickle is a program. Only the few names that plain numbers, numpy arrays and torch tensors need are answered, and each
is answered with a stand-in of ours that keeps data: numpy's and torch's own constructors are never called with what the
file says. Any other name is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.motion.errors import MotionFileError

_MAX_ITEM_SIZE = 16  # bytes of the largest number type
_MAX_NUMBERS = 10**8  # in one tensor
_KINDS = "biuf"


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

    def __init__(self) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _from_buffer(raw, dtype, shape, "F" if fortran else "C").value


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(raw: Any, dtype: _Dtype, shape: Any, order: str) -> _Array:
    array = _Array()
    data = raw.value if isinstance(raw, _Array) else bytes(raw)
    array.value = np.frombuffer(data, dtype=dtype.dtype).reshape(tuple(shape), order="F" if order == "F" else "C")
    return array


def _scalar(dtype: _Dtype, raw: bytes) -> Any:
    return np.frombuffer(bytes(raw), dtype=dtype.dtype, count=1)[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Bytes inside pickles of protocol 2 and older."""
    if encoding != "latin1":
        raise ValueError(f"bytes in encoding {encoding!r}, expected latin1")
    return text.encode("latin1")


def _storage(raw: bytes) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(bytes(raw)), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> _Array:
    """Stand-in for torch's rebuilding of a tensor; numpy checks that the view lies inside the storage."""
    shape, steps = tuple(int(n) for n in size), tuple(int(n) for n in stride)
    if math.prod(shape) > _MAX_NUMBERS:
        raise ValueError(f"a tensor of {math.prod(shape)} numbers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # typed storages are deprecated, but old files hold them
        flat = np.array(storage.tolist())
    index = np.full(shape, int(offset))
    for axis, step in enumerate(steps):
        index += (np.arange(shape[axis]) * step).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    array = _Array()
    array.value = flat[index]
    return array


def _parameter(tensor: _Array, *_: Any) -> _Array:
    return tensor


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
