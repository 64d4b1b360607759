"""The environment: a character, a reference motion where there is one, and a list of parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import Engine, ResetState
from mimickit_hydra.envs import terminations, tracking
from mimickit_hydra.envs.disc_obs import DemoSampler
from mimickit_hydra.envs.env import Env
from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.generative import GenerativeStart
from mimickit_hydra.envs.parts import Part
from mimickit_hydra.envs.reference import ReferenceMotion, ReferenceWindow
from mimickit_hydra.envs.rows import ALL, Rows, reset_rows
from mimickit_hydra.envs.starts import RESET_FIELDS
from mimickit_hydra.envs.state import CharacterState, View
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.rotations import quat_to_tan_norm

CHARACTER = 0  # index of the character among the engine's objects


class ImitationEnv(Env):
    """One environment for every method that learns from motion.

    After physics, in this order: time, reference, parts (histories and tasks), observation, tracking errors (test mode
    only), reward, done. Rewards and targets are therefore those of the time reached by the step.
    """

    def __init__(
        self,
        engine: Engine,
        character: CharacterModel,
        reference: ReferenceMotion | None,
        key_bodies: Tensor,
        action_bounds: tuple[Tensor, Tensor],
        parts: Sequence[Part],
        reward: Callable[[View], Tensor] | None,
        *,
        target_steps: Sequence[int] = (),
        past_frames: int = 1,
        follow_reference: bool = True,
        demos: DemoSampler | None = None,
        window_settings: Mapping[str, Any] | None = None,
        episode_length: float | Tensor,
        clip_end_is_success: bool = True,
        log_tracking_error: bool = False,
        timers: Any = None,
        reset_by_index: bool | None = None,
    ) -> None:
        """``key_bodies`` ``[K]`` indices; ``target_steps`` are the future frames shown to the parts, ``past_frames`` H
        those shown at a restart; without ``reward`` the reward stays 0 (it comes from the agent).

        Without ``follow_reference`` the reference is looked up at restarts alone, and in every step only in the test
        mode. ``demos`` supplies demonstrations, ``window_settings`` are the config values that shape them.
        ``episode_length`` (s) may differ by environment ``[N]``.
        ``reset_by_index`` lets the host look at data to save work (see ``rows.Rows``): by default on the CPU only.
        ``timers`` has ``section(name) -> context manager``, or is None.
        """
        self.engine = engine
        self.character = character
        self.reference = reference
        self.num_envs = engine.num_envs
        self.window: ReferenceWindow | None = None
        if reference is not None:
            self.window = ReferenceWindow(reference, self.num_envs, engine.control_dt, target_steps, past_frames)
        self.parts = list(parts)
        self._follow = follow_reference
        self._demos = demos
        self.window_settings = dict(window_settings or {})  # a prior must have been trained with the same
        self._generative = next((part for part in self.parts if isinstance(part, GenerativeStart)), None)
        self.device = torch.device(engine.device)
        self.control_dt = engine.control_dt
        self.action_low, self.action_high = (bound.to(self.device) for bound in action_bounds)
        self.obs_size = sum(part.obs_size for part in self.parts)
        self.latest: View | None = None  # what the last step saw, before any reset; live tensors
        self.causes: dict[str, Tensor] = {}  # why episodes ended in the last step: bool [N] masks by name
        self._key_bodies = key_bodies
        self._reward = reward
        self.has_reward = reward is not None
        self._episode_length = episode_length
        self._clip_end_is_success = clip_end_is_success
        self._log_tracking_error = log_tracking_error
        self._timers = timers
        self._by_index = self.device.type == "cpu" if reset_by_index is None else reset_by_index
        self._testing = False
        self._means = tracking.RunningMeans(self.device)
        self._allocate()

    def _allocate(self) -> None:
        n, device = self.num_envs, self.device

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros((n, *shape), dtype=dtype, device=device)

        self.obs = zeros(self.obs_size)
        self.reward = zeros()
        self.done = zeros(dtype=torch.int32)
        self.timestep = zeros(dtype=torch.int32)
        self.time = zeros()  # s since the episode began
        self.motion_ids = zeros(dtype=torch.int64)
        self.start_times = zeros()  # s into the clip
        self.motion_time = zeros()  # s into the clip, now
        self.clip_end = zeros() + torch.inf  # s, infinite for clips that repeat
        self.command = zeros(len(self.action_low))
        self.info = {"tracking_error": zeros(len(tracking.NAMES))}  # written in test mode
        for part in self.parts:
            self.info.update(part.info())
        self._everyone = torch.ones(n, dtype=torch.bool, device=device)
        num_dofs = self.character.num_dofs
        self._start = ResetState(zeros(3), zeros(4), zeros(3), zeros(3), zeros(num_dofs), zeros(num_dofs))

    # ------------------------------------------------------------------------------------------------------------ reset

    @torch.no_grad()
    def reset(self, mask: Tensor | None = None) -> Tensor:
        with self._section("env"):
            rows = reset_rows(mask, self._by_index)
            if rows is not None:
                self._restart(rows, mask, *self._draw_starts())
        return self.obs

    def _draw_starts(self) -> tuple[Tensor, Tensor]:
        """Drawn for all environments whichever way rows are computed, so that both ways draw the same numbers."""
        if self.reference is None:
            return self.motion_ids, self.start_times
        motion_ids, start_times = self.reference.draw(self.num_envs)
        if self._generative is not None and self._generative.filled:
            start_times = torch.zeros_like(start_times)  # the window is no part of a clip
        return motion_ids, start_times

    @torch.no_grad()
    def reset_to(self, motion_ids: Tensor, start_times: Tensor, mask: Tensor | None = None) -> Tensor:
        """Restart at chosen clips ``[N]`` and times (s) ``[N]`` instead of random ones."""
        rows = reset_rows(mask, self._by_index)
        if rows is not None:
            self._restart(rows, mask, motion_ids, start_times)
        return self.obs

    def _restart(self, rows: Rows, mask: Tensor | None, motion_ids: Tensor, start_times: Tensor) -> None:
        """Reference-state initialisation (DeepMimic, section 6.1).

        The engine itself is put into the reference state, so body poses and body velocities are right and contact
        forces zero in the first observation; writing the poses from outside would leave body velocities at zero and
        the contacts of the old episode.
        """
        motion_ids, start_times = rows.take(motion_ids), rows.take(start_times)
        zero = torch.zeros_like(start_times)
        rows.put(self.motion_ids, motion_ids)
        rows.put(self.start_times, start_times)
        rows.put(self.motion_time, start_times)
        rows.put(self.time, zero)
        rows.put(self.timestep, zero.int())
        rows.put(self.done, zero.int())

        reference, past = None, None
        targets: list[CharacterState] = []
        if self.reference is None or self.window is None:
            start = ResetState(*(rows.take(getattr(self._start, name)) for name in RESET_FIELDS))
        else:
            rows.put(self.clip_end, self.reference.clip_end.index_select(0, motion_ids))
            reference, targets, past = self.window.restart(
                rows, motion_ids, start_times, zero.int(), keep=self._follows()
            )
            start = self._start_of(reference)
        for part in self.parts:
            start = part.start(start, rows)
        objects = {CHARACTER: self._start}
        for name in RESET_FIELDS:
            rows.put(getattr(self._start, name), getattr(start, name))
        for part in self.parts:
            objects.update(part.reset_objects())
        self.engine.reset(self._everyone if mask is None else mask, objects)

        view = self._view(rows)
        view.reference, view.targets, view.past = reference, targets, past
        for part in self.parts:
            part.restart(view, rows)
        self._observe(view, rows)
        self._track(view, rows)

    def _start_of(self, state: CharacterState) -> ResetState:
        return ResetState(
            state.root_pos, state.root_rot, state.root_vel, state.root_ang_vel,
            self.character.rot_to_dof(state.joint_rot), state.dof_vel,
        )  # fmt: skip

    def _follows(self) -> bool:
        """Whether the reference is needed in every step. The reference a test compares with is never a stale one."""
        return self._follow or self._testing

    @torch.no_grad()
    def fast_forward(self, timestep: Tensor) -> None:
        """Pretend that the running episodes have lasted ``timestep`` ``[N]`` steps; the characters stay as they are."""
        self.timestep.copy_(timestep)
        self._update_time()
        self._restart_window()

    def _restart_window(self) -> None:
        if self.window is not None:
            self.window.restart(ALL, self.motion_ids, self.start_times, self.timestep)

    # ------------------------------------------------------------------------------------------------------------- step

    @torch.no_grad()
    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        torch.clamp(action, self.action_low, self.action_high, out=self.command)
        for part in self.parts:
            part.before_physics(self.command, self.time)
        self.engine.set_command(self.command)
        with self._section("physics"):
            self._physics()
        with self._section("env"):
            self._after_physics()
        return self.obs, self.reward, self.done, self.info

    def _physics(self) -> None:
        self.engine.step()

    def _after_physics(self) -> None:
        self.timestep += 1
        self._update_time()
        view = self._view(ALL)
        if self.window is not None and self._follows():
            self.window.advance(self.motion_ids, self.start_times, self.timestep)
            view.reference, view.targets = self.window.now, self.window.targets
        view.diverged = self._diverged(view)
        self.latest = view
        for part in self.parts:
            part.update(view)
        self._observe(view, ALL)
        self._track(view, ALL)
        if self._reward is not None:
            self.reward.copy_(self._reward(view))
        if view.diverged is not None:
            self.reward.masked_fill_(view.diverged, 0.0)
        self._finish(view)

    def _update_time(self) -> None:
        torch.mul(self.timestep, self.control_dt, out=self.time)
        torch.add(self.time, self.start_times, out=self.motion_time)

    def _finish(self, view: View) -> None:
        causes = {"time": terminations.time_over(view.time, self._episode_length)}
        if self._clip_end_is_success:
            causes["clip_end"] = terminations.clip_over(view.motion_time, view.clip_end)
        failure: Tensor | None = None
        for part in self.parts:
            for name, mask in part.failure(view).items():
                causes[name] = mask
                failure = mask if failure is None else failure | mask
        if view.diverged is not None:
            causes["diverged"] = view.diverged
            failure = view.diverged if failure is None else failure | view.diverged
        terminations.done_flags(causes["time"], causes.get("clip_end"), failure, out=self.done)
        self.causes = causes

    # ---------------------------------------------------------------------------------------------------- shared pieces

    def _view(self, rows: Rows) -> View:
        """The engine's state of these rows. Joint rotations are made here once, for all parts."""
        state, take = self.engine.states[CHARACTER], rows.take
        root_pos, body_pos = take(state.root_pos), take(state.body_pos)
        joint_rot = self.character.dof_to_rot(take(state.dof_pos))
        rotations = torch.cat([take(state.root_rot).unsqueeze(-2), joint_rot], dim=-2)
        sim = CharacterState(
            root_pos=root_pos, rotations=rotations, root_vel=take(state.root_vel),
            root_ang_vel=take(state.root_ang_vel), dof_vel=take(state.dof_vel),
            body_pos=body_pos, body_rot=take(state.body_rot),
            key_offset=body_pos.index_select(-2, self._key_bodies) - root_pos.unsqueeze(-2),
            tan_norm=quat_to_tan_norm(rotations),
        )  # fmt: skip
        return View(
            time=take(self.time), motion_ids=take(self.motion_ids), motion_time=take(self.motion_time),
            clip_end=take(self.clip_end), character=sim, ground_contact_forces=take(state.ground_contact_forces),
        )  # fmt: skip

    def _diverged(self, view: View) -> Tensor | None:
        """Environments ``[N]`` whose simulation is not a number any more, or None if known to be none.

        They end in failure with reward 0 and an observation of zeros: one of them would otherwise make every
        normaliser and every network NaN.
        """
        root_pos = view.character.root_pos
        if self._by_index and math.isfinite(float(root_pos.sum())):
            return None
        return ~torch.isfinite(root_pos.sum(-1))

    def _observe(self, view: View, rows: Rows) -> None:
        blocks = [block for part in self.parts for block in part.observe(view, rows)]
        if rows is ALL:
            torch.cat(blocks, dim=-1, out=self.obs)
            if view.diverged is not None:
                self.obs.masked_fill_(view.diverged.unsqueeze(-1), 0.0)
        else:
            rows.put(self.obs, torch.cat(blocks, dim=-1))
        for part in self.parts:
            part.publish(view, rows)

    def _track(self, view: View, rows: Rows) -> None:
        if self._testing and view.reference is not None:
            errors = tracking.tracking_errors(view.character, view.reference)
            weights = rows.weights(errors)
            if view.diverged is not None:
                errors = errors.masked_fill(view.diverged.unsqueeze(-1), 0.0)
                weights = (~view.diverged).to(errors.dtype)
            rows.put(self.info["tracking_error"], errors)
            self._means.record(errors, weights)

    def _section(self, name: str) -> AbstractContextManager[Any]:
        return nullcontext() if self._timers is None else self._timers.section(name)

    # ------------------------------------------------------------------------------------------------ modes and records

    def set_mode(self, test: bool) -> None:
        if test and not self._testing:
            self._means.restart()
            if not self._follow:
                self._restart_window()  # it stood still
        self._testing = test

    def graph_key(self) -> tuple[bool, ...]:
        return (self._testing, self._generative is not None and self._generative.filled)

    def diagnostics(self) -> dict[str, Tensor]:
        return self._means.as_dict() if self._log_tracking_error else {}

    @property
    def has_goal_pose(self) -> bool:
        """Whether there is a reference that the character is to follow, so that comparing the two says something."""
        return self.reference is not None

    def reference_pose(self) -> tuple[Tensor, Tensor, Tensor]:
        """Root position ``[N, 3]``, rotation ``[N, 4]`` and DoFs ``[N, D]`` of the reference now, e.g. to draw it.

        Those of the character itself where there is no reference.
        """
        if self.reference is None:
            state = self.engine.states[CHARACTER]
            return state.root_pos, state.root_rot, state.dof_pos
        frame = self.reference.library.query(self.motion_ids, self.motion_time)
        return frame.root_pos, frame.root_rot, self.character.rot_to_dof(frame.joint_rot)

    # ----------------------------------------------------------------------------- demonstrations, a prior's starts

    @property
    def disc_obs_size(self) -> int:
        """Length of ``info["disc_obs"]`` and of a demonstration; EnvError without a discriminator observation."""
        return self._demo_sampler().obs_size

    def fetch_disc_obs_demo(self, num: int) -> Tensor:
        """``num`` random demonstrations ``[num, disc_obs_size]``."""
        return self._demo_sampler().draw(num)

    def _demo_sampler(self) -> DemoSampler:
        if self._demos is None:
            raise EnvError("this env makes no discriminator observations; choose one of amp, ase, add, smp or a task")
        return self._demos

    def init_gsi_buffer(self, samples: Tensor) -> None:
        """From now on episodes start in windows ``samples`` ``[n, H, S]`` of a prior (un-normalised observations)."""
        self._generated().fill(samples)

    def add_gsi_samples(self, samples: Tensor) -> None:
        """Overwrite the oldest windows by ``samples`` ``[n, H, S]``."""
        self._generated().add(samples)

    def _generated(self) -> GenerativeStart:
        if self._generative is None:
            raise EnvError("agent.enable_gsi: this env cannot start from generated motion; choose smp or a task of it")
        return self._generative

    def _buffers(self) -> dict[str, Tensor]:
        buffers = {
            "obs": self.obs, "reward": self.reward, "done": self.done, "timestep": self.timestep, "time": self.time,
            "motion_ids": self.motion_ids, "start_times": self.start_times, "motion_time": self.motion_time,
            "clip_end": self.clip_end, "command": self.command,
        }  # fmt: skip
        buffers.update({f"info/{name}": tensor for name, tensor in self.info.items()})
        return buffers

    def state_dict(self) -> dict[str, Tensor]:
        state = {name: tensor.detach().cpu().clone() for name, tensor in self._buffers().items()}
        state.update({f"tracking/{k}": v for k, v in self._means.state_dict().items()})
        for i, part in enumerate(self.parts):
            state.update({f"parts/{i}/{k}": v for k, v in part.state_dict().items()})
        if self.window is not None:
            state.update({f"window/{k}": v for k, v in self.window.state_dict().items()})
        state.update({f"engine/{k}": v for k, v in self.engine.state_dict().items()})
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, buffer in self._buffers().items():
            if name not in state:
                raise EnvError(f"saved environment state has no {name!r}: it was written by another kind of env")
            if state[name].shape != buffer.shape:
                raise EnvError(
                    f"saved environment state: {name} has shape {list(state[name].shape)}, this env needs "
                    f"{list(buffer.shape)} (the first number is num_envs)"
                )
        for name, buffer in self._buffers().items():
            buffer.copy_(state[name])
        # What this process has measured itself is newer than what was saved: a test that puts the training state back
        # afterwards keeps its result.
        if float(self._means.count) == 0.0:
            self._means.load_state_dict(_under(state, "tracking/"))
        for i, part in enumerate(self.parts):
            part.load_state_dict(_under(state, f"parts/{i}/"))
        if self.window is not None:
            self.window.load_state_dict(_under(state, "window/"))
        self.engine.load_state_dict(_under(state, "engine/"))


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
