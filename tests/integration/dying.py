"""Ends this process with SIGKILL at a chosen file operation: just before it, or a moment later."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from typing import Any

OPERATIONS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate", "os.rmdir"}


def die_at(part: str, number: int, delay: float = 0.0) -> None:
    """Die ``delay`` seconds after the ``number``-th operation begins on a path that holds ``part``."""
    count = itertools.count(1)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in OPERATIONS and any(part in str(argument) for argument in arguments) and next(count) == number:
            if delay > 0.0:
                threading.Thread(target=_die, args=(delay,), daemon=True).start()
            else:
                _die(0.0)

    sys.addaudithook(watch)


def _die(delay: float) -> None:
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)
