"""mjlab's side of ``peers.py``: its G1 tracking task with its own PPO, on the clip that both train on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from throughput import timed, wait

TASK = "Mjlab-Tracking-Flat-Unitree-G1"


def motion(clip: Path, folder: Path) -> str:
    """The clip as mjlab reads motions: body poses by MuJoCo's kinematics of its robot, velocities by differences."""
    import mujoco
    from mjlab.asset_zoo.robots import get_g1_robot_cfg
    from mjlab.entity import Entity

    from mimickit_hydra.engines.mujoco.model import exp_map_to_quat_wxyz
    from mimickit_hydra.motion.clip import load_clip

    found = load_clip(clip)
    model = Entity(get_g1_robot_cfg()).spec.compile()
    data = mujoco.MjData(model)
    qpos = np.concatenate(
        [found.frames[:, :3], exp_map_to_quat_wxyz(found.frames[:, 3:6]), found.frames[:, 6:]], axis=1
    )
    pos, quat = [], []
    for row in qpos:
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        pos.append(data.xpos[1:].copy())
        quat.append(data.xquat[1:].copy())
    poses, turns, dt = np.array(pos), np.array(quat), 1.0 / found.fps
    path = folder / "mjlab_motion.npz"
    np.savez(
        path, fps=[found.fps], joint_pos=qpos[:, 7:], joint_vel=np.gradient(qpos[:, 7:], dt, axis=0),
        body_pos_w=poses, body_quat_w=turns, body_lin_vel_w=np.gradient(poses, dt, axis=0),
        body_ang_vel_w=angular_velocity(turns, dt),
    )  # fmt: skip
    return str(path)


def angular_velocity(quat: np.ndarray, dt: float) -> np.ndarray:
    """World angular velocity of quaternions ``[T, B, 4]`` wxyz, in first order: ``2 dq/dt conj(q)``."""
    for k in range(1, len(quat)):
        quat[k] *= np.where((quat[k] * quat[k - 1]).sum(-1, keepdims=True) < 0.0, -1.0, 1.0)
    rate = np.gradient(quat, dt, axis=0)
    w, v = quat[..., :1], quat[..., 1:]
    return 2.0 * (w * rate[..., 1:] - rate[..., :1] * v - np.cross(rate[..., 1:], v))


def build(num_envs: int, device: str, clip: Path, folder: Path) -> tuple[Any, Any, Any]:
    """Its runner, its wrapped environment and its agent's settings."""
    import mjlab.tasks  # noqa: F401  (registers them)
    from mjlab.tasks.registry import load_rl_cfg, load_runner_cls
    from mjlab.utils.torch import configure_torch_backends

    configure_torch_backends()
    env, agent = environment(num_envs, device, clip, folder), load_rl_cfg(TASK)
    agent.logger, agent.upload_model = "tensorboard", False
    runner = load_runner_cls(TASK)(env, asdict(agent), str(folder / "mjlab"), device, registry_name=None)
    runner.save = lambda *_, **__: None
    return runner, env, agent


def environment(num_envs: int, device: str, clip: Path, folder: Path, play: bool = False) -> Any:
    """``play``: from the first frame, without what its training adds, and as long as the clip."""
    from mjlab.envs import ManagerBasedRlEnv
    from mjlab.rl import RslRlVecEnvWrapper
    from mjlab.tasks.registry import load_env_cfg

    cfg = load_env_cfg(TASK, play=play) if play else load_env_cfg(TASK)
    cfg.scene.num_envs = num_envs
    cfg.commands["motion"].motion_file = motion(clip, folder)
    return RslRlVecEnvWrapper(ManagerBasedRlEnv(cfg=cfg, device=device))


def train(num_envs: int, device: str, clip: Path, iterations: int, folder: Path) -> dict[str, Any]:
    """Samples per second of its training and of its bare physics, after it has warmed up."""
    began = time.perf_counter()
    runner, env, agent = build(num_envs, device, clip, folder)
    where, marks, update = torch.device(device), [], runner.alg.update
    built = time.perf_counter() - began

    def watched(*args: Any, **kwargs: Any) -> Any:
        wait(where)
        start = time.perf_counter()
        result = update(*args, **kwargs)
        wait(where)
        marks.append((start, time.perf_counter()))
        return result

    runner.alg.update = watched
    runner.learn(num_learning_iterations=2 * iterations, init_at_random_ep_len=True)
    ends = [end for _, end in marks]
    iteration = statistics.median(np.diff(ends)[-iterations:])
    samples, inner = num_envs * agent.num_steps_per_env / iteration, env.unwrapped

    def physics() -> None:
        for _ in range(30 * inner.cfg.decimation):
            inner.sim.step()

    physics()
    bare = num_envs * 30 / statistics.median(timed(physics, where) for _ in range(3))
    env.close()
    return {
        "samples_per_s": samples, "sim_seconds_per_s": samples * inner.step_dt, "bare_samples_per_s": bare,
        "ratio": samples / bare, "iteration_s": iteration, "steps_per_iter": agent.num_steps_per_env,
        "update_s": statistics.median(end - start for start, end in marks[-iterations:]), "build_s": built,
    }  # fmt: skip


def race(
    num_envs: int, device: str, clip: Path, run: Callable[..., dict[str, Any]], episodes: int, folder: Path
) -> dict[str, Any]:
    """Training until no episode of a test fails; ``run`` is the clock of both sides."""
    runner, env, agent = build(num_envs, device, clip, folder)
    test_env = environment(episodes, device, clip, folder, play=True)
    first = True

    def iterate() -> None:
        nonlocal first
        runner.learn(num_learning_iterations=1, init_at_random_ep_len=first)
        first = False

    def test() -> float:
        from mimickit_hydra.motion.clip import load_clip

        policy = runner.get_inference_policy(device=device)
        failed = torch.zeros(episodes, dtype=torch.bool, device=device)
        steps = int(load_clip(clip).length / test_env.unwrapped.step_dt) - 1
        with torch.inference_mode():  # the reset too: what one test has stepped no other may change outside of it
            obs, _ = test_env.reset()
            for _ in range(steps):
                obs, *_ = test_env.step(policy(obs))
                failed |= test_env.unwrapped.termination_manager.terminated
        return float(failed.sum())

    found = run(iterate, test, num_envs * agent.num_steps_per_env)
    for one in (env, test_env):
        one.close()
    return found
