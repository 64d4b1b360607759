"""Standard output and standard error that do not end a run: whatever becomes of the terminal, the pipe or the disk."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, ClassVar

_NAMES = {1: "standard output", 2: "standard error"}


class OutputError(OSError):
    """What a command prints cannot be written; raised once for each stream, which is silent from then on."""


class _Output(io.RawIOBase):
    """A descriptor of the process. Inside :func:`lasting`, what it does not take is dropped, and said once."""

    open: ClassVar[int] = 0  # how many contexts of lasting() are entered

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.name = f"<{_NAMES[descriptor]}>"
        self.failure: OutputError | None = None
        self._said = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if self.failure is None or _Output.open:
            try:
                return self._write(view)
            except OSError as error:
                if _Output.open == 0:
                    self.failure = OutputError(error.errno, f"{_NAMES[self._descriptor]}: {error.strerror}")
                    raise self.failure from None
                self._say(error)
        return view.nbytes

    def _write(self, view: memoryview) -> int:
        while True:
            try:
                return os.write(self._descriptor, view)
            except BlockingIOError:  # somebody has made the terminal non-blocking
                time.sleep(0.01)

    def _say(self, error: OSError) -> None:
        if not self._said:
            self._said = True
            line = f"warning: {_NAMES[self._descriptor]} cannot be written ({error.strerror}); the run goes on\n"
            with contextlib.suppress(OSError):
                os.write(3 - self._descriptor, line.encode())

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


@contextlib.contextmanager
def robust() -> Iterator[None]:
    """Context in which ``print`` writes what the terminal's encoding lacks as ``\\u2581``, and raises OutputError.

    Streams that somebody else has put in their place are left alone. A closed descriptor is opened on the null device:
    otherwise the next file of the run would become the standard output of every library.
    """
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream(1, sys.__stdout__)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(2, sys.__stderr__)
    ours = sys.stdout, sys.stderr
    try:
        yield
    finally:
        for stream in ours:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        if (sys.stdout, sys.stderr) == ours:
            sys.stdout, sys.stderr = before


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """:func:`robust` for what must go on without its output: what cannot be written is dropped, which is said once."""
    with robust():
        _Output.open += 1
        try:
            yield
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            _Output.open -= 1


def check() -> None:
    """Write what is still to be written; OutputError if some of the output was lost."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        raw = getattr(getattr(stream, "buffer", None), "raw", None)
        if isinstance(raw, _Output) and raw.failure is not None:
            raise raw.failure


def _fill_descriptors() -> None:
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _stream(descriptor: int, former: Any) -> io.TextIOWrapper:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        former.flush()
    encoding, by_line = getattr(former, "encoding", "utf-8"), getattr(former, "line_buffering", True)
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor)), encoding, "backslashreplace", line_buffering=by_line
    )  # fmt: skip
