"""A clock of CUDA events: the time that the device spends on the work queued between two points, without waiting."""

from __future__ import annotations

import torch


class DeviceClock:
    """Points in the device's queue of work: between two of them is what was queued there, and what it waited for.

    A span is known once the device has passed its end. While a graph is captured no point can be taken.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> torch.cuda.Event | None:
        if torch.cuda.is_current_stream_capturing():
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float | None:
        return start.elapsed_time(end) / 1e3 if end.query() else None  # type: ignore[no-untyped-call]


__all__ = ["DeviceClock"]
