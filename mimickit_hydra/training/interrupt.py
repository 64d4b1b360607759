"""Wraps every command: mistakes become one line, and Ctrl-C ends it whatever swallows the KeyboardInterrupt."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from mimickit_hydra.screen import OutputError, check, robust
from mimickit_hydra.training.signals import StopSignal

EXIT_CODE = 128 + signal.SIGINT
USER_ERROR_CODE = 2
FULL_ERROR = "HYDRA_FULL_ERROR"
NO_FOLDER = "the current folder has been removed; change to one that is there"


def guarded(body: Callable[[Interrupts, list[str]], int | None]) -> int:
    """Run a command and return its exit code: 0 done, 2 something the user can put right, 130 Ctrl-C.

    ``body`` may put the command line's overrides into the list it gets, for the nearest names in a message.
    """
    with robust():
        try:
            try:
                return _guarded(body)
            finally:
                check()
        except OutputError as error:
            if error.errno == errno.EPIPE:  # the reader, a pager or head, has seen enough
                return 0
            print(error.strerror, file=sys.stderr)
            return USER_ERROR_CODE


def _guarded(body: Callable[[Interrupts, list[str]], int | None]) -> int:
    overrides: list[str] = []
    with Interrupts() as interrupts:
        try:
            gc.disable()  # composing makes many small objects and no cycles: a tenth of the start-up time
            return body(interrupts, overrides) or 0
        except KeyboardInterrupt:
            return EXIT_CODE
        except OutputError:
            raise
        except Exception as error:
            if interrupts.requested:  # whatever it is, it may be what became of a KeyboardInterrupt
                return EXIT_CODE
            from mimickit_hydra.config.messages import one_line

            gone = isinstance(error, FileNotFoundError) and _no_current_folder()
            line = None if os.environ.get(FULL_ERROR) == "1" else NO_FOLDER if gone else one_line(error, overrides)
            if line is None:
                raise
            print(line, file=sys.stderr)
            return USER_ERROR_CODE
        finally:
            gc.enable()


def _no_current_folder() -> bool:
    try:
        return not os.getcwd()
    except OSError:
        return True


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
    """Raise KeyboardInterrupt if the innermost :class:`Interrupts` has seen one."""
    innermost = StopSignal._open[-1] if StopSignal._open else None
    if isinstance(innermost, Interrupts):
        innermost.check()
