"""The time-warped pose error by value, and what it makes of lag, loss and a turned character."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL, DONE_TIME
from mimickit_hydra.motion.rotations import axis_angle_to_quat, heading_quat_inv, quat_rotate
from mimickit_hydra.training.pose_error import PoseError, warped_error


def brute_force(cost: np.ndarray) -> float:
    """Mean cost of the cheapest of all monotone paths."""
    best = (math.inf, 0)
    rows, columns = cost.shape

    def walk(i: int, j: int, total: float, pairs: int) -> None:
        nonlocal best
        total, pairs = total + cost[i, j], pairs + 1
        if (i, j) == (rows - 1, columns - 1):
            best = min(best, (total, pairs))
            return
        for di, dj in ((1, 1), (1, 0), (0, 1)):
            if i + di < rows and j + dj < columns:
                walk(i + di, j + dj, total, pairs)

    walk(0, 0, 0.0, 0)
    return best[0] / best[1]


def test_against_all_paths() -> None:
    generator = torch.Generator().manual_seed(0)
    poses, reference = torch.randn(2, 3, 5, 2, 3, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([5, 3, 1])
    found = warped_error(poses, reference, lengths)
    for episode, length in enumerate(lengths.tolist()):
        cost = np.empty((length, length))
        for i, j in itertools.product(range(length), repeat=2):
            cost[i, j] = (poses[episode, i] - reference[episode, j]).norm(dim=-1).mean()
        assert float(found[episode]) == pytest.approx(brute_force(cost))


def walking(phase: torch.Tensor) -> torch.Tensor:
    """Two feet that swing, [1, T, 2, 3]."""
    zero = torch.zeros_like(phase)
    return torch.stack(
        [torch.stack([phase.sin(), zero, zero], -1), torch.stack([-phase.sin(), zero, zero], -1)], -2
    ).unsqueeze(0)


def test_a_lag_is_forgiven_and_standing_is_not() -> None:
    time = torch.arange(100) * 0.2
    late = time - 0.6 * torch.sin(time / 20.0 * math.pi).clamp(min=0.0)
    lengths = torch.tensor([100])
    in_step = float(warped_error(walking(late), walking(time), lengths))
    standing = float(warped_error(walking(torch.zeros_like(time)), walking(time), lengths))
    assert in_step < 0.05
    assert standing > 0.4
    assert float(warped_error(walking(time), walking(time), lengths)) == 0.0


def character(root_rot: torch.Tensor, root_pos: torch.Tensor, shape: torch.Tensor) -> SimpleNamespace:
    """Bodies of ``shape`` [N, B, 3] around a root that is turned and moved."""
    body_pos = quat_rotate(root_rot.unsqueeze(-2), shape) + root_pos.unsqueeze(-2)
    return SimpleNamespace(root_pos=root_pos, body_pos=body_pos, heading_inv=heading_quat_inv(root_rot))


def test_recording_ignores_heading_and_place_and_stops_at_the_end_of_an_episode() -> None:
    generator = torch.Generator().manual_seed(0)
    env = SimpleNamespace(num_envs=2, device=torch.device("cpu"), latest=None)
    compared = PoseError(env)  # type: ignore[arg-type]
    assert math.isnan(compared.result())
    up = torch.tensor([0.0, 0.0, 1.0]).expand(2, 3)
    turned = axis_angle_to_quat(up, torch.tensor([1.0, -2.0]))
    straight = axis_angle_to_quat(up, torch.zeros(2))
    for step in range(4):
        shape = torch.randn(2, 3, 3, generator=generator)
        shown = shape.clone()
        if step == 3:
            shown[0] += 10.0  # of the next episode of environment 0
        shown[1, :, 2] += 0.5
        env.latest = SimpleNamespace(
            character=character(turned, torch.randn(2, 3, generator=generator), shown),
            reference=character(straight, torch.zeros(2, 3), shape),
        )
        done = [DONE_NULL, DONE_NULL] if step < 2 else [DONE_FAIL, DONE_NULL] if step == 2 else [DONE_NULL, DONE_TIME]
        compared.record(torch.tensor(done))
    assert compared.result() == pytest.approx(0.25, abs=1e-5)  # nothing for the first, half a metre for the second
