"""Reads MimicKit's pickled clips without running anything that a pickle may ask for.

A pickle is a program. Only the few names that plain numbers, numpy arrays and torch tensors need are answered, and each
is answered with a stand-in of ours that keeps data: numpy's and torch's own constructors are never called with what the
file says. Any other name is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import check_pickle, one_line, read_bytes

MAX_NUMBERS = 3 * 10**7  # in the frames of one motion: two and a half hours of a humanoid at 100 frames a second
_MAX_BYTES = 16 * MAX_NUMBERS  # of a file
_MAX_ITEM_SIZE = 16  # bytes of the largest number type
_KINDS = "biuf"
_MAX_TUPLES = 50_000  # of what joblib has dumped
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # first number of the stream that torch writes for a storage
_STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip


def read_pickle(path: Path) -> Any:
    """The object in ``path`` with arrays and tensors as numpy arrays. Raises UserError with one line."""
    data = read_bytes(path, at_most=_MAX_BYTES)
    try:
        return _plain(_load(_Unpickler, io.BytesIO(data)))
    except _RefusedError as error:
        raise _refused(path, error) from None
    except RecursionError:
        raise UserError(f"{path}: the pickle is nested too deeply for a motion") from None
    except Exception as error:  # a broken pickle can raise nearly anything
        raise UserError(f"{path}: truncated or not a pickle ({one_line(error)})") from None


def _load(unpickler: type[pickle.Unpickler], stream: io.BytesIO) -> Any:
    """The next object of a stream, with a limit to what it can cost."""
    check_pickle(stream.getvalue(), stream.tell())
    return unpickler(stream).load()


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

    def __float__(self) -> float:
        return float(self.value.item())

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
    magic, _, platform = (_load(_Unpickler, stream) for _ in range(3))
    if magic != _TORCH_MAGIC or platform.get("little_endian") is not True:
        raise ValueError("not a storage of torch")
    dtype, key, count = _load(_StorageUnpickler, stream)
    if _load(_Unpickler, stream) != [key] or int.from_bytes(stream.read(8), "little") != count:
        raise ValueError("a damaged storage of torch")
    return np.frombuffer(stream.read(count * dtype.itemsize), dtype=dtype, count=count)


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> _Array:
    """Stand-in for torch's rebuilding of a tensor: a copy of the view, which has to lie inside the storage."""
    shape, steps = [int(n) for n in size], [int(n) for n in stride]
    if not isinstance(storage, np.ndarray) or min(shape, default=0) < 0 or math.prod(shape) > MAX_NUMBERS:
        raise ValueError(f"a tensor of {math.prod(shape)} numbers")
    ends = [(n - 1) * step for n, step in zip(shape, steps, strict=True)] if math.prod(shape) else []
    if int(offset) + sum(min(end, 0) for end in ends) < 0 or int(offset) + sum(max(end, 0) for end in ends) >= len(
        storage
    ):
        raise ValueError("a tensor that reaches beyond its storage")
    view = np.lib.stride_tricks.as_strided(storage[int(offset) :], shape, [step * storage.itemsize for step in steps])
    array = _Array()
    array.value = view.copy()
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
    """Arrays in place of their stand-ins: a value itself, the fields of a table, the rows of a field."""
    if isinstance(value, dict):
        return {key: _plain_rows(item) for key, item in value.items()}
    return _plain_rows(value)


def _plain_rows(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [row.value if isinstance(row, _Array) else row for row in value]
    return value.value if isinstance(value, _Array) else value


# ------------------------------------------------------------------------------------------- tables inside each other

_MAX_TABLES = 8  # of tables inside each other
_MAX_VALUES = 10**6  # in all tables and lists of tables


def read_npy_object(path: Path) -> Any:
    """The one object that numpy has pickled into a ``.npy``, with tables of arrays. Raises UserError with one line."""
    data = read_bytes(path, at_most=_MAX_BYTES)
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        if dtype != np.dtype(object) or math.prod(shape) != 1:
            raise ValueError(f"an array {shape} of {dtype}, expected one table")
        return _tables(_load(_TableUnpickler, stream))
    except _RefusedError as error:
        raise _refused(path, error) from None
    except Exception as error:  # a broken pickle can raise nearly anything
        raise UserError(f"{path}: truncated or no table that numpy has saved ({one_line(error)})") from None


def read_joblib(path: Path) -> Any:
    """What joblib has dumped, plain or packed by zlib or gzip: tables of arrays. Raises UserError with one line."""
    data = read_bytes(path, at_most=_MAX_BYTES)
    try:
        if data[:1] == b"\x78" or data[:2] == b"\x1f\x8b":
            unpacking = zlib.decompressobj(47)
            data = unpacking.decompress(data, _MAX_BYTES)
            if not unpacking.eof:
                raise ValueError("packed, and cut or too large")
        return _tables(_JoblibUnpickler(io.BytesIO(data)).load())
    except _RefusedError as error:
        raise _refused(path, error) from None
    except Exception as error:  # a broken pickle can raise nearly anything
        raise UserError(f"{path}: truncated or nothing that joblib has dumped ({one_line(error)})") from None


def _refused(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: refused, the pickle asks for {error} and a motion holds only numbers; nothing was run")


class _TableDtype(_Dtype):
    """Stand-in for ``numpy.dtype`` where an array may also hold one object."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.of_objects = code in ("O8", "O")
        if not self.of_objects:
            super().__init__(code)

    def __setstate__(self, state: Any) -> None:
        if not self.of_objects:
            super().__setstate__(state)


class _TableArray(_Array):
    """Stand-in for ``numpy.ndarray`` of numbers, or of one object."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state[4], list):
            (self.value,) = state[4]
        else:
            super().__setstate__(state)


class _TableUnpickler(_Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.", 1) if module.startswith("numpy.core.") else module
        return _OF_TABLES.get((module, name)) or super().find_class(module, name)


_OF_TABLES = {
    ("numpy", "dtype"): _StandIn(_TableDtype),
    ("numpy", "ndarray"): _StandIn(_TableArray),
    ("numpy._core.multiarray", "_reconstruct"): _StandIn(_TableArray),
}


def _tables(value: Any, depth: int = 0, seen: list[int] | None = None) -> Any:
    """Arrays in place of their stand-ins, in tables inside each other. ValueError for too many."""
    seen = [0] if seen is None else seen
    while isinstance(value, _Array):
        value = value.value
        depth += 1
        if depth > _MAX_TABLES:
            raise ValueError("tables nested too deeply")
    if not isinstance(value, dict | list | tuple):
        return value
    seen[0] += len(value)
    if depth > _MAX_TABLES or seen[0] > _MAX_VALUES:
        raise ValueError("tables nested too deeply, or of too many values")
    if isinstance(value, dict):
        return {key: _tables(item, depth + 1, seen) for key, item in value.items()}
    return [_tables(item, depth + 1, seen) for item in value]


class _Wrapper:
    """Stand-in for joblib's mark of an array, whose bytes stand behind it in the file."""


_PLAIN_OPCODES = (
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2",
    "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "LIST", "DICT", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "GLOBAL",
    "STACK_GLOBAL", "REDUCE", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET",
)  # fmt: skip
_PYTHON_UNPICKLER: Any = pickle.__dict__["_Unpickler"]  # the one in C reads ahead, and does not stop at the arrays


class _JoblibUnpickler(_PYTHON_UNPICKLER):  # type: ignore[misc]
    """Python's own unpickler with the opcodes that plain values need, and arrays read where joblib puts them."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.source, self.tuples = stream, 0

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
            return _Wrapper
        module = module.replace("numpy.core.", "numpy._core.", 1) if module.startswith("numpy.core.") else module
        stand_in = _ALLOWED.get((module, name)) if not module.startswith("torch") else None
        if stand_in is None:
            raise _RefusedError(f"{module}.{name}"[:100])
        return stand_in

    def _newobj(self) -> None:
        self.stack.pop()
        if self.stack[-1] is not _Wrapper:
            raise ValueError("an object that is no array")
        self.stack[-1] = _Wrapper()

    def _bytearray(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, _Wrapper):
            self.stack[-1] = self._array(state)
        elif isinstance(made, _Dtype | _Array | _StandIn):
            made.__setstate__(state)
        else:
            raise ValueError("a state for a plain value")

    def _array(self, state: Any) -> _Array:
        shape, dtype = tuple(int(n) for n in state["shape"]), state["dtype"]
        if not isinstance(dtype, _Dtype) or min(shape, default=0) < 0 or math.prod(shape) > MAX_NUMBERS:
            raise ValueError(f"an array of {math.prod(shape)} values")
        if state.get("numpy_array_alignment_bytes") is not None:
            self.source.read(self.source.read(1)[0])
        raw = self.source.read(math.prod(shape) * dtype.dtype.itemsize)
        return _from_buffer(raw, dtype, shape, "F" if state["order"] == "F" else "C")

    def _tuple(self, make: Callable[[Any], None]) -> None:
        self.tuples += 1
        if self.tuples > _MAX_TUPLES:
            raise ValueError(f"more than {_MAX_TUPLES:,} tuples")
        make(self)

    dispatch = {  # noqa: RUF012 - what Python's class is built on
        **{code: _PYTHON_UNPICKLER.dispatch[code] for code in (getattr(pickle, name)[0] for name in _PLAIN_OPCODES)},
        **{code: (lambda self, make=_PYTHON_UNPICKLER.dispatch[code]: self._tuple(make)) for code in b"t\x85\x86\x87"},
        pickle.NEWOBJ[0]: _newobj,
        pickle.BYTEARRAY8[0]: _bytearray,  # Python's own takes the memory before it looks whether the bytes are there
        pickle.BUILD[0]: _build,
    }
