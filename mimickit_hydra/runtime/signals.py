"""Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 as a request to stop at the next good moment."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

# Schedulers announce the time limit or a preemption with one of the user signals; a terminal that closes hangs up.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
WATCHED = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))  # Windows has two of them
STOPPED_EXIT_CODE = 75  # EX_TEMPFAIL: everything is saved but not finished, run again to continue


class Stopped(BaseException):
    """Raised inside :meth:`StopSignal.immediate`. Not an Exception, so that nothing mistakes it for a failure."""


class StopSignal:
    """Context in which the watched signals set :attr:`requested` instead of ending the process.

    A second SIGINT raises KeyboardInterrupt, for the user who does not want to wait. ``on_request`` is called once, in
    the handler of the first signal. Outside the main thread, where Python cannot install handlers, the context does
    nothing.
    """

    def __init__(self, on_request: Callable[[], None] | None = None) -> None:
        self.requested = False
        self.name: str | None = None  # "SIGTERM" for instance, once it has come
        self._on_request = on_request
        self._immediate = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in WATCHED:
                if number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) == signal.SIG_IGN:
                    continue  # nohup
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous.clear()

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """Where nothing would be lost by it, a signal raises :class:`Stopped` at once, also one that came before."""
        self._immediate = True
        try:
            if self.requested:
                raise Stopped
            yield
        finally:
            self._immediate = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.requested = True
        self.name = signal.Signals(number).name
        if self._on_request is not None:
            self._on_request()
        if self._immediate:
            raise Stopped


__all__ = ["STOPPED_EXIT_CODE", "WATCHED", "StopSignal", "Stopped"]
