"""Ctrl-C before a run begins: the command ends, whatever has swallowed the KeyboardInterrupt."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from mimickit_hydra.runtime.signals import StopSignal

EXIT_CODE = 128 + signal.SIGINT


class Interrupts(StopSignal):
    """Context in which SIGINT raises KeyboardInterrupt, as without it, and is remembered.

    While a module is imported or an object is freed, C code and ``except`` clauses of others may drop the exception or
    make another of it. :meth:`check` raises it again where work is about to begin. A run's own :class:`StopSignal`
    takes over inside, and takes a signal that came before it for one of its own. Where SIGINT is ignored, as in the
    background jobs of some shells, or somebody else handles it, the context leaves that alone.
    """

    def __enter__(self) -> Interrupts:
        on_main = threading.current_thread() is threading.main_thread()
        if on_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous[signal.SIGINT] = signal.signal(signal.SIGINT, self._handle)
            self._open.append(self)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._note("SIGINT")
        raise KeyboardInterrupt

    def check(self) -> None:
        """KeyboardInterrupt if there has been one."""
        if self.requested:
            raise KeyboardInterrupt


def check_interrupt() -> None:
    """The same for the innermost such context, if there is one."""
    innermost = StopSignal._open[-1] if StopSignal._open else None
    if isinstance(innermost, Interrupts):
        innermost.check()
