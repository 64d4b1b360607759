"""Policies and what they see as torch modules of one environment, which the ONNX exporter traces.

Everything here has one row, and is computed by the env's and the agent's own functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.deploy.format import REFERENCE, TARGETS
from mimickit_hydra.envs.actions import AboutReference
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.envs.parts import Part
from mimickit_hydra.envs.rows import ALL
from mimickit_hydra.envs.state import CharacterState, View
from mimickit_hydra.envs.tasks.task import GoalTask, Task
from mimickit_hydra.envs.track.env import TrackingEnv
from mimickit_hydra.envs.track.frames import pose_of
from mimickit_hydra.envs.track.mdp import Moment, Pose
from mimickit_hydra.envs.track.terms import LastAction
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.rotations import quat_rotate

Tensors = Mapping[str, Tensor]


class Policy(nn.Module):
    """Observation, and what a method wants beside it, to actions and joint targets ``[1, D]``.

    ``joint_targets`` is ``default + scale * actions``, within the limits of the env.
    """

    def __init__(self, agent: Agent, default: Tensor, scale: Tensor) -> None:
        super().__init__()
        self._agent, self._default, self._scale = agent, default, scale
        self.further = list(agent.policy_inputs)
        self.net = agent.net  # so that its weights are the graph's
        env = agent.env
        self._bounds = None if isinstance(env, TrackingEnv) else (env.action_low, env.action_high)

    def forward(self, obs: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
        targets = self._agent.policy(self._agent.obs_norm.normalize(obs), *more)
        if self._bounds is not None:
            targets = torch.minimum(torch.maximum(targets, self._bounds[0]), self._bounds[1])
        return (targets - self._default) / self._scale, targets


class Moments:
    """Makes the views of an env of raw states and of the clip ``clip`` of its library; ``n`` rows, one in a graph."""

    def __init__(self, env: ImitationEnv, clip: int, sizes: Mapping[str, tuple[int, ...]]) -> None:
        """``sizes`` of all inputs that there are, by the names in :mod:`.format`."""
        self.env, self._clip, self._sizes = env, clip, sizes
        self._steps = list(dict.fromkeys(step for part in env.parts for step in part.target_steps))  # as in the window
        everything = torch.arange(env.character.num_bodies)
        self._bodies = everything if env.tracked_bodies is None else env.tracked_bodies  # that the reference shows
        self._ahead: float | None = None  # steps from the time of an input to the frame that actions are offsets from
        if isinstance(env, TrackingEnv) and env.config.action_about == "reference":
            self._ahead, self._middle = 0.0, env.facts.default
        for part in env.parts:
            if isinstance(part, AboutReference):
                self._ahead, self._middle = 1.0, part._middle

    def view(self, given: Tensors) -> View:
        """The moment of these inputs. Those that nobody looks at may be missing; forces are NaN then."""
        env, inputs = self.env, self._completed(given)
        state, time = self._state(inputs), inputs["time_step"][:, 0] * env.control_dt
        if isinstance(env, TrackingEnv):
            time = time - env.control_dt  # what is to be reached is one step ahead
        ids = torch.full_like(time, self._clip, dtype=torch.int64)
        rotations = torch.cat([state.root_rot.unsqueeze(-2), env.character.dof_to_rot(state.dof_pos)], dim=-2)
        character = CharacterState.posed(
            env.character, env._key_bodies, state.root_pos, rotations, state.root_vel, state.root_ang_vel,
            state.dof_vel,
        )  # fmt: skip
        view = View(
            time=time, motion_ids=ids, motion_time=time, clip_end=torch.full_like(time, torch.inf),
            character=character, ground_contact_forces=inputs["ground_contact_forces"],
        )  # fmt: skip
        if isinstance(env, TrackingEnv):
            view.moment = self._moment(env, state, inputs)
        if env.reference is not None:
            times = time.unsqueeze(-1) + torch.tensor([0, *self._steps]) * env.control_dt  # looked up together
            found = env.reference.at(ids.unsqueeze(-1).expand_as(times), times)
            frames = [found.map(partial(torch.select, dim=1, index=k)) for k in range(1 + len(self._steps))]
            view.reference, view.targets = frames[0], frames[1:]
        return view

    def reference(self, time_step: Tensor) -> tuple[Tensor, ...]:
        """Joints ``[n, D]`` twice, then position, quaternion (wxyz) and velocities ``[n, K, .]`` of the bodies."""
        pose = self._frame(time_step[:, 0])
        return (
            pose.dof_pos, pose.dof_vel, pose.body_pos, torch.roll(pose.body_rot, 1, dims=-1), pose.body_vel,
            pose.body_ang_vel,
        )  # fmt: skip

    @property
    def aims(self) -> bool:
        """Whether actions are offsets from the frame that comes next."""
        return self._ahead is not None

    def aim(self, time_step: Tensor) -> Tensor:
        """What is added to joint targets ``[n, D]`` then."""
        assert self._ahead is not None
        return self._frame(time_step[:, 0] + self._ahead).dof_pos - self._middle

    def _completed(self, given: Tensors) -> dict[str, Tensor]:
        n = len(next(iter(given.values())))
        missing = {name: size for name, size in self._sizes.items() if name not in given}
        blank = {n_: torch.full((n, *size), torch.nan if "forces" in n_ else 0.0) for n_, size in missing.items()}
        return {**blank, **given}

    def _state(self, inputs: Tensors) -> Pose:
        rot = torch.roll(inputs["base_quat"], -1, dims=-1)
        ang_vel = quat_rotate(rot, inputs["base_ang_vel"])
        return pose_of(
            self.env.character, self._bodies, inputs["base_pos"], rot, inputs["base_lin_vel"], ang_vel,
            inputs["dof_pos"], inputs["dof_vel"],
        )  # fmt: skip

    def _frame(self, time_step: Tensor) -> Pose:
        env = self.env
        if isinstance(env, TrackingEnv):
            frames = env.frames
            first, count = int(frames.first[self._clip]), int(frames.count[self._clip])
            return frames.read(frames.take(first + time_step.long().clamp(0, count - 1)))
        assert env.reference is not None
        ids = torch.full_like(time_step, self._clip, dtype=torch.int64)
        found = env.reference.library.query(ids, time_step * env.control_dt)
        return pose_of(
            env.character, self._bodies, found.root_pos, found.root_rot, found.root_vel, found.root_ang_vel,
            env.character.rot_to_dof(found.joint_rot), found.dof_vel, found.joint_rot,
        )  # fmt: skip

    def _moment(self, env: TrackingEnv, robot: Pose, inputs: Tensors) -> Moment:
        step = inputs["time_step"][:, 0]
        between = inputs["contact_forces"] - inputs["ground_contact_forces"]
        return Moment(
            env.facts, robot, self._frame(step - 1.0), self._frame(step), inputs["last_actions"],
            inputs["previous_actions"], torch.linalg.vector_norm(between, dim=-1).amax(-1, keepdim=True),
            torch.zeros_like(robot.dof_pos),
        )  # fmt: skip


class Observer(nn.Module):
    """Raw state to the observation ``[n, O]``, by the env's own terms. The inputs are those of ``names``, in order.

    Where terms show their past, ``history`` has the readings of the steps before, and the readings are put out too.
    """

    def __init__(self, moments: Moments, names: list[str]) -> None:
        super().__init__()
        self._moments, self.names = moments, names
        frames = moments.env.sensing.frames
        self.outputs = ["obs", *["readings"] * (frames is not None)]

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip(self.names, values, strict=True))
        view, blocks = self._moments.view(inputs), list[Tensor]()
        for part in seen(self._moments.env):
            if isinstance(part, Task):
                blocks.append(inputs["command"])
            elif isinstance(part, LastAction):
                blocks.append(inputs["last_actions"])
            else:
                blocks += part.observe(view, ALL)
        readings, sensing = torch.cat(blocks, dim=-1), self._moments.env.sensing
        if sensing.frames is None:
            return (readings,)
        frames = torch.cat([inputs["history"], readings], dim=-1)
        return frames.index_select(1, sensing.layout), readings


class Judge(nn.Module):
    """Raw state after a step to the env's reward ``[n]`` and whether it counts as a failure ``[n]``.

    With a ``task`` whose goal is an input, also to what the policy sees of it next, the command ``[n, C]``.
    """

    def __init__(self, moments: Moments, names: list[str], task: GoalTask | None) -> None:
        super().__init__()
        self._moments, self._names, self._task = moments, names, task
        self.outputs = ["reward", "failed", *["command"] * (task is not None)]

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip(self._names, values, strict=True))
        view = self._moments.view(inputs)
        if self._task is None:
            return self._judged(view)
        with _aimed(self._task, inputs["goal"], inputs["previous_base_pos"]):
            return (*self._judged(view), torch.cat(self._task.observe(view, ALL), dim=-1))

    def _judged(self, view: View) -> tuple[Tensor, Tensor]:
        env = self._moments.env
        reward = torch.zeros_like(view.time) if env._reward is None else env._reward(view)
        failed = torch.zeros_like(view.time, dtype=torch.bool)
        for part in env.parts:
            for mask in part.failure(view).values():
                failed = failed | mask
        return reward, failed


@contextmanager
def _aimed(task: GoalTask, goal: Tensor, before: Tensor) -> Iterator[None]:
    """Context in which ``task`` has this goal, and the root was ``before`` there one step ago."""
    given = {task.goal_name: goal, "prev_root_pos": before}
    kept = {name: getattr(task, name) for name in given}
    vars(task).update(given)
    try:
        yield
    finally:
        vars(task).update(kept)


class Whole(nn.Module):
    """The graph of a file: from ``names`` to actions, the reference where it is ``shown``, and joint targets."""

    def __init__(self, policy: Policy, names: list[str], observer: Observer | None, shown: Moments | None) -> None:
        """``observer`` makes the observation of raw values; without one it is an input."""
        super().__init__()
        self._policy, self._names, self._observer, self._shown = policy, names, observer, shown

    @property
    def outputs(self) -> list[str]:
        reference = REFERENCE if self._shown is not None else ()
        return ["actions", *reference, TARGETS, *([] if self._observer is None else self._observer.outputs[1:])]

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip(self._names, values, strict=True))
        observer = self._observer
        obs = (inputs["obs"],) if observer is None else observer(*(inputs[name] for name in observer.names))
        actions, targets = self._policy(obs[0], *(inputs[name] for name in self._policy.further))
        if self._shown is not None and self._shown.aims:
            targets = targets + self._shown.aim(inputs["time_step"])
        reference = () if self._shown is None else self._shown.reference(inputs["time_step"])
        return (actions, *reference, targets, *obs[1:])


def seen(env: ImitationEnv) -> list[Part]:
    """What the policy observes, in its order."""
    return [part for part in env.parts if part.obs_size and not part.privileged]


def check_memory(env: ImitationEnv) -> None:
    """UserError for an observation that a moment does not tell."""
    for part in seen(env):
        if not isinstance(part, Task | LastAction) and part.state_dict():
            name = getattr(part, "name", "") or type(part).__name__
            raise UserError(f"env.observations.{name}: remembers more than a moment tells, which a graph does not")
