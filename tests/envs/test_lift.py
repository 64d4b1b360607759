"""Starts of a clip that is in the floor: the simulator begins above it, and the reference stays where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mimickit_hydra.checks.check import validate
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.motion.clip import load_clip, save_clip
from mimickit_hydra.motion.geometry import SupportPoints
from mimickit_hydra.training.build import build

WORDS = ["character=humanoid", "engine=mujoco", "num_envs=16", "rand_seed=1", "engine.num_threads=1"]
SUNK = 0.1  # m


@pytest.fixture(scope="module")
def sunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The walk, ten centimetres below where it is."""
    clip = load_clip(resolve_data_file("data/motions/humanoid/humanoid_walk.npz"))
    clip.frames[:, 2] -= SUNK
    path = tmp_path_factory.mktemp("clips") / "sunk.npz"
    save_clip(path, clip)
    return path


def started(clip: Path, *words: str) -> tuple[ImitationEnv, torch.Tensor]:
    """An env at sixteen times of the clip, without disturbances, and the lowest point ``[16]`` m of each character."""
    parts = build(to_run(compose([*WORDS, f"env.motion_file={clip}", *words])), Comm(), torch.device("cpu"))
    env = parts.env
    env.set_mode(True)
    library = env.reference.library
    env.reset_to(torch.zeros(16, dtype=torch.int64), torch.linspace(0.0, 0.99, 16) * library.lengths[0])
    state = env.engine.states[0]
    lowest = SupportPoints(parts.character).lowest(state.body_pos, state.body_rot)[..., 2].amin(dim=1)
    parts.close()
    return env, lowest


@pytest.mark.parametrize("method", ["tracking", "deepmimic"])
def test_no_start_is_in_the_floor(sunk: Path, method: str) -> None:
    words = [f"method={method}", *(["env.lift_starts=true"] if method == "deepmimic" else [])]
    env, lowest = started(sunk, *words)
    assert float(lowest.min()) > -1e-3
    assert float(lowest.max()) < 5e-3  # lifted by no more than it takes
    as_it_is, deep = started(sunk, f"method={method}", "env.lift_starts=false")
    assert float(deep.max()) < -0.8 * SUNK
    # What is followed is the clip as it is.
    for mine, others in zip(env.reference_pose(), as_it_is.reference_pose(), strict=True):
        torch.testing.assert_close(mine, others)
    if method == "tracking":
        torch.testing.assert_close(env._now, as_it_is._now)


def test_a_start_above_the_floor_is_left_alone(sunk: Path) -> None:
    clip = load_clip(sunk)
    clip.frames[:, 2] += SUNK + 0.05
    path = sunk.parent / "floats.npz"
    save_clip(path, clip)
    ends = [started(path, "method=tracking", f"env.lift_starts={lift}")[0].engine.states[0] for lift in (True, False)]
    assert np.array_equal(ends[0].root_pos, ends[1].root_pos)


def test_mjlabs_starts_are_not_lifted_but_where_it_is_said(sunk: Path) -> None:
    mjlab = "env.compatible=mjlab"
    for words, lifts in (([], True), ([mjlab], False), ([mjlab, "env.lift_starts=true"], True)):
        run = to_run(compose([*WORDS, "method=tracking", *words]))
        validate(run)
        assert run.env.lifts_starts is lifts
