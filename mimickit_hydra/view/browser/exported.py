"""Shows an exported policy in the player's own simulation, step by step."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.view.browser.frame import CHARACTER, Frame
from mimickit_hydra.view.browser.look import look_of
from mimickit_hydra.view.browser.policy import pull
from mimickit_hydra.view.browser.show import Show

REACH = 3.0  # of a slider that sets a number of the task's command
AFTERMATH = 1.0  # s that the last picture of an episode is held


class ExportedShow(Show):
    """Episodes of a :class:`.deploy.player.Player`, which plays them in a thread that waits for each step."""

    def __init__(self, player: Any) -> None:
        self._player = player
        facts, model = player.facts, player.model
        self._names = [model.body(body).name for body in range(1, model.nbody)]
        self.actors = {CHARACTER: look_of(model, dict(enumerate(self._names, 1)))}
        self.title, self.dt = player.path.name, 1.0 / facts.control_freq
        self.clips = [f"start {number}" for number in range(len(facts.starts))]
        self.dof_names = list(facts.joint_names)
        self._command = [1.0, *[0.0] * (facts.command_size - 1)] if facts.command_size else None
        self._go, self._made = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._ending, self._error = False, UserError("")
        self._over: str | None = None
        self._grabbed: tuple[int, np.ndarray] | None = None
        self._mass = float(model.body_mass.sum())
        self._owed = 0.0
        self.restart(0, 0.0)

    # ------------------------------------------------------------------------------------------------------- the player

    def _play(self) -> None:
        self._go.acquire()
        try:
            outcome = self._player.play(self.clip, command=self._command, shown=self._wait)
            self._over = outcome.ended
        except UserError as error:
            self._over, self._error = "error", error
        self._made.release()

    def _wait(self) -> bool:
        """A step is made: wait until the next one is wanted."""
        self._steps += 1
        self._made.release()
        self._go.acquire()
        return not self._ending

    def restart(self, clip: int, time: float) -> None:
        self.close()
        self.clip, self._over, self._ending, self._steps, self._held = clip, None, False, 0, 0.0
        self._thread = threading.Thread(target=self._play, name="player", daemon=True)
        self._thread.start()
        self.step()

    def close(self) -> None:
        if self._thread is not None and self._over is None:
            self._ending = True
            self._go.release()
            self._thread.join(timeout=10.0)
            self._made = threading.Semaphore(0)
        self._thread = None

    def step(self) -> None:
        if self._over is not None:
            self._held += self.dt
            if self._held > AFTERMATH:
                self.restart(self.clip, 0.0)
            return
        self._pull()
        self._go.release()
        self._made.acquire()
        if self._over == "error":
            raise self._error

    def advance(self, seconds: float) -> None:
        self._owed = min(self._owed + seconds, 10 * self.dt)
        while self._owed >= self.dt:
            self._owed -= self.dt
            self.step()

    # ---------------------------------------------------------------------------------------------------- what is seen

    def frame(self) -> Frame:
        data = self._player.data
        frame = Frame(
            self._steps * self.dt,
            {CHARACTER: (data.xpos[1:].copy(), data.xquat[1:, [1, 2, 3, 0]].copy())},
            title=f"{self.title}{'' if self._over is None else f', ended in {self._over}'}",
            bars=lambda: {"height of the root (m)": float(data.qpos[self._player.root + 2])},
            curves={"motors": data.actuator_force.copy()},
        )
        if self._grabbed is not None:
            body, place = self._grabbed
            frame.arrows["push"] = np.stack([data.xpos[body], place])
        return frame

    def grab(self, body: str, place: Any) -> None:
        self._grabbed = None if place is None else (1 + self._names.index(body), np.asarray(place))

    def _pull(self) -> None:
        data = self._player.data
        data.xfrc_applied[:] = 0.0
        if self._grabbed is not None:
            body, place = self._grabbed
            away, speed = place - data.xpos[body], data.cvel[body, 3:]
            data.xfrc_applied[body, :3] = pull(away, speed, self._mass)

    def add_controls(self, panel: Any) -> None:
        if self._command is None:
            return
        with panel.gui.add_folder("command of the task"):
            for number, value in enumerate(self._command):
                slider = panel.gui.add_slider(f"number {number + 1}", -REACH, REACH, 0.05, value)
                panel.on_value(slider, lambda value, number=number: self._tell(number, value))

    def _tell(self, number: int, value: float) -> None:
        """Begin anew with another command: one holds for an episode."""
        assert self._command is not None
        self._command[number] = value
        self.restart(self.clip, 0.0)
