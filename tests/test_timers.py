"""Where the time goes, by the host's clock and by one that answers late."""

from __future__ import annotations

import time

import pytest
import torch

from mimickit_hydra.device_clock import DeviceClock
from mimickit_hydra.timers import FEW_OPEN, Timers


def test_timers_are_exclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0, 6.0, 10.0, 20.0, 21.0, 30.0, 30.5, 40.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    timers = Timers()
    with timers.section("env"), timers.section("physics"):  # 0, 1
        pass  # physics ends at 3, env at 6
    with timers.section("test"), timers.section("policy"):  # 10, inner one absorbed
        pass  # ends at 20
    with timers.section("policy"):  # 21
        assert timers.snapshot_and_reset() == {"env": 4.0, "physics": 2.0, "test": 10.0, "policy": 9.0}  # 30
    assert timers.snapshot_and_reset() == {"policy": 0.5}


def test_timers_survive_exceptions() -> None:
    timers = Timers()
    with pytest.raises(ZeroDivisionError), timers.section("a"), timers.section("b"):
        1 / 0  # noqa: B018
    assert set(timers.snapshot_and_reset()) == {"a", "b"}
    assert timers._stack == []


class LateClock:
    """Ticks at every mark; knows a span only up to ``known``. ``silent`` takes no marks, as during a capture."""

    def __init__(self) -> None:
        self.now = 0
        self.known = 0
        self.silent = False

    def mark(self) -> int | None:
        if self.silent:
            return None
        self.now += 1
        return self.now

    def seconds(self, start: int, end: int) -> float | None:
        return float(end - start) if end <= self.known else None


def test_a_late_clock_is_not_waited_for_and_loses_nothing() -> None:
    clock = LateClock()
    timers = Timers(clock)
    with timers.section("rollout"):  # 1
        pass  # 2
    clock.known = 1
    assert timers.snapshot_and_reset() == {}  # 3
    with timers.section("update"):  # 4
        pass  # 5
    clock.known = 4
    assert timers.snapshot_and_reset() == {"rollout": 1.0}
    clock.known = 100
    assert timers.snapshot_and_reset() == {"update": 1.0}


def test_where_no_time_can_be_taken_the_outer_section_goes_on() -> None:
    clock = LateClock()
    clock.known = 100
    timers = Timers(clock)
    with timers.section("rollout"):  # 1
        clock.silent = True
        with timers.section("policy"), timers.section("physics"):
            pass
        clock.silent = False
    assert timers.snapshot_and_reset() == {"rollout": 1.0}


def test_spans_do_not_pile_up_between_outputs() -> None:
    clock = LateClock()
    clock.known = 10**6
    timers = Timers(clock)
    for _ in range(10 * FEW_OPEN):
        with timers.section("policy"):
            pass
    assert len(timers._open) < FEW_OPEN
    assert timers.snapshot_and_reset() == {"policy": 10.0 * FEW_OPEN}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_on_cuda_work_is_charged_to_who_queued_it() -> None:
    """The host runs ahead: by its own clock all of this would be the time of whoever waits."""
    device = torch.device("cuda:0")
    rows = torch.randn(4096, 4096, device=device)
    timers = Timers(DeviceClock(device))
    for _ in range(2):  # the first round loads the kernels
        torch.cuda.synchronize()
        timers.snapshot_and_reset()
        with timers.section("rollout"):
            for _ in range(40):
                rows @ rows
        with timers.section("update"):
            rows @ rows
            torch.cuda.synchronize()
    seconds = timers.snapshot_and_reset()
    assert seconds["rollout"] > 10 * seconds["update"] > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_capture_takes_no_time() -> None:
    device = torch.device("cuda:0")
    timers, graph, values = Timers(DeviceClock(device)), torch.cuda.CUDAGraph(), torch.zeros(4, device=device)
    with timers.section("rollout"), torch.cuda.graph(graph), timers.section("policy"):
        values += 1
    graph.replay()
    torch.cuda.synchronize()
    assert values.tolist() == [1.0] * 4
    assert list(timers.snapshot_and_reset()) == ["rollout"]
