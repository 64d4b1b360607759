"""Shows a policy at work in an environment of its own, where it can be pushed and told where to go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.ase_agent import ASEAgent
from mimickit_hydra.engines.interface import SceneSpec
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL
from mimickit_hydra.envs.imitation import CHARACTER, ImitationEnv
from mimickit_hydra.envs.tasks.task import Task
from mimickit_hydra.view.browser.frame import Frame
from mimickit_hydra.view.browser.moment import Moments, looks_of
from mimickit_hydra.view.browser.show import Show

MOST_STEPS = 6  # for a picture
REMEMBERED = 10.0  # s that can be looked at again
AFTERMATH = 1.0  # s after a fall until it starts again
PUSHED = 0.2  # s that a push lasts
STIFFNESS, DAMPING = 30.0, 3.0  # 1/s^2 and 1/s, of the mouse's spring, for a kilogram of the character
GRAVITY = 9.81  # m/s^2: the mouse pulls with the character's weight at most


class Weights:
    """The checkpoints that a policy can be taken from; ``load`` puts one into the agent."""

    def __init__(
        self, names: Callable[[], list[str]], load: Callable[[str], None], newest: Callable[[], str | None]
    ) -> None:
        self.names, self.load, self.newest = names, load, newest


class PolicyShow(Show):
    """An agent in the first environment of ``env``, in the test mode. Its frames are remembered for some seconds."""

    def __init__(
        self, env: ImitationEnv, agent: Agent, scene: SceneSpec, title: str, weights: Weights | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.env, self.agent, self.title = env, agent, title
        self.actors = looks_of(env, scene)
        self.dt = env.control_dt
        self.dof_names = env.character.dof_columns()
        self._weights, self._close = weights, close
        self._chosen, self._loaded = "best", None if weights is None else weights.newest()
        self._owed, self._over = 0.0, 0.0
        self._grabbed: tuple[int, np.ndarray] | None = None
        self._push, self._left = np.zeros(3), 0.0  # N, s
        self._place: torch.Tensor | None = None
        self._latents: torch.Tensor | None = None
        self._frames: deque[Frame] = deque(maxlen=max(2, round(REMEMBERED / self.dt)))
        self._back = 0
        self.falls = True  # starts again after one
        self._mass = float(env.engine.models[CHARACTER].body_masses.sum())
        if env.reference is not None:
            self.clips = list(env.reference.library.names)
        env.set_mode(True)
        self.restart(0, 0.0)

    def restart(self, clip: int, time: float) -> None:
        self.clip, self._back, self._over = clip, 0, 0.0
        env = self.env
        if env.reference is None:
            env.reset()
        else:
            self.length = float(env.reference.library.lengths[clip])
            env.reset_to(torch.full_like(env.motion_ids, clip), torch.full_like(env.start_times, time))
        self._note()

    def seek(self, time: float) -> None:
        self.restart(self.clip, time)

    def advance(self, seconds: float) -> None:
        self._owed += seconds
        steps = int(self._owed / self.dt)
        self._owed -= steps * self.dt
        for _ in range(min(steps, MOST_STEPS)):
            self.step()

    @torch.no_grad()
    def step(self) -> None:
        env, self._back = self.env, 0
        self._pull()
        if self._latents is not None and isinstance(self.agent, ASEAgent):
            self.agent.hold(self._latents)
        env.step(self.agent.act(env.obs, deterministic=True))
        self._note()
        self._end()

    def _end(self) -> None:
        """Start again some time after a fall, and at once where a clip is over that does not repeat."""
        done = int(self.env.done[0])
        if done == DONE_FAIL:
            self._over += self.dt
        elif done == DONE_NULL or self._repeats():
            self._over = 0.0
        if self.falls and (self._over > AFTERMATH or (done not in (DONE_NULL, DONE_FAIL) and not self._repeats())):
            self.restart(self.clip, 0.0)

    def _repeats(self) -> bool:
        return self.env.reference is None or not bool(torch.isfinite(self.env.clip_end[0]))

    def _note(self) -> None:
        frame = Moments(self.env).now(self.title)
        if self.clips:
            frame.time = float(self.env.motion_time[0]) % max(self.length, 1e-6)
        if self._grabbed is not None:
            body, place = self._grabbed
            frame.arrows["push"] = np.stack([frame.poses["character"][0][body], place])
        self._frames.append(frame)

    def frame(self) -> Frame:
        return self._frames[-1 - min(self._back, len(self._frames) - 1)]

    # ------------------------------------------------------------------------------------------------------ forces

    def grab(self, body: str, place: Any) -> None:
        self._grabbed = None if place is None else (self.env.character.body_names.index(body), np.asarray(place))

    def push(self, force: np.ndarray) -> None:
        """Push the root with ``force [3]`` N for a moment."""
        self._push, self._left = force, PUSHED

    def _pull(self) -> None:
        """What mouse and button do to the character during the next step."""
        state = self.env.engine.states[CHARACTER]
        if self._grabbed is not None:
            body, place = self._grabbed
            now = (tensor[0, body].cpu().numpy() for tensor in (state.body_pos, state.body_vel))
            force = torch.as_tensor(pull(place - next(now), next(now), self._mass)).to(state.root_pos)
            self.env.engine.set_body_force(body, force.expand_as(state.root_pos).contiguous())
        elif self._left > 0.0:
            force = torch.as_tensor(self._push).to(state.root_pos)
            self.env.engine.set_body_force(0, force.expand_as(state.root_pos).contiguous())
            self._left -= self.dt

    # ---------------------------------------------------------------------------------------------------- controls

    def add_controls(self, panel: Any) -> None:
        gui = panel.gui
        with gui.add_folder("policy"):
            back = gui.add_slider("look back (s)", 0.0, REMEMBERED, round(self.dt, 4), 0.0)
            panel.on_value(back, lambda time: self._look_back(panel, time))
            falls = gui.add_checkbox("start again after a fall", True)
            panel.on_value(falls, lambda on: setattr(self, "falls", on))
            strength = gui.add_slider("push (share of its weight)", 0.1, 3.0, 0.1, 0.8)
            sides = {"forward": (1, 0), "back": (-1, 0), "left": (0, 1), "right": (0, -1)}
            push = gui.add_button_group("push", tuple(sides))
            panel.on_value(push, lambda side: self._push_to(sides[side], strength.value))
            gui.add_markdown("Drag a body with the mouse to pull at it.")
            self._add_weights(panel)
        self._add_goal(panel)
        self._add_latents(panel)

    def _look_back(self, panel: Any, time: float) -> None:
        panel.toggle(False)
        self._back = round(time / self.dt)

    def _push_to(self, side: Sequence[float], strength: float) -> None:
        """Push along a side of the character's heading."""
        from mimickit_hydra.motion.rotations import heading

        angle = float(heading(self.env.engine.states[CHARACTER].root_rot[:1])[0])
        cos, sin = np.cos(angle), np.sin(angle)
        ahead = np.array([cos * side[0] - sin * side[1], sin * side[0] + cos * side[1], 0.0])
        self.push(strength * self._mass * GRAVITY * ahead)

    def _add_weights(self, panel: Any) -> None:
        weights = self._weights
        if weights is None:
            return
        names = ["best", "newest", *weights.names()]
        chooser = panel.gui.add_dropdown("checkpoint", tuple(names), "best")
        panel.on_value(chooser, self.choose)

    def choose(self, name: str) -> None:
        """Take the policy of a checkpoint: ``best``, ``newest`` or one by its name."""
        assert self._weights is not None
        self._chosen, self._loaded = name, self._weights.newest()
        self._weights.load(name)

    def tidy(self) -> None:
        """Take the newest checkpoint where it is asked for and training has written another one."""
        if self._weights is not None and self._chosen == "newest" and self._weights.newest() != self._loaded:
            self.choose("newest")

    def goal(self) -> Task | None:
        """The task that can be told where to go, if there is one."""
        return next((part for part in self.env.parts if isinstance(part, Task) and part.steerable), None)

    def _add_goal(self, panel: Any) -> None:
        task = self.goal()
        if task is None:
            return
        with panel.gui.add_folder("goal"):
            panel.gui.add_markdown("Click on the ground, or steer:")
            ahead = panel.gui.add_slider("forward (m)", -5.0, 5.0, 0.1, 2.0)
            side = panel.gui.add_slider("left (m)", -5.0, 5.0, 0.1, 0.0)

        def steer(_: Any) -> None:
            place = self.env.engine.states[CHARACTER].root_pos[:, :2].clone()
            place[:, 0] += ahead.value
            place[:, 1] += side.value
            task.steer(place)

        for slider in (ahead, side):
            panel.on_value(slider, steer)
        panel.on_ground(
            lambda place: task.steer(torch.tensor(place[None], dtype=torch.float32, device=self.env.device))
        )

    def _add_latents(self, panel: Any) -> None:
        if not isinstance(self.agent, ASEAgent):
            return
        shape = self.agent._latents.shape
        with panel.gui.add_folder("skill"):
            hold = panel.gui.add_checkbox("hold one skill", False)
            number = panel.gui.add_slider("skill", 0, 99, 1, 0)

        def choose(_: Any) -> None:
            generator = torch.Generator().manual_seed(int(number.value))
            latent = torch.nn.functional.normalize(torch.randn(1, shape[1], generator=generator), dim=-1)
            self._latents = latent.expand(shape).to(self.env.device) if hold.value else None

        for control in (hold, number):
            panel.on_value(control, choose)

    def close(self) -> None:
        if self._close is not None:
            self._close()


def pull(away: np.ndarray, speed: np.ndarray, mass: float) -> np.ndarray:
    """The force ``[3]`` N of the mouse's spring on a body of a character of ``mass`` kg, ``away [3]`` m from it."""
    force = mass * (STIFFNESS * away - DAMPING * speed)
    return np.asarray(force * min(1.0, mass * GRAVITY / max(float(np.linalg.norm(force)), 1e-6)))
