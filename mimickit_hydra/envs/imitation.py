"""The env of all methods: a character, a reference motion where there is one, and a list of parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.distributed import Comm
from mimickit_hydra.engines.interface import Engine, ResetState
from mimickit_hydra.envs import terminations, tracking
from mimickit_hydra.envs.disc_obs import DemoSampler
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL
from mimickit_hydra.envs.env import Env
from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.events import Event, SensorDelay, SensorNoise, apply
from mimickit_hydra.envs.generative import GenerativeStart
from mimickit_hydra.envs.parts import Part
from mimickit_hydra.envs.probes import Probes
from mimickit_hydra.envs.reference import ReferenceMotion, ReferenceWindow
from mimickit_hydra.envs.rows import ALL, Rows, reset_rows
from mimickit_hydra.envs.sampling import ByWeight, Setting, StartSampler
from mimickit_hydra.envs.sensing import Channel, Sensing
from mimickit_hydra.envs.starts import RESET_FIELDS, Lift
from mimickit_hydra.envs.state import CharacterState, PosedState, View
from mimickit_hydra.envs.terms import Rewards, Term
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.rotations import quat_to_tan_norm

CHARACTER = 0  # index of the character among the engine's objects

Shown = tuple[CharacterState, list[CharacterState], CharacterState]  # of a reference: now, targets, past


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
        past_frames: int = 1,
        follow_reference: bool = True,
        sampler: StartSampler | None = None,
        lift: Lift | None = None,
        demos: DemoSampler | None = None,
        critic: Sequence[Part] | None = None,
        window_settings: Mapping[str, Any] | None = None,
        episode_length: float | Tensor,
        clip_end: str | None = "success",
        tests_each_clip: bool = False,
        log_tracking_error: bool = False,
        timers: Any = None,
        reset_by_index: bool | None = None,
        fuse: bool = False,
    ) -> None:
        """``key_bodies`` ``[K]`` indices; ``past_frames`` H is how many frames are shown at a restart; without
        ``reward`` the reward stays 0 (it comes from the agent).

        Without ``follow_reference``, and parts that ask for it, the reference is looked up at restarts alone, and in
        every step only in the test mode. ``sampler`` draws where training episodes start; without one, and in tests,
        the reference does. ``lift`` raises starts out of the floor. ``critic``: the parts that a value function
        observes, None where it sees what the policy does. ``demos`` supplies demonstrations, ``window_settings`` are
        the config values that shape them.
        ``episode_length`` (s) may differ by environment ``[N]``. ``clip_end`` is what an episode ends in where its clip
        does: ``success``, ``time`` (the value of what would come is bootstrapped), or None: it goes on.
        ``tests_each_clip``: a test of a set plays each of its clips, as the policy is asked to follow them.
        ``reset_by_index`` lets the host look at data to save work (see ``rows.Rows``): by default on the CPU only.
        ``fuse`` compiles what an env computes before and after the simulator into few kernels, but for tests.
        ``timers`` has ``section(name) -> context manager``, or is None.
        """
        self.engine = engine
        self.character = character
        self.reference = reference
        self.num_envs = engine.num_envs
        self.window: ReferenceWindow | None = None
        if reference is not None:
            steps = list(dict.fromkeys(step for part in parts for step in part.target_steps))
            for part in parts:
                part.targets = [steps.index(step) for step in part.target_steps]
            self.window = ReferenceWindow(reference, self.num_envs, engine.control_dt, steps, past_frames)
        self.parts = list(parts)
        self._follow = follow_reference or any(part.follows_reference for part in parts)
        self.sampler = sampler
        self._lift = lift
        self._demos = demos
        self.window_settings = dict(window_settings or {})  # a prior must have been trained with the same
        self._generative = next((part for part in self.parts if isinstance(part, GenerativeStart)), None)
        self.device = torch.device(engine.device)
        self.control_dt = engine.control_dt
        self.action_low, self.action_high = (bound.to(self.device) for bound in action_bounds)
        self.events = [part for part in self.parts if isinstance(part, Event)]
        seen = [part for part in self.parts if part.obs_size and not part.privileged]
        delay = max((event.longest for event in self.events if isinstance(event, SensorDelay)), default=0.0)
        noisy = any(isinstance(event, SensorNoise) for event in self.events)
        channels = [_channel(part, noisy, delay > 0.0) for part in seen]
        self.sensing = Sensing(channels, self.num_envs, engine.device, delay)
        self._views = None if self.sensing.idle and critic is None else [(seen, self.sensing)]
        self.critic_obs, self.critic_parts = None, list(critic or ())
        if critic is not None and self._views is not None:
            known = [part for part in critic if part.obs_size]
            channels = [_channel(part) if part.privileged else Channel(_called(part), part.obs_size) for part in known]
            self._views.append((known, Sensing(channels, self.num_envs, engine.device)))
        self.obs_size = self.sensing.size
        self.latest: View | None = None  # what the last step saw, before any reset; live tensors
        self.causes: dict[str, Tensor] = {}  # why episodes ended in the last step: bool [N] masks by name
        self._key_bodies = key_bodies
        self._reward = reward
        self.has_reward = reward is not None
        self._episode_length = episode_length
        self._whole_clips: Tensor | None = None  # [N] s, while clips are played as a whole
        self._clip_end = clip_end
        self.tests_each_clip = tests_each_clip and reference is not None and reference.library.num_motions > 1
        # What keypoint errors are taken of, and the body that the reference is aligned at.
        self.tracked_bodies: Tensor | None = None
        self.anchor_body = 0
        self._log_tracking_error = log_tracking_error
        self._timers = timers
        self._by_index = self.device.type == "cpu" if reset_by_index is None else reset_by_index
        self._testing = False
        self._resting: Tensor | None = None  # [N] bool
        self._means = tracking.RunningMeans(self.device)
        if self.events:
            apply(self.events[0].world)
        self._endings = [part.name for part in self.parts if isinstance(part, Term) and part.logged]
        self._ends = tracking.RunningMeans(self.device, [f"end_{name}" for name in self._endings])
        self._allocate()
        by_mask = fuse and not self._by_index  # a list of rows has another length every time
        self._after = self._fused(self._after_physics, fuse)
        self._put_to_start = self._fused(self._choose_start, by_mask)
        self._show = self._fused(self._show_start, by_mask)

    def _fused(self, function: Callable[..., Any], fuse: bool) -> Callable[..., Any]:
        """``function`` compiled; a test and a start of all environments run it as it is, or each were compiled."""
        if not fuse:
            return function
        compiled = torch.compile(function, dynamic=False, options={"fallback_random": True})  # from torch's generator

        def run(*args: Any) -> Any:
            return (function if self._testing or any(arg is ALL for arg in args) else compiled)(*args)

        return run

    def _allocate(self) -> None:
        n, device = self.num_envs, self.device

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros((n, *shape), dtype=dtype, device=device)

        self.obs = zeros(self.obs_size)
        if self._views is not None and len(self._views) > 1:
            self.critic_obs = zeros(self._views[1][1].size)
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
        """Draw starts for all environments, whichever way rows are computed, so that both draw the same numbers."""
        if self.reference is None:
            return self.motion_ids, self.start_times
        chosen = self.reference if self.sampler is None or self._testing else self.sampler
        motion_ids, start_times = chosen.draw(self.num_envs)
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

    @torch.no_grad()
    def play(self, motion_ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Restart at the first frames of the clips ``[N]``; until the mode changes, episodes end where clips end."""
        assert self.reference is not None
        lengths = self.reference.library.lengths[motion_ids]
        if self._whole_clips is None or mask is None:
            self._whole_clips = lengths
        else:
            self._whole_clips.copy_(torch.where(mask, lengths, self._whole_clips))
        return self.reset_to(motion_ids, torch.zeros_like(lengths), mask)

    def _restart(self, rows: Rows, mask: Tensor | None, motion_ids: Tensor, start_times: Tensor) -> None:
        """Reference-state initialisation (DeepMimic, section 6.1).

        The engine itself is put into the reference state, so body poses and body velocities are right and contact
        forces zero in the first observation; writing the poses from outside would leave body velocities at zero and
        the contacts of the old episode.
        """
        objects, shown = self._put_to_start(rows, motion_ids, start_times)
        self.engine.reset(self._everyone if mask is None else mask, objects)
        for event in self.events:
            event.begin(rows)
        self._show(rows, shown)

    def _choose_start(self, rows: Rows, motion_ids: Tensor, start_times: Tensor) -> tuple[dict[int, ResetState], Any]:
        """What the engine's objects are to start with; the reference now, in the future and in the past."""
        motion_ids, start_times = rows.take(motion_ids), rows.take(start_times)
        zero = torch.zeros_like(start_times)
        rows.put(self.motion_ids, motion_ids)
        rows.put(self.start_times, start_times)
        rows.put(self.motion_time, start_times)
        rows.put(self.time, zero)
        rows.put(self.timestep, zero.int())
        rows.put(self.done, zero.int())

        if self.reference is not None:
            rows.put(self.clip_end, self.reference.clip_end.index_select(0, motion_ids))
        start, shown = self._begin(rows, motion_ids, start_times)
        if self._lift is not None:
            start = self._lift(start, motion_ids, start_times)
        for part in self.parts:
            start = part.start(start, rows)
        objects = {CHARACTER: self._start}
        for name in RESET_FIELDS:
            rows.put(getattr(self._start, name), getattr(start, name))
        for part in self.parts:
            objects.update(part.reset_objects())
        return objects, shown

    def _show_start(self, rows: Rows, shown: Shown | None) -> None:
        view = self._view(rows)
        if shown is not None:
            view.reference, view.targets, view.past = shown
        for part in self.parts:
            part.restart(view, rows)
        self._observe(view, rows, first=True)
        self._track(view, rows)

    def _begin(self, rows: Rows, motion_ids: Tensor, start_times: Tensor) -> tuple[ResetState, Shown | None]:
        """Where these rows start, and what their view shows of the reference: now, targets, past."""
        if self.window is None:
            return ResetState(*(rows.take(getattr(self._start, name)) for name in RESET_FIELDS)), None
        shown = self._restart_reference(rows, motion_ids, start_times)
        return self._start_of(shown[0]), shown

    def _restart_reference(self, rows: Rows, motion_ids: Tensor, start_times: Tensor) -> Shown:
        assert self.window is not None
        steps = torch.zeros_like(start_times, dtype=torch.int32)
        return self.window.restart(rows, motion_ids, start_times, steps, keep=self._follows())

    def _start_of(self, state: CharacterState) -> ResetState:
        return ResetState(
            state.root_pos, state.root_rot, state.root_vel, state.root_ang_vel,
            self.character.rot_to_dof(state.joint_rot), state.dof_vel,
        )  # fmt: skip

    def _follows(self) -> bool:
        """Whether the reference is looked up in every step; a test never compares with a stale one."""
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

    def step_only(self, rows: Tensor | None) -> bool:
        obeyed = self.engine.step_only(rows)
        self._resting = ~rows if obeyed and rows is not None else None
        return obeyed

    @torch.no_grad()
    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        self._take(action)
        for part in self.parts:
            part.before_physics(self.command, self.time)
        self.engine.set_command(self.command)
        with self._section("physics"):
            self._physics()
        with self._section("env"):
            self._after()
        if self.on_step is not None:
            self.on_step()
        return self.obs, self.reward, self.done, self.info

    def _take(self, action: Tensor) -> None:
        torch.clamp(action, self.action_low, self.action_high, out=self.command)

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
        if view.resting is not None:
            self.reward.masked_fill_(view.resting, 0.0)
        self._finish(view)

    def _update_time(self) -> None:
        torch.mul(self.timestep, self.control_dt, out=self.time)
        torch.add(self.time, self.start_times, out=self.motion_time)

    def _finish(self, view: View) -> None:
        length = self._episode_length if self._whole_clips is None else self._whole_clips
        causes = {"time": terminations.time_over(view.time, length)}
        if self._clip_end is not None:
            causes["clip_end"] = terminations.clip_over(view.motion_time, view.clip_end)
        failure: Tensor | None = None
        for part in self.parts:
            for name, mask in part.failure(view).items():
                causes[name] = causes[name] | mask if name in causes else mask
                failure = mask if failure is None else failure | mask
        if view.diverged is not None:
            causes["diverged"] = view.diverged
            failure = view.diverged if failure is None else failure | view.diverged
        over, success = causes["time"], causes.get("clip_end")
        if success is not None and self._clip_end == "time":
            over, success = over | success, None
        terminations.done_flags(over, success, failure, out=self.done)
        if view.resting is not None:
            self.done.masked_fill_(view.resting, DONE_NULL)
        self.causes = causes
        if self.sampler is not None and not self._testing:
            self.sampler.record(self.motion_ids, self.motion_time, self.reward, self.done == DONE_FAIL)
        if self._testing and self._endings:
            met = torch.stack([causes[name] for name in self._endings], dim=-1)
            self._ends.record(met.float(), (self.done != DONE_NULL).float())

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
            resting=None if self._resting is None else take(self._resting), rows=rows,
        )  # fmt: skip

    def _diverged(self, view: View) -> Tensor | None:
        """Environments ``[N]`` that the engine lost or whose state is not a number any more; None if known to be none.

        They end in failure with reward 0 and an observation of zeros: one of them would otherwise make every
        normaliser and every network NaN.
        """
        lost = self.engine.diverged | ~torch.isfinite(view.character.root_pos.sum(-1) + view.character.dof_vel.sum(-1))
        return None if self._by_index and not bool(lost.any()) else lost

    def _observe(self, view: View, rows: Rows, first: bool = False) -> None:
        """Write what is seen of these rows; ``first`` where their episodes begin."""
        if self._views is not None:
            self._observe_by_senses(view, rows, first)
        else:
            self._observe_all(view, rows)
        for part in self.parts:
            part.publish(view, rows)

    def _observe_by_senses(self, view: View, rows: Rows, first: bool) -> None:
        assert self._views is not None
        blocks = {part: part.observe(view, rows) for parts, _ in self._views for part in parts}
        own: Any = 1.0 if self._disturbed else None
        noise, delay = own, None
        for event in self.events:
            if isinstance(event, SensorNoise):
                noise = event.scale if event.on else noise
            elif isinstance(event, SensorDelay):
                delay = event.steps
        for (parts, sensing), out in zip(self._views, (self.obs, self.critic_obs), strict=False):
            value = torch.cat([block for part in parts for block in blocks[part]], dim=-1)
            if rows is ALL and view.diverged is not None:
                value = value.masked_fill(view.diverged.unsqueeze(-1), 0.0)
            assert out is not None
            rows.put(out, sensing(value, rows, first, noise if out is self.obs else own, delay))

    def _observe_all(self, view: View, rows: Rows) -> None:
        blocks = [block for part in self.parts for block in part.observe(view, rows)]
        if rows is ALL:
            torch.cat(blocks, dim=-1, out=self.obs)
            if view.diverged is not None:
                self.obs.masked_fill_(view.diverged.unsqueeze(-1), 0.0)
        else:
            rows.put(self.obs, torch.cat(blocks, dim=-1))

    def _track(self, view: View, rows: Rows) -> None:
        if self._testing and view.reference is not None:
            errors = tracking.tracking_errors(view.character, view.reference)
            weights = rows.weights(errors)
            if view.diverged is not None:
                errors = errors.masked_fill(view.diverged.unsqueeze(-1), 0.0)
                weights = (~view.diverged).to(errors.dtype)
            if view.resting is not None:
                counted = (~view.resting).to(errors.dtype)
                weights = counted if weights is None else weights * counted
            rows.put(self.info["tracking_error"], errors)
            self._means.record(errors, weights)

    def _section(self, name: str) -> AbstractContextManager[Any]:
        return nullcontext() if self._timers is None else self._timers.section(name)

    # ------------------------------------------------------------------------------------------------- imagined states

    @property
    def last_command(self) -> Tensor:
        """The action ``[N, A]`` of the last step."""
        return self.command

    def glimpses(self, motion_ids: Tensor, motion_time: Tensor, count: int) -> Callable[[int, int], Any]:
        """What terms see of the reference in ``count`` steps from times ``[B]`` (s) of clips ``[B]`` on.

        ``glimpse(first, number)`` is that of ``number`` steps from step ``first`` on, ``[number B, .]``; tensors alone.
        """
        assert self.window is not None
        steps = self.window.steps
        ahead = torch.arange(count + max(steps, default=0), device=self.device).unsqueeze(-1)
        times = motion_time + ahead * self.control_dt
        assert self.reference is not None
        frames = self.reference.at(motion_ids.expand_as(times), times)

        def glimpse(first: int, number: int) -> tuple[CharacterState, list[CharacterState]]:
            def at(step: int) -> CharacterState:
                begin = first + step
                return frames.map(lambda tensor: tensor[begin : begin + number].flatten(0, 1))

            return at(0), [at(step) for step in steps]

        return glimpse

    def imagined(
        self, character: PosedState, motion_ids: Tensor, motion_time: Tensor, glimpse: Any, action: Tensor,
        last_action: Tensor, forces: Tensor,
    ) -> View:  # fmt: skip
        """The moment of states ``[n, .]`` that no simulator has made; differentiable as far as terms are.

        ``glimpse`` is one of :meth:`glimpses`, ``action`` and ``last_action`` ``[n, A]`` are the commands of the step
        that led here and of the one before, ``forces`` ``[n, B, 3]`` (N) stands for the contacts, which no state tells.
        """
        assert self.reference is not None
        now, targets = glimpse
        return View(
            time=torch.zeros_like(motion_time), motion_ids=motion_ids, motion_time=motion_time,
            clip_end=self.reference.clip_end.index_select(0, motion_ids), character=character,
            ground_contact_forces=forces, reference=now, targets=targets, rows=ALL,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------ modes and records

    def set_mode(self, test: bool) -> None:
        self._whole_clips = None
        if isinstance(self._reward, Rewards):
            self._reward.recording = test
        if test and not self._testing:
            for means in self._recorded():
                means.restart()
            if not self._follow:
                self._restart_window()  # it stood still
        self._testing = test
        for event in self.events:
            event.switch(self._disturbed or event.config.in_tests)
        if self.events:
            apply(self.events[0].world)

    @property
    def _disturbed(self) -> bool:
        """Whether events happen and observations have noise: not in tests."""
        return not self._testing

    def send_probes(self, probes: Tensor, share: float, lead: float, comm: Comm) -> None:
        """Have the environments ``probes [N]`` (bool) play the clips in order, see :class:`Probes`.

        ``share`` of the others' episodes start up to ``lead`` s before where they fall. Before the first step.
        """
        assert self.reference is not None
        inner = self.sampler or ByWeight(None, Setting(self.reference, self.control_dt))
        self.sampler = Probes(inner, self.reference, self.control_dt, probes, share, lead, comm)

    def graph_key(self) -> tuple[bool, ...]:
        return (self._testing, self._generative is not None and self._generative.filled)

    def diagnostics(self) -> dict[str, Tensor]:
        shown = self._recorded()[0 if self._log_tracking_error else 1 :]
        return {name: mean for means in shown for name, mean in means.as_dict().items()}

    def iteration_over(self, comm: Comm) -> dict[str, Tensor]:
        if self.sampler is None:
            return {}
        self.sampler.share(comm)
        return self.sampler.diagnostics()

    def _recorded(self) -> list[tracking.RunningMeans]:
        given = [self._reward.means] if isinstance(self._reward, Rewards) else []
        return [self._means, *given, self._ends]

    @property
    def has_goal_pose(self) -> bool:
        """Whether there is a reference that the character is to follow, so that the two can be compared."""
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

    def reward_parts(self, view: View, *, everyone: bool = True) -> dict[str, Tensor]:
        """What the reward of ``view`` is made of, ``[n]`` by name; empty where nobody says.

        Without ``everyone``, of a view of some environments alone, only what needs no more than it shows.
        """
        parts = getattr(self._reward, "parts", None)
        return {} if parts is None else parts(view, everyone)

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

    def init_gsi_buffer(self, samples: Tensor, *, symmetric: bool = True) -> None:
        """From now on start episodes in windows ``samples`` ``[n, H, S]`` of a prior (un-normalised observations).

        ``symmetric``: how rotations beyond 162 degrees are read, see :func:`rotations.tan_norm_to_quat`.
        """
        self._generated().fill(samples, symmetric=symmetric)

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
        if self.critic_obs is not None:
            buffers["critic_obs"] = self.critic_obs
        if self._views is not None:
            for k, (_, sensing) in enumerate(self._views):
                buffers.update({f"sensing/{k}/{name}": tensor for name, tensor in sensing.buffers().items()})
        buffers.update({f"info/{name}": tensor for name, tensor in self.info.items()})
        return buffers

    def state_dict(self) -> dict[str, Tensor]:
        state = {name: tensor.detach().cpu().clone() for name, tensor in self._buffers().items()}
        state.update({f"tracking/{k}": v for k, v in self._means.state_dict().items()})
        for i, part in enumerate(self.parts):
            state.update({f"parts/{i}/{k}": v for k, v in part.state_dict().items()})
        if self.sampler is not None:
            state.update({f"sampler/{k}": v for k, v in self.sampler.state_dict().items()})
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
        if self.events:
            apply(self.events[0].world)
        if self.sampler is not None:
            self.sampler.load_state_dict(_under(state, "sampler/"))
        if self.window is not None:
            self.window.load_state_dict(_under(state, "window/"))
        self.engine.load_state_dict(_under(state, "engine/"))


def _called(part: Part) -> str:
    return part.name if isinstance(part, Term) else type(part).__name__.lower()


def _channel(part: Part, noisy: bool = False, late: bool = False) -> Channel:
    """How an observation sees a part; ``noisy``, ``late``: whether events add noise and delays to what is measured."""
    if not isinstance(part, Term):
        return Channel(_called(part), part.obs_size)
    noise = part.noise if part.noise is not None else part.sensor_noise if noisy else 0.0
    return Channel(part.name, part.obs_size, noise, late and part.measured, part.history)


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
