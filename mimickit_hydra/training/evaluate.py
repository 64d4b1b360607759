"""Tests a policy over whole episodes, writes ``metrics.json``, and films an episode beside its reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.envs.done import DONE_NULL
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.envs.schema import CharEnvConfig
from mimickit_hydra.motion.trajectory import Trajectory
from mimickit_hydra.training.build import Parts
from mimickit_hydra.training.each_clip import CLIPS_FILE, ClipMetrics, play_clips, summary, write_clips
from mimickit_hydra.training.loggers import only_shows
from mimickit_hydra.training.metrics import ERRORS, TestMetrics, write_metrics
from mimickit_hydra.training.pose_error import PoseError

MAX_FILM_SECONDS = 10.0
FILMED = 3  # clips of a set: the hardest


class Film:
    """Records one environment, character and reference, frame by frame in preallocated arrays."""

    def __init__(self, env: ImitationEnv, max_frames: int, row: int = 0, skip: int = 0) -> None:
        """The first ``skip`` moments are not recorded."""
        self._env, self._row, self._skip = env, row, skip
        dofs = env.character.num_dofs
        self._rows = np.zeros((2, max_frames, 7 + dofs), dtype=np.float32)
        self.frames = 0

    def record(self) -> None:
        """Add the present moment; does nothing once the film is full."""
        if self._skip > 0:
            self._skip -= 1
            return
        if self.frames == self._rows.shape[1]:
            return
        state = self._env.engine.states[0]
        poses = (state.root_pos, state.root_rot, state.dof_pos), self._env.reference_pose()
        for rows, pose in zip(self._rows, poses, strict=True):
            rows[self.frames] = torch.cat([part[self._row] for part in pose]).cpu().numpy()
        self.frames += 1

    def trajectories(self) -> list[Trajectory]:
        """The recorded motions of the character and of the reference."""
        return [Trajectory(*np.split(rows[: self.frames], [3, 7], axis=1)) for rows in self._rows]


@torch.no_grad()
def evaluate(
    parts: Parts, run_dir: Path, *, episodes: int, video: bool, look: CharEnvConfig | None = None
) -> dict[str, Any]:
    """Test the deterministic policy: on each clip of a set from its first frame to its end, else over ``episodes``.

    Writes ``run_dir/metrics.json`` and, with ``video``, ``run_dir/video.mp4``, for a set also ``clips.csv`` and films
    of the hardest clips; returns the metrics. The environments start anew, so this comes after training.
    """
    agent, env = parts.agent, parts.env
    metrics = TestMetrics(env.num_envs, env.control_dt, env.device)
    env.set_mode(True)
    try:
        if env.tests_each_clip:
            result, films = _test_clips(agent, env, metrics, run_dir, video)
        else:
            result, films = _test_episodes(agent, env, metrics, episodes, video)
    finally:
        env.set_mode(False)
    write_metrics(run_dir / "metrics.json", {**result, "samples": agent.samples, "iteration": agent.iteration})
    for number, (label, film) in enumerate(films, 1):
        name = "video.mp4" if number == 1 else f"video_{number}.mp4"
        if film.frames:
            _render(film, parts, run_dir / name, look, label)
    return result


Films = list[tuple[str, Film]]  # with what each shows


def _test_episodes(
    agent: Agent, env: ImitationEnv, metrics: TestMetrics, episodes: int, video: bool
) -> tuple[dict[str, Any], Films]:
    """Every environment finishes its share of ``episodes``."""
    film = Film(env, round(MAX_FILM_SECONDS / env.control_dt)) if video else None
    compared = PoseError(env) if env.has_goal_pose else None
    _roll(agent, env, metrics, film, compared, episodes)
    result: dict[str, Any] = dict(metrics.result())
    if compared is not None:
        result["dtw_pose_err"] = compared.result()
    else:
        result = {name: value for name, value in result.items() if name not in ERRORS}
    return result, [("policy", film)] if film is not None else []


def _test_clips(
    agent: Agent, env: ImitationEnv, metrics: TestMetrics, run_dir: Path, video: bool
) -> tuple[dict[str, Any], Films]:
    """Each clip is played once, and the hardest again for the films."""
    assert env.reference is not None
    clips = ClipMetrics(env)

    def watch(action: Tensor, reward: Tensor, done: Tensor) -> None:
        view = env.latest
        assert view is not None
        assert view.reference is not None
        metrics.record(action, reward, done, view.character, view.reference)
        clips.record(reward, done)

    play_clips(agent, env, range(env.reference.library.num_motions), watch)
    rows = clips.rows()
    write_clips(run_dir / CLIPS_FILE, rows)
    result = {**metrics.result(), **summary(rows), "clips": rows}
    films = [film for row in rows[:FILMED] for film in _film_clip(agent, env, row)] if video else []
    return result, films


def _film_clip(agent: Agent, env: ImitationEnv, row: dict[str, Any]) -> Films:
    """Film a clip again: its first seconds, or its last before a failure."""
    assert env.reference is not None
    most = round(MAX_FILM_SECONDS / env.control_dt)
    failed = 0 if row["success"] else round(row["failure_time"] / env.control_dt)
    film = Film(env, most, skip=max(0, failed - most))
    env.play(torch.full_like(env.motion_ids, row["id"]))
    while int(env.done[0]) == DONE_NULL and film.frames < most:
        film.record()
        env.step(agent.act(env.obs, deterministic=True))
    return [(row["clip"], film)]


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


def _render(film: Film, parts: Parts, out: Path, look: CharEnvConfig | None, label: str) -> None:
    from mimickit_hydra.view.video import render_video

    character, reference = film.trajectories()
    shown = reference if parts.env.has_goal_pose and getattr(look, "visualize_ref_char", True) else None
    x, y, z = getattr(look, "ref_char_offset", (2.0, 0.0, 0.0))
    with only_shows("no video was written"):
        report = render_video(
            out, parts.char_file, character, shown, fps=round(1.0 / parts.env.control_dt), offset=(x, y, z),
            labels=(label, "reference"), camera_mode=getattr(look, "camera_mode", "track"),
        )  # fmt: skip
        for line in report.warnings:
            print(f"warning: {line}", flush=True)
