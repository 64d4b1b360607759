"""Turns Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 into a request to stop at the next good moment."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, ClassVar

# Schedulers announce the time limit or a preemption with one of the user signals; a terminal that closes hangs up.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
WATCHED = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))  # Windows has two of them
STOPPED_EXIT_CODE = 75  # EX_TEMPFAIL: everything is saved but not finished, run again to continue


class Stopped(BaseException):
    """Raised inside :meth:`StopSignal.immediate`. Not an Exception, so that nothing mistakes it for a failure."""


def stems_from_stop(error: BaseException | None) -> bool:
    """Whether :class:`Stopped` is among what led to ``error``."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__ or error.__context__
    return error is not None


class StopSignal:
    """Context in which the watched signals set :attr:`requested` instead of ending the process.

    A second SIGINT raises KeyboardInterrupt, for the user who does not want to wait. ``on_request`` is called once, in
    the handler of the first signal. Inside another such context, a signal that came before counts as one that comes
    now. Outside the main thread, where Python cannot install handlers, the context does nothing.
    """

    _open: ClassVar[list[StopSignal]] = []  # the contexts that are entered, the innermost last

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
            if self._open and self._open[-1].requested:
                self._note(self._open[-1].name)
            self._open.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous.clear()
        if self in self._open:
            self._open.remove(self)

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """Where nothing would be lost by it, a signal raises :class:`Stopped` at once, also one that came before."""
        self._immediate = True
        try:
            if self.requested:
                raise Stopped
            yield
        except Exception as error:
            if stems_from_stop(error):  # a compiled module that was just being imported makes an ImportError of it
                raise Stopped from error
            raise
        finally:
            self._immediate = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self._note(signal.Signals(number).name)
        if self._immediate:
            raise Stopped

    def _note(self, name: str | None) -> None:
        self.requested = True
        self.name = name
        if self._on_request is not None:
            self._on_request()
