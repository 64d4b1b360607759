"""The env of the tracking task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.distributed import Comm
from mimickit_hydra.engines.interface import Engine, ResetState
from mimickit_hydra.envs import tracking
from mimickit_hydra.envs.builder import make_sampler, needed
from mimickit_hydra.envs.checks import body_indices, check_length
from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.imitation import CHARACTER, ImitationEnv, Shown
from mimickit_hydra.envs.parts import World
from mimickit_hydra.envs.reference import ReferenceMotion
from mimickit_hydra.envs.rows import ALL, Rows
from mimickit_hydra.envs.sampling import Setting
from mimickit_hydra.envs.sensing import spread
from mimickit_hydra.envs.starts import Lift
from mimickit_hydra.envs.state import CharacterState, PosedState, View, lazy
from mimickit_hydra.envs.term_schema import read_terms
from mimickit_hydra.envs.terms import observed, with_terms
from mimickit_hydra.envs.track import mdp
from mimickit_hydra.envs.track.frames import ROUNDING, Ahead, ClipFrames
from mimickit_hydra.envs.track.mdp import GOAL_UNITS, Facts, Moment, Pose
from mimickit_hydra.envs.track.schema import TrackingEnvConfig
from mimickit_hydra.envs.track.starts import beside, soft_limits
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.motion.robot import NO_LIMIT, NO_TORQUE_LIMIT
from mimickit_hydra.motion.rotations import quat_to_tan_norm

_BODY = ("body_pos", "body_rot", "body_vel", "body_ang_vel")


def build_tracking(
    config: TrackingEnvConfig, engine: Engine, character: CharacterModel, library: MotionLibrary | None, timers: Any
) -> TrackingEnv:
    """Build the tracking env; EnvError if this character or this engine's control mode cannot be driven so."""
    return TrackingEnv(config, engine, character, needed(config, library), timers)  # type: ignore[arg-type]


class TrackingEnv(ImitationEnv):
    """Follows clips frame by frame, with an observation of its own for the value function.

    Actions are targets of the joints' controllers, in rad and unbounded; ``action_low`` and ``action_high`` are
    those of -1 and 1 in units of the action scale, about the default pose. With ``action_about: reference`` targets are
    as far from the reference's joints in the next frame as the actions are from the default pose. A step is compared
    with the frame that the policy was shown; then the frame goes on by one, and is observed.
    """

    bounded = False

    def __init__(
        self, config: TrackingEnvConfig, engine: Engine, character: CharacterModel, library: MotionLibrary, timers: Any
    ) -> None:
        device = torch.device(engine.device)
        self.config = config
        bodies = body_indices("env.tracked_bodies", config.tracked_bodies or character.body_names, character.body_names)
        self.facts = facts_of(config, engine, character, bodies)
        self.frames = ClipFrames(
            library, character, bodies, engine.control_dt, config.episode_length, copy_ends=config.like_mjlab
        )
        self.world = World(
            engine, character, library, len(config.end_effectors), len(bodies), default=self.facts.default
        )
        shown = dataclasses.replace(config, observations=config.shown)
        parts, reward = with_terms(shown, self.world, [], None, share=engine.control_dt)
        critic = observed(config, self.world, "critic_observations")
        scale = action_scale(config, engine)
        ends = [character.body_names.index(name) for name in config.end_effectors]
        reference = ReferenceMotion(library, character, torch.tensor(ends, device=device), config.rand_reset)
        most = sum(term.weight for term in read_terms(config, "rewards") if term.weight > 0.0) * engine.control_dt
        off = [*config.start_pos, *config.start_rot, *config.start_vel, *config.start_ang_vel]
        self._off = torch.tensor([*off, *[config.start_joints] * character.num_dofs], device=device)
        self._scale, self._bodies = scale.to(device), torch.tensor(bodies, device=device)
        super().__init__(
            engine, character, reference, torch.tensor(ends, device=device),
            (self.facts.default - self._scale, self.facts.default + self._scale), [*parts, *critic], reward,
            critic=critic,
            follow_reference=any(term.follows_reference for term in parts),
            sampler=make_sampler(config, Setting(reference, engine.control_dt, most)),  # type: ignore[arg-type]
            lift=Lift(library, character) if config.lifts_starts else None,
            episode_length=config.episode_length,
            clip_end=None if config.like_mjlab else "time",
            tests_each_clip=True,
            log_tracking_error=config.log_tracking_error,
            fuse=config.fuse and not config.like_mjlab,
            timers=timers,
        )  # fmt: skip
        self.tracked_bodies = self._bodies
        self.anchor_body = bodies[self.facts.anchor]
        self._track_means = tracking.RunningMeans(device, [f"error_{name}" for name in mdp.METRICS])

    def _allocate(self) -> None:
        super()._allocate()
        n, device, width = self.num_envs, self.device, self.frames.width
        self.action, self.last_action = (torch.zeros(n, self.character.num_dofs, device=device) for _ in range(2))
        self._row = torch.zeros(n, dtype=torch.int64, device=device)  # of the frame that is observed
        self._last = torch.zeros(n, dtype=torch.int64, device=device)  # of its clip
        self._now, self._ahead = (torch.zeros(n, width, device=device) for _ in range(2))
        self._anchor = torch.zeros(n, 7, device=device)  # where the anchor was as the action was chosen

    # ------------------------------------------------------------------------------------------- frames and starts

    def _restart(self, rows: Rows, mask: Tensor | None, motion_ids: Tensor, start_times: Tensor) -> None:
        steps = (start_times / self.control_dt + ROUNDING).floor()
        super()._restart(rows, mask, motion_ids, steps * self.control_dt)
        self._note_anchor(rows)

    def _begin(self, rows: Rows, motion_ids: Tensor, start_times: Tensor) -> tuple[ResetState, Shown | None]:
        shown = self._restart_reference(rows, motion_ids, start_times) if self._follows() else None
        first = self.frames.first.index_select(0, motion_ids)
        row = first + (start_times / self.control_dt).round().long()
        last = first + self.frames.count.index_select(0, motion_ids) - 1
        start = self._seek(rows, torch.minimum(row, last), last)
        for buffer in (self.action, self.last_action):
            rows.put(buffer, torch.zeros_like(rows.take(buffer)))
        return start, shown

    def _seek(self, rows: Rows, row: Tensor, last: Tensor) -> ResetState:
        """Go to the rows ``row [n]`` of the frames, and say where the characters start there."""
        rows.put(self._last, last)
        ahead = torch.minimum(row + 1, last)
        rows.put(self._row, ahead)
        now = self.frames.take(row)
        rows.put(self._now, now)
        rows.put(self._ahead, self.frames.take(ahead))
        return self._beside(rows, self.frames.read(now))

    def _beside(self, rows: Rows, pose: Pose) -> ResetState:
        if not self._disturbed:
            return ResetState(
                pose.root_pos, pose.root_rot, pose.root_vel, pose.root_ang_vel, pose.dof_pos, pose.dof_vel
            )
        u = torch.rand(self.num_envs, self._off.shape[-1], device=self.device)
        off = rows.take(spread(u, self._off))
        return beside(pose, self.facts, off[:, :6], off[:, 6:12], off[:, 12:])

    def send_probes(self, probes: Tensor, share: float, lead: float, comm: Comm) -> None:
        super().send_probes(probes, share, lead, comm)
        self._off = torch.where(probes.unsqueeze(-1), 0.0, self._off)  # they fall where the clip is hard, not the start

    @property
    def _disturbed(self) -> bool:
        return self.config.like_mjlab or not self._testing

    def _advance(self) -> None:
        self._now.copy_(self._ahead)
        torch.minimum(self._row + 1, self._last, out=self._row)
        self._ahead.copy_(self.frames.take(self._row))

    # --------------------------------------------------------------------------------------------------------- step

    def _take(self, action: Tensor) -> None:
        self.command.copy_(action)
        self.last_action.copy_(self.action)
        torch.sub(action, self.facts.default, out=self.action)
        self.action.div_(self._scale)
        if self.config.action_about == "reference":
            self.command.add_(self.frames.read(self._ahead).dof_pos - self.facts.default)

    def _after_physics(self) -> None:
        self._advance()
        super()._after_physics()
        if self.config.like_mjlab:
            self._wrap()
            self._note_anchor(ALL)

    def _wrap(self) -> None:
        """Beyond the last frame of a clip, go on elsewhere within the episode, as mjlab does."""
        over = self.motion_time + 0.5 * self.control_dt > self.clip_end
        rows = Rows(mask=over)
        motion_ids, start_times = self._draw_starts()
        steps = (start_times / self.control_dt + ROUNDING).floor()
        first = self.frames.first.index_select(0, motion_ids)
        last = first + self.frames.count.index_select(0, motion_ids) - 1
        row = torch.minimum(first + steps.long(), last)
        start = self._seek(rows, row, last)
        rows.put(self._row, row)  # the frame on which the robot stands is the one that it sees
        rows.put(self._ahead, self.frames.take(row))
        rows.put(self.motion_ids, motion_ids)
        assert self.reference is not None
        rows.put(self.clip_end, self.reference.clip_end.index_select(0, motion_ids))
        rows.put(self.start_times, (steps - self.timestep - 1) * self.control_dt)
        self._update_time()
        self.engine.place(CHARACTER, over, start)
        if self._follows():
            self._restart_window()
        self._observe(self._view(rows), rows, first=True)

    def _note_anchor(self, rows: Rows) -> None:
        if self.config.like_mjlab:
            state = self.engine.states[CHARACTER]
            where = [part[:, self.anchor_body] for part in (state.body_pos, state.body_rot)]
            rows.put(self._anchor, rows.take(torch.cat(where, dim=-1)))

    # ------------------------------------------------------------------------------------------------ shared pieces

    def _view(self, rows: Rows) -> View:
        state, take = self.engine.states[CHARACTER], rows.take
        live = LiveState(self, rows)
        return View(
            time=take(self.time), motion_ids=take(self.motion_ids), motion_time=take(self.motion_time),
            clip_end=take(self.clip_end), character=live, ground_contact_forces=take(state.ground_contact_forces),
            moment=self._moment(rows), rows=rows,
        )  # fmt: skip

    def _moment(self, rows: Rows) -> Moment:
        state, take = self.engine.states[CHARACTER], rows.take
        bodies = (take(getattr(state, name)).index_select(-2, self._bodies) for name in _BODY)
        robot = Pose(
            take(state.root_pos), take(state.root_rot), take(state.root_vel), take(state.root_ang_vel),
            take(state.dof_pos), take(state.dof_vel), *bodies,
        )  # fmt: skip
        own = take(state.contact_forces) - take(state.ground_contact_forces)
        anchor = take(self._anchor)
        return Moment(
            self.facts, robot, self.frames.read(take(self._now)), self.frames.read(take(self._ahead)),
            take(self.action), take(self.last_action),
            torch.linalg.vector_norm(own, dim=-1).amax(-1, keepdim=True), take(self.world.bias),
            aligned_at=(anchor[:, :3], anchor[:, 3:]) if self.config.like_mjlab else None,
            later=Ahead(self.frames, take(self._row) - 1, take(self._last)),
        )  # fmt: skip

    # -------------------------------------------------------------------------------------------- imagined states

    @property
    def last_command(self) -> Tensor:
        return torch.addcmul(self.facts.default, self.action, self._scale)

    def glimpses(self, motion_ids: Tensor, motion_time: Tensor, count: int) -> Callable[[int, int], Any]:
        first = self.frames.first.index_select(0, motion_ids)
        last = first + self.frames.count.index_select(0, motion_ids) - 1
        row = first + (motion_time / self.control_dt).round().long()
        others = super().glimpses(motion_ids, motion_time, count) if self._follow else None

        def glimpse(begin: int, number: int) -> Any:
            steps = torch.arange(begin, begin + number, device=row.device).unsqueeze(-1)
            rows = torch.minimum(row + steps, last)
            other = (None, []) if others is None else others(begin, number)
            return (*other, rows.flatten(), last.expand_as(rows).flatten())

        return glimpse

    def imagined(
        self, character: PosedState, motion_ids: Tensor, motion_time: Tensor, glimpse: Any, action: Tensor,
        last_action: Tensor, forces: Tensor,
    ) -> View:  # fmt: skip
        now, targets, row, last = glimpse
        view = super().imagined(character, motion_ids, motion_time, (now, targets), action, last_action, forces)
        view.moment = ImaginedMoment(self, character, row, last, action, last_action, forces)
        return view

    def _track(self, view: View, rows: Rows) -> None:
        super()._track(view, rows)
        if self._testing and rows is ALL and view.moment is not None:
            errors = mdp.metrics(view.moment)
            if view.diverged is not None:
                errors = errors.masked_fill(view.diverged.unsqueeze(-1), 0.0)
            self._track_means.record(errors, None if view.diverged is None else (~view.diverged).to(errors.dtype))

    def _recorded(self) -> list[tracking.RunningMeans]:
        return [*super()._recorded(), self._track_means]

    def _buffers(self) -> dict[str, Tensor]:
        own = {
            "action": self.action, "last_action": self.last_action, "row": self._row, "last": self._last,
            "now": self._now, "ahead": self._ahead, "anchor": self._anchor,
        }  # fmt: skip
        return {**super()._buffers(), **{f"track/{name}": tensor for name, tensor in own.items()}}


class ImaginedMoment(Moment):
    """The moment of an imagined state; what terms do not look at is not worked out."""

    def __init__(
        self, env: TrackingEnv, state: PosedState, row: Tensor, last: Tensor, action: Tensor, last_action: Tensor,
        forces: Tensor,
    ) -> None:  # fmt: skip
        self.facts, self.robot = env.facts, ImaginedPose(state, env._bodies)
        self.later, self.aligned_at, self.values = Ahead(env.frames, row, last), None, {}
        self._env, self._row, self._last = env, row, last
        self._actions, self._forces = (action, last_action), forces

    @lazy
    def now(self) -> Pose:  # type: ignore[override]
        return self._env.frames.read(self._env.frames.take(self._row))

    @lazy
    def ahead(self) -> Pose:  # type: ignore[override]
        return self._env.frames.read(self._env.frames.take(torch.minimum(self._row + 1, self._last)))

    @lazy
    def action(self) -> Tensor:  # type: ignore[override]
        return (self._actions[0] - self.facts.default) / self._env._scale

    @lazy
    def last_action(self) -> Tensor:  # type: ignore[override]
        return (self._actions[1] - self.facts.default) / self._env._scale

    @lazy
    def self_forces(self) -> Tensor:  # type: ignore[override]
        return torch.linalg.vector_norm(self._forces, dim=-1).amax(-1, keepdim=True)

    @lazy
    def encoder_bias(self) -> Tensor:  # type: ignore[override]
        return torch.zeros_like(self.robot.dof_pos)


class ImaginedPose(Pose):
    """The pose of an imagined state, whose bodies are worked out once they are asked for."""

    def __init__(self, state: PosedState, bodies: Tensor) -> None:
        self._state, self._bodies = state, bodies
        self.root_pos, self.root_rot, self.root_vel = state.root_pos, state.root_rot, state.root_vel
        self.dof_vel, self.spin = state.dof_vel, state.spin

    @lazy
    def axes(self) -> Tensor:  # type: ignore[override]
        return self._state.axes

    @lazy
    def root_ang_vel(self) -> Tensor:  # type: ignore[override]
        return self._state.root_ang_vel

    @lazy
    def dof_pos(self) -> Tensor:  # type: ignore[override]
        return self._state.dof_pos

    @lazy
    def body_pos(self) -> Tensor:  # type: ignore[override]
        return self._state.body_pos.index_select(-2, self._bodies)

    @lazy
    def body_rot(self) -> Tensor:  # type: ignore[override]
        return self._state.body_rot.index_select(-2, self._bodies)

    @lazy
    def body_vel(self) -> Tensor:  # type: ignore[override]
        return self._state.body_velocities[0].index_select(-2, self._bodies)

    @lazy
    def body_ang_vel(self) -> Tensor:  # type: ignore[override]
        return self._state.body_velocities[1].index_select(-2, self._bodies)


class LiveState(CharacterState):
    """The simulated character; what the task itself does not need of it is made when it is asked for."""

    def __init__(self, env: TrackingEnv, rows: Rows) -> None:
        state, take = env.engine.states[CHARACTER], rows.take
        self._env, self._dof_pos, self._take = env, state.dof_pos, take
        self._root_rot = take(state.root_rot)
        self.root_pos = take(state.root_pos)
        self.root_vel, self.root_ang_vel = take(state.root_vel), take(state.root_ang_vel)
        self.dof_vel, self.body_pos, self.body_rot = take(state.dof_vel), take(state.body_pos), take(state.body_rot)

    @property
    def root_rot(self) -> Tensor:
        return self._root_rot

    @lazy
    def rotations(self) -> Tensor:  # type: ignore[override]
        joint_rot = self._env.character.dof_to_rot(self._take(self._dof_pos))
        return torch.cat([self._root_rot.unsqueeze(-2), joint_rot], dim=-2)

    @lazy
    def key_offset(self) -> Tensor:  # type: ignore[override]
        return self.body_pos.index_select(-2, self._env._key_bodies) - self.root_pos.unsqueeze(-2)

    @lazy
    def tan_norm(self) -> Tensor:  # type: ignore[override]
        return quat_to_tan_norm(self.rotations)


def facts_of(config: TrackingEnvConfig, engine: Engine, character: CharacterModel, bodies: list[int]) -> Facts:
    """What an env of these ``bodies`` tracks and drives; EnvError for what the character does not have."""
    device, names = torch.device(engine.device), [character.body_names[body] for body in bodies]
    model = engine.models[CHARACTER]
    check_length("env.init_pose", config.init_pose, (0, 3, 6 + character.num_dofs), "(position, or position and DoFs)")
    default = torch.tensor([float(value) for value in config.init_pose[6:]] or [0.0] * character.num_dofs)
    low, high = soft_limits(
        np.where(model.dof_low > -NO_LIMIT, model.dof_low, -np.inf),
        np.where(model.dof_high < NO_LIMIT, model.dof_high, np.inf),
        config.soft_limits,
    )
    balls = [first + i for first, width in zip(character.dof_index, character.dof_dim, strict=True) if width == 3
             for i in range(3)]  # fmt: skip
    return Facts(
        anchor=_among("env.anchor_body", [config.anchor_body or character.body_names[0]], names, character)[0],
        end_effectors=torch.tensor(
            _among("env.end_effectors", config.end_effectors, names, character), dtype=torch.int64, device=device
        ),
        default=default.to(device),
        balls=torch.tensor(balls, dtype=torch.int64, device=device),
        low=low.to(device),
        high=high.to(device),
        imu_pos=torch.tensor(config.imu_pos, device=device),
        goal_units=torch.tensor(GOAL_UNITS, device=device),
        substeps=round(engine.control_dt / engine.sim_dt),
    )


def _among(key: str, wanted: list[str], tracked: list[str], character: CharacterModel) -> list[int]:
    body_indices(key, wanted, character.body_names)
    for name in wanted:
        if name not in tracked:
            raise EnvError(f"{key}: found {name!r}, must be one of env.tracked_bodies: {', '.join(tracked)}")
    return [tracked.index(name) for name in wanted]


def action_scale(config: TrackingEnvConfig, engine: Engine) -> Tensor:
    """The angle ``[D]`` (rad) that an action of 1 adds: a share of the torque limit over the stiffness."""
    if engine.control_mode not in ("pos", "pd_explicit"):
        raise EnvError(f"engine.control_mode: found {engine.control_mode}, must be pos: env=tracking acts by angles")
    model = engine.models[CHARACTER]
    for what, missing in (("stiffness", model.kp <= 0.0), ("torque limit", model.torque_limits >= NO_TORQUE_LIMIT)):
        if missing.any():
            hint = "; give it some: character.gains=from_armature" if what == "stiffness" else ""
            raise EnvError(f"env.action_scale: {int(missing.sum())} joints have no {what} to scale by{hint}")
    return torch.as_tensor(config.action_scale * model.torque_limits / model.kp, dtype=torch.float32)
