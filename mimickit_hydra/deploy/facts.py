"""What a file says of its policy: one table of ours with full numbers, and mjlab's keys made of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra import __version__
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.deploy.format import FORMAT
from mimickit_hydra.envs.imitation import CHARACTER, ImitationEnv
from mimickit_hydra.envs.rows import ALL
from mimickit_hydra.envs.tasks.task import GoalTask, Task
from mimickit_hydra.envs.track.env import TrackingEnv
from mimickit_hydra.motion.rotations import quat_rotate_inv
from mimickit_hydra.training.build import Parts

STARTS = 16
MOST_GOALS = 1000  # of an episode
_SEED = 0


def default_and_scale(env: ImitationEnv, init_pose: Any) -> tuple[Tensor, Tensor]:
    """The pose ``[D]`` that actions are counted from, and the angles ``[D]`` that an action of 1 adds, rad."""
    if isinstance(env, TrackingEnv):
        return env.facts.default, env._scale
    pose = [float(value) for value in init_pose[6:]] or [0.0] * env.character.num_dofs
    return torch.tensor(pose), 0.5 * (env.action_high - env.action_low)


def facts_of(parts: Parts, run: RunConfig, clip: int, scene: dict[str, Any], follows: bool) -> dict[str, Any]:
    """The table of a policy and its character; ``follows``: it looks at a reference, the clip ``clip``."""
    env, model = parts.env, parts.engine.models[CHARACTER]
    default, scale = default_and_scale(env, getattr(run.env, "init_pose", []))
    free = isinstance(env, TrackingEnv)
    names = env.character.body_names
    tracked = range(len(names)) if env.tracked_bodies is None else env.tracked_bodies.tolist()
    named = run.character.anchor_body
    anchor = env.anchor_body or (names.index(named) if named else 0)
    task = next((part for part in env.parts if isinstance(part, Task)), None)
    return {
        "format": FORMAT,
        "made_by": f"mimickit-hydra {__version__}",
        "method": run.agent.agent_name,
        "env": run.env.env_name,
        "character": run.character.name,
        "control_mode": parts.engine.control_mode,
        "control_freq": run.engine.control_freq,
        "sim_freq": run.engine.sim_freq,
        "joint_names": env.character.dof_columns(),
        "joint_stiffness": model.kp.tolist(),
        "joint_damping": model.kd.tolist(),
        "torque_limits": model.torque_limits.tolist(),
        "default_joint_pos": _numbers(default),
        "action_scale": _numbers(scale),
        "target_low": None if free else _numbers(env.action_low),
        "target_high": None if free else _numbers(env.action_high),
        "joint_low": np.asarray(model.dof_low).tolist(),
        "joint_high": np.asarray(model.dof_high).tolist(),
        "observations": [
            {"name": one.name, "size": one.size, "history": one.history} for one in env.sensing.channels
        ],
        "obs_size": env.obs_size,
        "command_names": ["motion"] * follows + ([type(task).__name__.lower()] if task is not None else []),
        "command_size": task.obs_size if task is not None else 0,
        "goal_size": goal_size(task),
        "goal_about_base": isinstance(task, GoalTask) and task.goal_about_root,
        "latents": dict(parts.agent.policy_inputs).get("latents", 0),
        "latent_time": [getattr(run.agent, f"latent_time_{end}", 0.0) for end in ("min", "max")],
        "anchor_body_name": names[anchor],
        "body_names": [names[body] for body in tracked],
        "clip": _clip(env, clip),
        "first_time_step": int(free),
        "episode_length": run.env.episode_length,
        "clip_end": _clip_end(env, clip),
        "clip_end_is": env._clip_end,
        "starts": _starts(env, clip, task, run.env.episode_length),
        "scene": scene,
    }  # fmt: skip


def _numbers(values: Tensor) -> list[float]:
    return [float(value) for value in values]


def _clip(env: ImitationEnv, clip: int) -> dict[str, Any] | None:
    if env.reference is None:
        return None
    library = env.reference.library
    return {
        "name": library.names[clip], "seconds": float(library.lengths[clip]), "repeats": bool(library.loop_modes[clip]),
        "frames": int(library.num_frames[clip]), "fps": float(library.fps[clip]),
    }  # fmt: skip


def _clip_end(env: ImitationEnv, clip: int) -> float | None:
    end = float(env.reference.clip_end[clip]) if env.reference is not None else np.inf
    return end if env._clip_end is not None and np.isfinite(end) else None


def goal_size(task: Task | None) -> int:
    """How many numbers the goal of ``task`` has, if that is all there is to it."""
    return task.goal_size if isinstance(task, GoalTask) else 0


def _starts(env: ImitationEnv, clip: int, task: Task | None, length: float) -> list[dict[str, Any]]:
    """States in which episodes start: the first frame of the clip, and some that a test draws; with goals of each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return [{**_start(env, clip, first=k == 0), "goals": _goals(env, task, length)} for k in range(STARTS)]


def _goals(env: ImitationEnv, task: Task | None, length: float) -> list[dict[str, Any]]:
    """The goals of an episode that has just begun, drawn as the env draws them, each until its time (s)."""
    if not isinstance(task, GoalTask):
        return []
    view = env._view(ALL)
    place = view.character.root_pos[:, :2] if task.goal_about_root else 0.0
    goal, until = getattr(task, task.goal_name), task.change_time
    goals: list[dict[str, Any]] = [{"until": float(until), "goal": _numbers((goal - place)[0])}]
    while goals[-1]["until"] < length and len(goals) < MOST_GOALS:
        goal, until = task.new_goal(replace(view, time=until), task.draw())
        goals.append({"until": float(until), "goal": _numbers((goal - place)[0])})
    return goals


def _start(env: ImitationEnv, clip: int, first: bool) -> dict[str, Any]:
    if env.reference is None:
        env.reset()
    else:
        end = float(env.reference.library.lengths[clip])
        env.reset_to(torch.tensor([clip]), torch.zeros(1) if first else env.reference.draw(1)[1].clamp(max=end))
    state, steps = env.engine.states[CHARACTER], float(env.motion_time) / env.control_dt
    return {
        "time_step": round(steps) + 1.0 if isinstance(env, TrackingEnv) else steps,
        "time": float(env.motion_time),
        "base_pos": _numbers(state.root_pos[0]),
        "base_quat": _numbers(torch.roll(state.root_rot[0], 1)),
        "base_lin_vel": _numbers(state.root_vel[0]),
        "base_ang_vel": _numbers(quat_rotate_inv(state.root_rot, state.root_ang_vel)[0]),
        "dof_pos": _numbers(state.dof_pos[0]),
        "dof_vel": _numbers(state.dof_vel[0]),
    }


def mjlab_keys(facts: dict[str, Any], run_path: str) -> dict[str, str]:
    """The keys that mjlab writes, as it writes them: lists with commas, numbers with three decimals."""
    count = len(facts["observations"])
    lists = {
        "joint_names": facts["joint_names"],
        "joint_stiffness": facts["joint_stiffness"],
        "joint_damping": facts["joint_damping"],
        "default_joint_pos": facts["default_joint_pos"],
        "command_names": facts["command_names"],
        "observation_names": [term["name"] for term in facts["observations"]],
        "observation_terms_scale": [1.0] * count,
        "observation_terms_flatten_history_dim": [1.0] * count,
        "observation_terms_history_length": [
            float(term["history"]) if term["history"] > 1 else 0.0 for term in facts["observations"]
        ],
        "observation_terms_clip": ["-inf;inf"] * count,
        "action_scale": facts["action_scale"],
        "body_names": facts["body_names"],
    }
    texts = {name: ",".join(_text(value) for value in values) for name, values in lists.items()}
    return {"run_path": run_path, **texts, "anchor_body_name": facts["anchor_body_name"]}


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
