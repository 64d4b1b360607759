"""Test metrics by value: two environments, episodes that end at different times."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL, DONE_SUCC, DONE_TIME
from mimickit_hydra.training.metrics import TestMetrics, write_metrics

DT = 0.1
N, J, B, D = 2, 2, 3, 4


def state(root_x: list[float], joint_angle: float = 0.0, dof_vel: torch.Tensor | None = None) -> Any:
    """What is measured of characters that stand at ``root_x``, every joint turned by ``joint_angle`` about x."""
    n = len(root_x)
    identity = torch.tensor([0.0, 0.0, 0.0, 1.0])
    turned = torch.tensor([math.sin(joint_angle / 2), 0.0, 0.0, math.cos(joint_angle / 2)])
    root = torch.zeros(n, 3)
    root[:, 0] = torch.tensor(root_x)
    return SimpleNamespace(
        root_pos=root, root_rot=identity.repeat(n, 1), root_vel=torch.zeros(n, 3), root_ang_vel=torch.zeros(n, 3),
        joint_rot=turned.repeat(n, J, 1), dof_vel=torch.zeros(n, D) if dof_vel is None else dof_vel,
        body_pos=root.unsqueeze(1).repeat(1, B, 1), body_rot=identity.repeat(n, B, 1),
    )  # fmt: skip


def run(dones: list[list[int]], rewards: list[list[float]], actions: np.ndarray, vels: np.ndarray) -> TestMetrics:
    metrics = TestMetrics(N, DT)
    for step, (done, reward) in enumerate(zip(dones, rewards, strict=True)):
        sim = state([0.1 * step, 0.3], 0.5, torch.tensor(vels[step], dtype=torch.float32))
        metrics.record(
            torch.tensor(actions[step], dtype=torch.float32), torch.tensor(reward), torch.tensor(done), sim,
            state([0.0, 0.0]),
        )  # fmt: skip
    return metrics


def test_by_value() -> None:
    generator = np.random.default_rng(0)
    actions, vels = generator.normal(size=(6, N, 5)), generator.normal(size=(6, N, D))
    null = DONE_NULL
    # env 0: episodes of 3 steps (time) and 2 (fail), then one unfinished; env 1: 5 steps (success), then unfinished
    dones = [[null, null], [null, null], [DONE_TIME, null], [null, null], [DONE_FAIL, DONE_SUCC], [null, null]]
    rewards = [[1.0, 0.5], [2.0, 0.5], [3.0, 0.5], [4.0, 0.5], [5.0, 0.5], [1000.0, 1000.0]]
    result = run(dones, rewards, actions, vels).result()

    returns, lengths = np.array([6.0, 9.0, 2.5]), np.array([3, 2, 5])
    assert result["episodes"] == 3
    assert result["return"] == pytest.approx(returns.mean())
    assert result["return_std"] == pytest.approx(returns.std())
    assert result["episode_length"] == pytest.approx(lengths.mean())
    assert result["episode_length_std"] == pytest.approx(lengths.std())
    assert result["episode_seconds"] == pytest.approx(lengths.mean() * DT)
    assert result["success_rate"] == pytest.approx(2 / 3)
    # over the ten steps of whole episodes
    assert result["root_pos_err"] == pytest.approx((0.0 + 0.1 + 0.2 + 0.3 + 0.4 + 5 * 0.3) / 10, rel=1e-6)
    assert result["joint_rot_err"] == pytest.approx(0.5, rel=1e-5)
    assert result["body_pos_err"] == pytest.approx(0.0, abs=1e-7)
    assert result["root_vel_err"] == 0.0

    def jerk(env: int, step: int) -> float:
        return float(np.linalg.norm(actions[step, env] - 2 * actions[step - 1, env] + actions[step - 2, env]))

    def acceleration(env: int, step: int) -> float:
        return float(np.linalg.norm(vels[step, env] - vels[step - 1, env]) / DT)

    assert result["smoothness"] == pytest.approx(np.mean([jerk(0, 2), jerk(1, 2), jerk(1, 3), jerk(1, 4)]), rel=1e-5)
    pairs = [(0, 1), (0, 2), (0, 4), (1, 1), (1, 2), (1, 3), (1, 4)]
    assert result["dof_acceleration"] == pytest.approx(np.mean([acceleration(*pair) for pair in pairs]), rel=1e-5)
    kept = [vels[t, 0] for t in range(5)] + [vels[t, 1] for t in range(5)]
    assert result["dof_vel_err"] == pytest.approx(np.mean(np.abs(kept)), rel=1e-5)


def test_inputs_may_be_live_buffers() -> None:
    """The environment overwrites its tensors in place."""
    action, vel = torch.zeros(1, 2), torch.zeros(1, D)
    metrics = TestMetrics(1, 1.0)
    for step in range(3):
        action.fill_(float(step**2))
        vel.fill_(float(step))
        done = torch.tensor([DONE_TIME if step == 2 else DONE_NULL])
        metrics.record(action, torch.ones(1), done, state([0.0], dof_vel=vel), state([0.0]))
    result = metrics.result()
    assert result["smoothness"] == pytest.approx(2 * math.sqrt(2))
    assert result["dof_acceleration"] == pytest.approx(2.0)


def test_nothing_ended_is_null_in_the_file(tmp_path: Path) -> None:
    path = write_metrics(tmp_path / "metrics.json", {**TestMetrics(N, DT).result(), "model_file": "x.pt"})
    content = json.loads(path.read_text())
    assert content["episodes"] == 0
    assert content["return"] is None
    assert content["success_rate"] is None
    assert content["model_file"] == "x.pt"
    assert content["units"]["root_pos_err"] == "m"
