"""Measure a policy over whole episodes, write ``metrics.json``, and film one of them beside its reference."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.envs.done import DONE_NULL
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.runtime.metrics import ERRORS, TestMetrics, write_metrics
from mimickit_hydra.runtime.pose_error import PoseError
from mimickit_hydra.runtime.trajectory import Trajectory

MAX_FILM_SECONDS = 10.0


class Testable(Protocol):
    """What :func:`evaluate` needs: the policy, its environments and the asset to draw."""

    agent: Agent
    env: ImitationEnv
    char_file: str


class Film:
    """Records environment 0, character and reference, frame by frame in preallocated arrays."""

    def __init__(self, env: ImitationEnv, max_frames: int) -> None:
        self._env = env
        dofs = env.character.num_dofs
        self._sim = np.zeros((max_frames, 7 + dofs), dtype=np.float32)
        self._ref = np.zeros((max_frames, 7 + dofs), dtype=np.float32)
        self.frames = 0

    @property
    def full(self) -> bool:
        return self.frames == len(self._sim)

    def record(self) -> None:
        """Add the present moment; does nothing once the film is full."""
        if self.full:
            return
        state = self._env.engine.states[0]
        self._sim[self.frames] = _row(state.root_pos, state.root_rot, state.dof_pos)
        self._ref[self.frames] = _row(*self._env.reference_pose())
        self.frames += 1

    def trajectories(self) -> tuple[Trajectory, Trajectory]:
        """Character and reference as recorded."""
        return _trajectory(self._sim[: self.frames]), _trajectory(self._ref[: self.frames])


def _row(root_pos: Tensor, root_rot: Tensor, dof_pos: Tensor) -> np.ndarray:
    return torch.cat([root_pos[0], root_rot[0], dof_pos[0]]).cpu().numpy()


def _trajectory(rows: np.ndarray) -> Trajectory:
    return Trajectory(root_pos=rows[:, :3].copy(), root_rot=rows[:, 3:7].copy(), dof_pos=rows[:, 7:].copy())


@torch.no_grad()
def evaluate(
    parts: Testable,
    run_dir: Path,
    *,
    episodes: int,
    video: bool,
) -> dict[str, float]:
    """Test the deterministic policy until every environment has finished its share of ``episodes``.

    Writes ``run_dir/metrics.json`` and, with ``video``, ``run_dir/video.mp4``; returns the metrics. The environments
    start anew, so this comes after training.
    """
    agent, env = parts.agent, parts.env
    metrics = TestMetrics(env.num_envs, env.control_dt, env.device)
    film = Film(env, round(MAX_FILM_SECONDS / env.control_dt)) if video else None
    compared = PoseError(env) if env.has_goal_pose else None
    env.set_mode(True)
    try:
        _roll(agent, env, metrics, film, compared, episodes)
    finally:
        env.set_mode(False)
    result = metrics.result()
    if compared is not None:
        result["dtw_pose_err"] = compared.result()
    else:
        result = {name: value for name, value in result.items() if name not in ERRORS}
    write_metrics(run_dir / "metrics.json", {**result, "samples": agent.samples, "iteration": agent.iteration})
    if film is not None and film.frames:
        _render(film, parts, run_dir)
    return result


def _roll(
    agent: Agent, env: ImitationEnv, metrics: TestMetrics, film: Film | None, compared: PoseError | None, episodes: int
) -> None:
    share = -(-episodes // env.num_envs)
    finished = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    env.reset()
    while int(finished.min()) < share:
        if film is not None:
            film.record()
        action = agent.act(env.obs, deterministic=True)
        _, reward, done, _ = env.step(action)
        view = env.latest
        assert view is not None
        reference = view.character if view.reference is None else view.reference
        metrics.record(action, reward, done, view.character, reference)
        if compared is not None:
            compared.record(done)
        ended = done != DONE_NULL
        finished += ended
        env.reset(ended)


def _render(film: Film, parts: Testable, run_dir: Path) -> None:
    from mimickit_hydra.runtime.video import render_video

    character, reference = film.trajectories()
    shown = reference if parts.env.has_goal_pose else None
    try:
        report = render_video(
            run_dir / "video.mp4", parts.char_file, character, shown, fps=round(1.0 / parts.env.control_dt)
        )
        for line in report.warnings:
            print(f"warning: {line}", flush=True)
    except (UserError, OSError) as error:  # the run's numbers are safe; a missing picture must not fail it
        print(f"warning: no video was written: {error}", flush=True)
