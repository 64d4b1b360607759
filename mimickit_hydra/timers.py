"""Timers that say how a training process spends its time, by named section."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Any, Protocol

ABSORBING = frozenset({"test"})  # a test is one thing to the reader, though it steps physics and policy too
FEW_OPEN = 64  # spans kept before anybody asks how long they took


class Clock(Protocol):
    """A clock that marks points in time and tells the seconds between two of them."""

    def mark(self) -> Any:
        """Mark the present point in time; None where none can be taken."""

    def seconds(self, start: Any, end: Any) -> float | None:
        """Seconds between two points; None while they are not known yet."""


class HostClock:
    """The wall clock of the process."""

    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        return end - start


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
    """Seconds per named section by ``clock``, the host's unless another one is given.

    Sections nest and count exclusively: while an inner one runs, the outer one stands still, so the figures of all
    sections add up to the time spent in any. Sections in :data:`ABSORBING` keep the time of what runs inside them.
    A GPU runs behind the host, which would charge everything to whatever waits for it: there the clock is
    :class:`~mimickit_hydra.device_clock.DeviceClock`, whose times become known a little later.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = HostClock() if clock is None else clock
        self._seconds: dict[str, float] = {}
        self._sections: dict[str, _Section] = {}
        self._stack: list[str] = []
        self._absorbed = 0  # depth of sections inside an absorbing one
        self._mark: Any = None
        self._open: deque[tuple[str, Any, Any]] = deque()  # name, start, end of spans whose length is not known yet

    def section(self, name: str) -> _Section:
        """Context manager that adds the time of its body to ``name``."""
        found = self._sections.get(name)
        if found is None:
            found = self._sections[name] = _Section(self, name)
        return found

    def snapshot_and_reset(self) -> dict[str, float]:
        """Seconds per section since the last call, running sections included as far as known; then start from zero."""
        self._charge()
        self._settle()
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
        now = self._clock.mark()
        if now is None:
            return  # the time until the next mark belongs to whatever runs then
        if self._stack and self._mark is not None:
            self._open.append((self._stack[-1], self._mark, now))
            if len(self._open) >= FEW_OPEN:
                self._settle()
        self._mark = now

    def _settle(self) -> None:
        while self._open:
            name, start, end = self._open[0]
            seconds = self._clock.seconds(start, end)
            if seconds is None:
                return
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
            self._open.popleft()


__all__ = ["ABSORBING", "Clock", "HostClock", "Timers"]
