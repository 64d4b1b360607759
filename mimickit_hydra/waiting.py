"""Says what a process waits for, and for how long, once that takes more than a few seconds."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

FIRST_S = 5.0
LONGEST_S = 60.0  # between two lines; each pause is twice as long as the one before


@contextlib.contextmanager
def waiting_for(what: str | Callable[[], str], first: float = 0.0) -> Iterator[None]:
    """Context that prints ``waiting for WHAT (12 s)`` on standard error while it lasts, from ``first`` seconds on.

    A function is asked each time, where what is waited for changes.
    """
    done, began, stream = threading.Event(), time.monotonic(), sys.stderr

    def speak() -> None:
        pause = first or FIRST_S
        while not done.wait(pause):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads it
                said = what() if callable(what) else what
                print(f"waiting for {said} ({time.monotonic() - began:.0f} s)", file=stream, flush=True)
            pause = min(2.0 * pause, LONGEST_S)

    speaker = threading.Thread(target=speak, daemon=True, name="waiting")
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join(1.0)
