"""Shows one environment of a run that trains or tests: copied between its steps, drawn by a thread of its own.

Some seconds of consecutive steps are copied, and copied again when they have been shown: the motion is as fast as it is
in the world, however fast the run goes. While nobody looks, a step costs the question whether somebody does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import SceneSpec
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.view.browser.frame import Frame
from mimickit_hydra.view.browser.moment import Moments, looks_of
from mimickit_hydra.view.browser.server import Server
from mimickit_hydra.view.browser.show import Show

FEW, MANY = 0.5, 3.0  # s of steps that wait to be shown: with fewer they are copied, with more no longer


class RunShow(Show):
    """An environment of a run. :meth:`look` belongs to the thread of the run, everything else to that of the viewer."""

    steered = False

    def __init__(self, env: ImitationEnv, scene: SceneSpec, title: Callable[[], str], *, paced: bool = False) -> None:
        """``paced``: the run waits for whoever looks, so that all of it is seen."""
        self.env = env
        self._paced, self._seen = paced, False
        self.actors = looks_of(env, scene)
        self.dt = env.control_dt
        self.dof_names = env.character.dof_columns()
        self.copied = 0  # steps, since the beginning
        self._title = title
        self._row = 0
        self._wanted = False
        self._moments: Moments | None = None
        self._on_the_way: deque[tuple[Any, Moments, Tensor]] = deque()  # of a GPU, each with the event of its arrival
        self.waiting: deque[tuple[Moments, Tensor]] = deque()
        self._few, self._many = round(FEW / self.dt), round(MANY / self.dt)
        self._frame: Frame | None = None
        self._owed = 0.0

    # ------------------------------------------------------------------------------------------- the thread of the run

    def look(self) -> None:
        """Copy the moment, if it is wanted. Called after each step of the run."""
        while self._paced and self._seen and len(self.waiting) >= self._many:
            time.sleep(0.25 * self.dt)
        if not (self._wanted or (self._paced and self._seen)):
            return
        while self._on_the_way and self._on_the_way[0][0].query():
            self.waiting.append(self._on_the_way.popleft()[1:])
        if self._moments is None or self._moments.row != self._row:
            self._moments = Moments(self.env, self._row)
        numbers = torch.empty(self._moments.size, device=self.env.device)
        if not self._moments.read(numbers):  # a test looks the reference up, say
            self._moments = None
            return
        self.copied += 1
        if self.env.device.type == "cpu":
            self.waiting.append((self._moments, numbers))
            return
        arrived = torch.empty(self._moments.size, pin_memory=True)
        arrived.copy_(numbers, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._on_the_way.append((event, self._moments, arrived))

    # ---------------------------------------------------------------------------------------- the thread of the viewer

    def advance(self, seconds: float) -> None:
        self._seen = True
        self._wanted = len(self.waiting) < (self._many if self._wanted else self._few)
        self._owed = min(self._owed + seconds, 1.0)
        while self._owed >= self.dt and self.waiting:
            self._owed -= self.dt
            moments, numbers = self.waiting.popleft()
            if self._owed < self.dt or not self.waiting:
                self._frame = moments.frame(numbers, self._title())

    def rest(self) -> None:
        self._wanted = self._seen = False
        self.waiting.clear()

    def frame(self) -> Frame | None:
        return self._frame

    def add_controls(self, panel: Any) -> None:
        if self.env.num_envs > 1:
            row = panel.gui.add_slider("environment", 0, self.env.num_envs - 1, 1, 0)
            panel.on_value(row, self._choose)

    def _choose(self, row: int) -> None:
        self._row = row
        self.waiting.clear()


class Watch:
    """A viewer of a run, from its making to the end of the ``with`` statement; prints where it is."""

    def __init__(
        self, env: ImitationEnv, scene: SceneSpec, title: Callable[[], str], *, paced: bool = False, **options: Any
    ) -> None:
        from mimickit_hydra.view.browser.viewer import Viewer

        self.show = RunShow(env, scene, title, paced=paced)
        self.server = Server(**options)
        self.viewer = Viewer(self.show, self.server)
        self._env, self._stop = env, threading.Event()
        self._thread = threading.Thread(target=self._show, name="viewer", daemon=True)

    def _show(self) -> None:
        try:
            self.viewer.run(self._stop)
        finally:
            self.show.rest()  # the run waits for nobody

    def __enter__(self) -> Watch:
        print(self.server.hint(), flush=True)
        self._env.on_step = self.show.look
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._env.on_step = None
        self._stop.set()
        self._thread.join(timeout=5.0)
        self.server.close()
