"""A rollout step as CUDA graphs: policy, observations, rewards, terminations and resets replayed without the host.

The step is captured as it is, so that whatever a method does in its hooks is part of it. Two things make that possible:

* the hooks see a *stage*, a rollout buffer of one row, so that addresses do not depend on the step; rows travel
  between the stage and the buffer in one copy each way;
* where the simulator steps, the capture is cut: it replays its own graph there, whose loops torch cannot capture.

What a hook must not do: read data on the host, depend on ``t`` or on Python values other than those in the agent's
``_graph_key``, or keep a tensor by reference instead of copying it into one that stays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from mimickit_hydra.agents.agent import Agent

WARM_STEPS = 3  # ordinary steps before a capture: they load kernels and fill the allocator


class Recording:
    """What one step does, in order: graphs to replay, and host functions where the capture was cut."""

    def __init__(self, make_graph: Callable[[], Any]) -> None:
        self._make_graph = make_graph
        self.parts: list[Callable[[], Any]] = []
        self._open: Any = None

    def begin(self) -> None:
        self._open = self._make_graph()
        self._open.capture_begin(capture_error_mode="thread_local")

    def end(self) -> None:
        graph, self._open = self._open, None
        graph.capture_end()
        self.parts.append(graph.replay)

    def abandon(self) -> None:
        """Leave the capture mode after an error, whatever state it is in."""
        graph, self._open = self._open, None
        if graph is not None:
            try:
                graph.capture_end()
            except Exception:  # the error that broke the capture is the one to report
                self.parts.clear()

    def cut(self, function: Callable[[], Any]) -> Callable[[], None]:
        """A stand-in for ``function`` that runs it between two graphs at every replay, and not while capturing."""

        def between() -> None:
            self.end()
            self.parts.append(function)
            self.begin()

        return between

    def replay(self) -> None:
        for part in self.parts:
            part()


class StagedRollout:
    """Runs an agent's rollout steps on a stage; with ``capture`` from the fourth step on as graphs.

    A step that cannot be captured says so once and is run as it is, with the same numbers.
    """

    def __init__(self, agent: Agent, capture: bool, make_graph: Callable[[], Any] = torch.cuda.CUDAGraph) -> None:
        self._agent = agent
        self._capture = capture
        self._make_graph = make_graph
        self._rows = agent.buffer
        self._stage = agent.buffer.stage()
        self._recordings: dict[Hashable, Recording] = {}
        self._steps: dict[Hashable, int] = {}
        self.problem = ""  # why nothing is captured, if it was tried

    @property
    def captured(self) -> bool:
        return bool(self._recordings)

    def step(self, t: int) -> None:
        """Row ``t`` of the rollout."""
        self._stage.load_row(self._rows, t)
        key = self._agent._graph_key()
        recording = self._recordings.get(key)
        if recording is None:
            self._steps[key] = self._steps.get(key, 0) + 1
            if self._capture and self._steps[key] > WARM_STEPS:
                recording = self._record(key)
        if recording is None:
            with self._staged():
                self._agent._rollout_step(0)
        else:
            with self._agent._section("rollout"):  # the host's time: the device runs behind
                recording.replay()
        self._stage.store_row(self._rows, t)

    @contextmanager
    def _staged(self) -> Iterator[None]:
        self._agent.buffer = self._stage
        try:
            yield
        finally:
            self._agent.buffer = self._rows

    def _record(self, key: Hashable) -> Recording | None:
        recording = Recording(self._make_graph)
        try:
            with self._staged(), _on_side_stream(self._agent.device), _cut_at_physics(self._agent.env, recording):
                recording.begin()
                self._agent._rollout_step(0)
                recording.end()
        except Exception as error:
            recording.abandon()
            self._capture = False
            self._recordings.clear()
            self.problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            print(f"warning: the rollout runs step by step, it could not be captured: {self.problem}", file=sys.stderr)
            return None
        self._recordings[key] = recording
        return recording


@contextmanager
def _on_side_stream(device: torch.device) -> Iterator[None]:
    """Captures are not allowed on the default stream; what it has still to do comes first."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.synchronize(device)
    with torch.cuda.stream(torch.cuda.Stream(device)):
        yield
    torch.cuda.synchronize(device)


@contextmanager
def _cut_at_physics(env: Any, recording: Recording) -> Iterator[None]:
    engine = getattr(env, "engine", None)
    if engine is None:
        yield
        return
    engine.step = recording.cut(engine.step)
    try:
        yield
    finally:
        del engine.step  # the method of the class is visible again
