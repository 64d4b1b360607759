"""Ctrl-C and SIGTERM as a request to stop at the next good moment."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

WATCHED = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Context in which SIGINT and SIGTERM set :attr:`requested` instead of ending the process.

    A second SIGINT raises KeyboardInterrupt, for the user who does not want to wait. Outside the main thread, where
    Python cannot install handlers, the context does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self.name: str | None = None  # "SIGINT" or "SIGTERM" once one has come
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in WATCHED:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        self.name = signal.Signals(number).name


__all__ = ["StopSignal"]
