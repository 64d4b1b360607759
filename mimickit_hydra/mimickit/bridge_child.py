"""Runs a checkout's entry script as its own command line would, inside whatever interpreter the checkout needs.

Standard library only, and Python 3.8. ``python bridge_child.py REPORT ENTRY FLAG ...``: what went wrong is written to
REPORT as JSON. When the process that started this one dies, or one of the ranks does, everything here ends with it.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
import time
import traceback
from multiprocessing.process import BaseProcess

POLL_S = 0.5


def main(report: str, entry: str, flags: list[str]) -> int:
    """Run ``entry`` with ``flags``; the exit code is 0, what it asks for, 1 after an error, or 130 after Ctrl-C."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_end_with_ranks, args=(_note_ranks(), report), daemon=True).start()
    root = os.getcwd()
    sys.argv = [entry, *flags]
    sys.path[0] = os.path.dirname(entry)  # as if it had been started by name
    try:
        runpy.run_path(entry, run_name="__main__")
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        traceback.print_exc()
        sys.stderr.flush()
        _write(report, describe(error, root))
        return 1
    return 0


def describe(error: BaseException, root: str) -> dict[str, str]:
    """Type, message and the last place in the checkout's own code (or, failing that, anywhere) of an error."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(root + os.sep)]
    where = ""
    if own or frames:
        last = (own or frames)[-1]
        where = f"{os.path.relpath(last.filename, root) if own else last.filename}:{last.lineno or 0}"
    key = str(error.args[0]) if isinstance(error, KeyError) and error.args else ""
    module = str(error.name or "") if isinstance(error, ImportError) else ""
    inside = "yes" if own and own[-1] is frames[-1] else ""  # raised by its own code rather than by a library below it
    return {
        "type": type(error).__name__,
        "message": str(error),
        "where": where,
        "key": key if inside else "",
        "module": module,
    }


def _write(report: str, content: dict[str, str]) -> None:
    with open(report, "w", encoding="utf-8") as file:
        json.dump(content, file)


def _end_with_parent() -> None:
    """The host holds the other end of standard input: it closes when the host is gone, however it went."""
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    _kill_all()


def _note_ranks() -> list[BaseProcess]:
    """The processes that the checkout will have started, as they come; daemons are no ranks."""
    ranks: list[BaseProcess] = []
    original = BaseProcess.start

    def start(process: BaseProcess) -> None:
        original(process)
        if not process.daemon:
            ranks.append(process)

    BaseProcess.start = start  # type: ignore[assignment, method-assign]
    return ranks


def _end_with_ranks(ranks: list[BaseProcess], report: str) -> None:
    """End when a rank has failed: the others would wait for it for ever."""
    while True:
        time.sleep(POLL_S)
        for process in list(ranks):
            if process.exitcode not in (None, 0):
                message = f"process {process.name} ended with exit code {process.exitcode}"
                _write(report, {"type": "", "message": message, "rank": "yes"})
                time.sleep(POLL_S)  # for its last words to be printed
                _kill_all()


def _kill_all() -> None:
    if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():  # the host made this process the head of a group
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
