"""The protocol between host and worker: short frames over a socket, and messages of JSON with raw arrays.

A frame is a code, two small numbers and a payload, nearly always empty: states and commands cross through shared
memory. A message (:func:`pack`) is plain data - no pickle - so that any two versions of Python and numpy understand it.
Imports no torch.
"""

from __future__ import annotations

import array
import json
import socket
import struct
from typing import Any, Dict, List, NamedTuple, Tuple

PROTOCOL = 2  # raised when a frame or message changes its meaning

# What the host asks for.
(
    HELLO, BUILD, ATTACH, STEP, RESET, PLACE, FORCE, FLUSH, STATE, LOAD, WARNINGS, CLOSE, NOTHING, NOMINAL, VALUES,
    ONLY,
) = range(16)  # fmt: skip
NAMES = (
    "start", "build the scene", "share memory", "step", "reset", "place", "set a body force", "take a command",
    "save its state", "load its state", "list its warnings", "close", "answer", "tell its model's values",
    "set its model's values", "step some environments alone",
)  # fmt: skip
# What the worker answers. REFUSED carries an EngineError's own line, FAILED the story of any other exception.
DONE, REFUSED, FAILED = range(3)

_HEADER = struct.Struct("<BxHIQ")
_KINDS = "biuf"


class Frame(NamedTuple):
    """One request or answer."""

    code: int
    a: int = 0
    b: int = 0
    payload: bytes = b""


class Channel:
    """Frames over a connected stream socket. ``EOFError`` when the other side is gone, ``socket.timeout`` when late."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.seconds = 0.0  # the longest wait for the other side in one call

    def send(self, code: int, a: int = 0, b: int = 0, payload: bytes = b"") -> None:
        try:
            self._socket.sendall(_HEADER.pack(code, a, b, len(payload)) + payload)
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    def receive(self) -> Frame:
        code, a, b, size = _HEADER.unpack(self._read(_HEADER.size))
        return Frame(code, a, b, self._read(size) if size else b"")

    def send_descriptor(self, descriptor: int) -> None:
        """Give the other side an open file."""
        rights = array.array("i", [descriptor])
        self._socket.sendmsg([b"f"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def receive_descriptor(self) -> int:
        rights = array.array("i")
        _, extra, _, _ = self._socket.recvmsg(1, socket.CMSG_LEN(rights.itemsize))
        if not extra:
            raise EOFError
        rights.frombytes(extra[0][2][: rights.itemsize])
        return int(rights[0])

    def timeout(self, seconds: float) -> None:
        if seconds != self.seconds:
            self.seconds = seconds
            self._socket.settimeout(seconds)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def _read(self, size: int) -> bytes:
        try:
            chunk = self._socket.recv(size)
            if len(chunk) == size:
                return chunk
            parts, left = [chunk], size - len(chunk)
            while chunk and left:
                chunk = self._socket.recv(min(left, 1 << 20))
                parts.append(chunk)
                left -= len(chunk)
        except ConnectionResetError:
            raise EOFError from None
        if left:
            raise EOFError
        return b"".join(parts)


def pack(message: Any) -> bytes:
    """Plain data - dicts with string keys, lists, numbers, strings, numpy arrays - as bytes."""
    arrays: List[bytes] = []
    offset = 0

    def encode(value: Any) -> Any:
        import numpy as np  # not at the top: a worker says itself that it has no numpy

        nonlocal offset
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray) or value.dtype.kind not in _KINDS:
            what = "array of {}".format(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__
            raise TypeError("a value of type {} cannot be sent to an engine's worker".format(what))
        arrays.append(value.tobytes())
        entry = {"__array__": [value.dtype.str, list(value.shape), offset]}
        offset += len(arrays[-1])
        return entry

    text = json.dumps(message, default=encode).encode()
    return b"".join([struct.pack("<Q", len(text)), text, *arrays])


def unpack(data: bytes) -> Any:
    """The message again; arrays are fresh and writable."""
    (size,) = struct.unpack_from("<Q", data)
    start = 8 + size

    def decode(entry: Dict[str, Any]) -> Any:
        if list(entry) != ["__array__"]:
            return entry
        import numpy as np

        kind, shape, offset = entry["__array__"]
        dtype = np.dtype(kind)
        if dtype.kind not in _KINDS:
            raise ValueError("an array of {} is not plain data".format(dtype))
        count = 1
        for length in shape:
            count *= int(length)
        return np.frombuffer(data, dtype, count, start + offset).reshape(shape).copy()

    return json.loads(data[8:start].decode(), object_hook=decode)


def pack_numbers(*numbers: int) -> bytes:
    """A few small numbers, such as the indices of objects."""
    return struct.pack("<{}H".format(len(numbers)), *numbers)


def unpack_numbers(data: bytes) -> Tuple[int, ...]:
    return struct.unpack("<{}H".format(len(data) // 2), data)
