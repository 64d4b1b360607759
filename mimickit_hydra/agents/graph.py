"""CUDA graphs of whole rollout steps and whole gradient steps, replayed without the host.

A rollout step (policy, observations, rewards, terminations, resets) is captured as it is, so that whatever a method
does in its hooks is part of it. Two things make that possible:

* the hooks see a *stage*, a rollout buffer of one row, so that addresses do not depend on the step; rows travel
  between the stage and the buffer in one copy each way;
* where the simulator steps, the capture is cut: it replays its own graph there, whose loops torch cannot capture. With
  a simulator that works on the host, or in another process, it is cut at every call of the engine.

What a hook must not do: read data on the host, depend on ``t`` or on Python values other than those in the agent's
``_graph_key``, or keep a tensor by reference instead of copying it into one that stays.

A gradient step (forward, losses, backward, clipping, optimiser, sums of what is logged) is captured likewise: it reads
the numbers of its samples from one tensor that stays, and gathers their fields itself. With several processes it is cut
where gradients are averaged. A loss may depend on its fields, on tensors that stay and on the config, nothing else.

What a test does again and again - a step of all environments, the restart of those whose episode ended - is captured
for the time of the test.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.agents.metrics import MetricMeans
from mimickit_hydra.agents.optimizer import HeadOptimizer

ENGINE_CALLS = ("set_command", "set_body_force", "step", "reset", "place")  # what changes a simulator

WARM_STEPS = 3  # ordinary steps before a capture: they load kernels and fill the allocator

LossFunction = Callable[[dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]
MakeGraph = Callable[[], Any]


class Recording:
    """A recorded step: graphs to replay, and host functions where the capture was cut, in order.

    ``pool`` is memory shared with other recordings, for those that leave nothing in it once they are replayed.
    """

    def __init__(self, make_graph: MakeGraph, pool: Any = None) -> None:
        self._make_graph = make_graph
        self._options = {} if pool is None else {"pool": pool}
        self.parts: list[Callable[[], Any]] = []
        self._open: Any = None

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Record what is done inside. Enter it on the stream to capture: only there can a broken capture be ended."""
        self.begin()
        try:
            yield
            self.end()
        except BaseException:
            self._abandon()
            raise

    def begin(self) -> None:
        self._open = self._make_graph()
        self._open.capture_begin(**self._options, capture_error_mode="thread_local")

    def end(self) -> None:
        graph, self._open = self._open, None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The CUDA Graph is empty")  # two cuts in a row
            graph.capture_end()
        self.parts.append(graph.replay)

    def _abandon(self) -> None:
        """Leave the capture mode after an error, whatever state it is in."""
        graph, self._open = self._open, None
        self.parts.clear()
        if graph is not None:
            with suppress(Exception):  # the error that broke the capture is the one to report
                graph.capture_end()

    def cut(self, function: Callable[..., Any]) -> Callable[..., None]:
        """A stand-in for ``function`` that runs it between two graphs at every replay, and not while capturing.

        It gets the same tensors each time, with what the graphs before it have put there.
        """

        def between(*args: Any, **kwargs: Any) -> None:
            self.end()
            self.parts.append(partial(function, *args, **kwargs))
            self.begin()

        return between

    def replay(self) -> None:
        for part in self.parts:
            part()


class StagedRollout:
    """Runs an agent's rollout steps on a stage; with ``capture`` from the fourth step on as graphs.

    A step that cannot be captured says so once and is run as it is, with the same numbers.
    """

    def __init__(self, agent: Any, capture: bool, make_graph: MakeGraph = torch.cuda.CUDAGraph) -> None:
        self._agent = agent  # an Agent, which itself makes this
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
        """Make row ``t`` of the rollout."""
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
            with self._agent._section("rollout"):
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
        try:
            with self._staged():
                recording = _recorded(partial(self._agent._rollout_step, 0), self._agent.env, self._make_graph)
        except Exception as error:
            self._capture = False
            self._recordings.clear()
            self.problem = _say_why("the rollout", error)
            return None
        self._recordings[key] = recording
        return recording


class Repeated:
    """Something that an env is made to do again and again; with ``capture`` from the fourth time on as graphs.

    It takes nothing and returns nothing, and works from tensors that stay to tensors that stay.
    """

    def __init__(
        self, function: Callable[[], Any], env: Any, capture: bool, make_graph: MakeGraph = torch.cuda.CUDAGraph
    ) -> None:
        self._function, self._env, self._make_graph = function, env, make_graph
        self._capture = capture
        self._runs = 0
        self._recording: Recording | None = None
        self.problem = ""  # why nothing is captured, if it was tried

    @property
    def captured(self) -> bool:
        return self._recording is not None

    def __call__(self) -> None:
        if self._recording is None and self._capture and self._runs >= WARM_STEPS:
            try:
                self._recording = _recorded(self._function, self._env, self._make_graph)
            except Exception as error:
                self._capture = False
                self.problem = _say_why("a test", error)
        self._runs += 1
        if self._recording is None:
            self._function()
        else:
            self._recording.replay()


def _recorded(function: Callable[[], Any], env: Any, make_graph: MakeGraph) -> Recording:
    """What ``function`` does with ``env``, cut where its engine works; whatever keeps that from being captured."""
    recording, engine = Recording(make_graph), getattr(env, "engine", None)
    steps: list[None] = []
    with (
        _told(env, lambda: steps.append(None)),
        _on_side_stream(env.device),
        _cut_at(recording, engine, _engine_calls(engine)),
        recording.capturing(),
    ):
        function()
    recording.parts += [partial(_tell, env) for _ in steps]  # whoever watches then
    return recording


@contextmanager
def _told(env: Any, instead: Callable[[], None]) -> Iterator[None]:
    """Context in which not who watches the env is told of its steps: they are recorded, not made."""
    watch, env.on_step = env.on_step, instead
    try:
        yield
    finally:
        env.on_step = watch


def _tell(env: Any) -> None:
    if env.on_step is not None:
        env.on_step()


def in_mixed_precision(loss: LossFunction, device_type: str) -> LossFunction:
    """The same loss with the hidden layers in bfloat16; gradients, averages and the optimiser stay in float32."""

    def mixed(minibatch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        # A cast weight that is kept for later would be a stale one in a graph.
        with torch.autocast(device_type, dtype=torch.bfloat16, cache_enabled=False):
            return loss(minibatch)

    return mixed


class GradientStep:
    """One step of a head's optimiser on the samples numbered by ``rows`` [B]; everything else stays where it is."""

    def __init__(self, optimizer: HeadOptimizer, loss: LossFunction, fields: Mapping[str, Tensor], batch: int) -> None:
        self.optimizer = optimizer
        self.rows = torch.zeros(batch, dtype=torch.int64, device=next(iter(fields.values())).device)
        self.means = MetricMeans()
        self.warm = 0
        self.recording: Recording | None = None
        self._loss = loss
        self._fields = dict(fields)

    def run(self) -> None:
        """The part of a step that a graph holds; ``optimizer.count()`` is the host's part."""
        minibatch = {name: field.index_select(0, self.rows) for name, field in self._fields.items()}
        loss, parts = self._loss(minibatch)
        self.optimizer.apply(loss)
        self.means.accumulate({f"{self.optimizer.name}_loss": loss, **parts})


class OwnStep:
    """One step of a head's optimiser on a loss that draws its own samples from tensors that stay."""

    def __init__(self, optimizer: HeadOptimizer, loss: Callable[[], tuple[Tensor, dict[str, Tensor]]]) -> None:
        self.optimizer = optimizer
        self.means = MetricMeans()
        self.warm = 0
        self.recording: Recording | None = None
        self._loss = loss

    def run(self) -> None:
        """The part of a step that a graph holds; ``optimizer.count()`` is the host's part."""
        loss, parts = self._loss()
        self.optimizer.apply(loss)
        self.means.accumulate({f"{self.optimizer.name}_loss": loss, **parts})


class StagedUpdates:
    """Runs the gradient steps of every head from tensors that stay; with ``capture`` from the fourth on as graphs.

    Each combination of head, fields and minibatch size is captured once. A step that cannot be captured says so once
    and is run as it is, with the same numbers.
    """

    def __init__(self, device: torch.device, capture: bool, make_graph: MakeGraph = torch.cuda.CUDAGraph) -> None:
        self._device = device
        self._capture = capture
        self._make_graph = make_graph
        self._steps: dict[Hashable, GradientStep | OwnStep] = {}
        self._pool: Any = None
        self.problem = ""  # why nothing is captured, if it was tried

    @property
    def captured(self) -> bool:
        return any(step.recording is not None for step in self._steps.values())

    def forget(self) -> None:
        """Drop the graphs, after tensors were replaced."""
        for step in self._steps.values():
            step.recording, step.warm = None, 0
        self._steps.clear()

    def run(
        self,
        optimizer: HeadOptimizer,
        loss: LossFunction,
        fields: Mapping[str, Tensor],
        batch: int,
        orders: Iterator[Tensor],
    ) -> dict[str, Tensor]:
        """Take a step for each minibatch of ``orders`` (flat sample numbers, one epoch each); returns means to log."""
        key = (optimizer.name, batch, *((name, field.data_ptr()) for name, field in fields.items()))
        step = self._steps.get(key)
        if not isinstance(step, GradientStep):
            step = self._steps[key] = GradientStep(optimizer, loss, fields, batch)
        step.means.restart()
        for order in orders:
            for rows in order.split(batch):
                step.rows.copy_(rows)
                self._take(step)
        return step.means.means()

    def own(self, step: OwnStep, times: int) -> dict[str, Tensor]:
        """Take ``times`` steps, always given as the same object; returns means to log."""
        self._steps[id(step)] = step
        step.means.restart()
        for _ in range(times):
            self._take(step)
        return step.means.means()

    def _take(self, step: GradientStep | OwnStep) -> None:
        step.optimizer.count()
        if step.recording is None and self._capture and step.warm >= WARM_STEPS:
            self._record(step)
        if step.recording is None:
            step.warm += 1
            step.run()
        else:
            step.recording.replay()
        step.means.count()

    def _record(self, step: GradientStep | OwnStep) -> None:
        try:
            recording = Recording(self._make_graph, self._shared_pool())
            cuts = _cut_at(recording, step.optimizer, _collectives(step.optimizer))
            with _on_side_stream(self._device), cuts, recording.capturing():
                step.run()
        except Exception as error:
            self._capture = False
            for other in self._steps.values():
                other.recording = None
            self.problem = _say_why("the update", error)
            return
        step.recording = recording

    def _shared_pool(self) -> Any:
        """Steps follow each other and leave nothing behind but sums that were there before, so they share memory."""
        if self._device.type == "cuda":
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            torch.cuda.empty_cache()  # what the ordinary steps used is free for the graph's memory
        return self._pool


def _say_why(what: str, error: Exception) -> str:
    problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    print(f"warning: {what} runs step by step, it could not be captured: {problem}", file=sys.stderr)
    return problem


@contextmanager
def _on_side_stream(device: torch.device) -> Iterator[None]:
    """Context on a side stream, since captures are not allowed on the default one; waits for the latter's work."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.synchronize(device)
    with torch.cuda.stream(torch.cuda.Stream(device)):
        yield
    torch.cuda.synchronize(device)


@contextmanager
def _cut_at(recording: Recording, owner: Any, names: Sequence[str]) -> Iterator[None]:
    """Context in which a capture is cut at every call of these methods of ``owner``."""
    for name in names:
        setattr(owner, name, recording.cut(getattr(owner, name)))
    try:
        yield
    finally:
        for name in names:
            delattr(owner, name)  # the method of the class is visible again


def _engine_calls(engine: Any) -> Sequence[str]:
    if engine is None:
        return ()
    return ("step",) if engine.capturable else ENGINE_CALLS


def _collectives(optimizer: HeadOptimizer) -> Sequence[str]:
    """The functions at which processes wait for each other."""
    return () if optimizer.comm.world_size == 1 else ("average_grad",)
