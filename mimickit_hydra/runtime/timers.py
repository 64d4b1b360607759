"""Where the time of a training process goes."""

from __future__ import annotations

import time
from types import TracebackType

ABSORBING = frozenset({"test"})  # a test is one thing to the reader, though it steps physics and policy too


class _Section:
    """Re-usable context manager of one name; made once, entered thousands of times a second."""

    __slots__ = ("_name", "_timers")

    def __init__(self, timers: Timers, name: str) -> None:
        self._timers = timers
        self._name = name

    def __enter__(self) -> None:
        self._timers._push(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timers._pop()


class Timers:
    """Wall-clock seconds per named section, measured on the host.

    Sections nest and count exclusively: while an inner one runs, the outer one stands still, so the figures of all
    sections add up to the time spent in any. Sections in :data:`ABSORBING` keep the time of what runs inside them.
    On CUDA the figures are those of the host, which waits for the device only where the code does.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._sections: dict[str, _Section] = {}
        self._stack: list[str] = []
        self._absorbed = 0  # depth of sections inside an absorbing one
        self._mark = 0.0

    def section(self, name: str) -> _Section:
        """Context manager that adds the time of its body to ``name``."""
        found = self._sections.get(name)
        if found is None:
            found = self._sections[name] = _Section(self, name)
        return found

    def snapshot_and_reset(self) -> dict[str, float]:
        """Seconds per section since the last call, running sections included up to now; then start from zero."""
        self._charge()
        result, self._seconds = self._seconds, {}
        return result

    def _push(self, name: str) -> None:
        stack = self._stack
        if stack and stack[-1] in ABSORBING:
            self._absorbed += 1
            return
        self._charge()
        stack.append(name)

    def _pop(self) -> None:
        if self._absorbed:
            self._absorbed -= 1
            return
        self._charge()
        self._stack.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._stack:
            name = self._stack[-1]
            self._seconds[name] = self._seconds.get(name, 0.0) + now - self._mark
        self._mark = now


__all__ = ["ABSORBING", "Timers"]
