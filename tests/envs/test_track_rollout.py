"""Whole steps of the tracking env on MuJoCo, its observations, rewards and ends beside those of mjlab's own rollout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from env_test_tools import GOLDEN
from torch import Tensor

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.engines.interface import ResetState
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL, DONE_TIME
from mimickit_hydra.envs.rows import ALL
from mimickit_hydra.envs.track.env import TrackingEnv
from mimickit_hydra.motion.clip import LoopMode, MotionClip, save_clip
from mimickit_hydra.motion.rotations import quat_rotate, quat_to_exp_map
from mimickit_hydra.training.build import build

MADE = dict(np.load(GOLDEN / "tracking_rollout.npz"))
ENVS, LAST = 6, 206  # and the clip's last frame
ENDING = 5  # fails at once
TIMED, TIMED_AT = 3, 4  # its 10 s are over at this step
AT_THE_END, WRAPS_AT = 2, 3  # sees the clip's last frame before this step
FOLLOWED = (0, 1, 4)  # rows that nothing happens to
DT = 0.02
# mjlab rewards bodies as they were 5 ms before, and MuJoCo has no history of contacts within a step.
LATE = 0.09


def read(name: str) -> Tensor:
    return torch.tensor(MADE[name])


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingEnv]:
    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp("clips") / "golden.npz"
    root = quat_to_exp_map(read("clip/body_quat")[:, 0])
    frames = torch.cat([read("clip/body_pos")[:, 0], root, read("clip/joint_pos")], dim=-1).numpy()
    save_clip(path, MotionClip(frames, 1.0 / DT, LoopMode.CLAMP, "golden"))
    names = ("motion_anchor_pos_b", "motion_anchor_ori_b", "base_lin_vel", "base_ang_vel", "joint_pos", "joint_vel")
    words = [
        "method=tracking", "character=g1_mjlab", f"env.motion_file={path}", f"num_envs={ENVS}", "engine.num_threads=1",
        "env.compatible=mjlab", "env.sampling=mjlab", "env.events.push=null", "env.events.encoder_bias=null",
        *(f"env.observations.{name}.noise=0" for name in names),
    ]  # fmt: skip
    with build(to_run(compose(words)), Comm(), torch.device("cpu")) as parts:
        begin(parts.env)
        yield parts.env


def begin(env: TrackingEnv) -> None:
    """Put everything where mjlab's rollout begins: off the reference, ``init/frame`` is the next to be reached."""
    env.reset_to(torch.zeros(ENVS, dtype=torch.int64), (read("init/frame") - 1) * DT)
    rot = read("init/root_quat")
    spin = quat_rotate(rot, read("init/root_ang_vel_body"))
    start = ResetState(
        read("init/root_pos"), rot, read("init/root_lin_vel"), spin, read("init/joint_pos"), read("init/joint_vel")
    )
    env.engine.reset(torch.ones(ENVS, dtype=torch.bool), {0: start})
    steps = read("init/episode_step")
    env.timestep.copy_(steps)
    env.start_times.sub_(steps * DT)  # so that the clip is where it is
    env._update_time()
    env._note_anchor(ALL)


def test_every_step_is_mjlabs(env: TrackingEnv) -> None:
    names = [str(name) for name in MADE["reward_names"]]
    assert [term.name for _, term in env._reward._terms] == names
    rows = list(range(ENVS))
    for step, action in enumerate(read("in/action")):
        env.step(env.facts.default + env._scale * action)
        wanted = {ENDING: DONE_FAIL} if step == 0 else {TIMED: DONE_TIME} if step == TIMED_AT else {}
        assert env.done[rows].tolist() == [wanted.get(row, DONE_NULL) for row in rows], step
        rates = read("out/reward_rate")[step]
        for column, (weight, term) in enumerate(env._reward._terms):
            name, found, theirs = term.name, (weight / DT * term(env.latest))[rows], rates[rows, column]
            if name == "self_collisions":
                continue
            close = LATE if name.startswith("motion") else 1e-3
            torch.testing.assert_close(found, theirs, atol=close, rtol=0.0, msg=f"{name} at step {step}")
        rows = [row for row in rows if row not in wanted and not (row == AT_THE_END and step + 1 == WRAPS_AT)]
        frame = (env.motion_time / DT).round().long() + 1  # the next to be reached
        assert frame[rows].tolist() == read("out/frame")[step][rows].tolist()
        for ours, theirs in ((env.obs, "actor_obs"), (env.critic_obs, "critic_obs")):
            torch.testing.assert_close(ours[rows], read(f"out/{theirs}")[step][rows], atol=2e-3, rtol=1e-3, msg=theirs)
    assert tuple(rows) == FOLLOWED


def test_mjlabs_way_goes_on_elsewhere_beyond_the_last_frame(env: TrackingEnv) -> None:
    begin(env)
    for step, action in enumerate(read("in/action")[: WRAPS_AT + 1]):
        before = int(env._row[AT_THE_END])
        env.step(env.facts.default + env._scale * action)
        assert int(env.done[AT_THE_END]) == DONE_NULL, step
    assert before == LAST
    state, row = env.engine.states[0], int(env._row[AT_THE_END])
    seen = env.frames.read(env.frames.take(env._row))
    assert row < LAST  # a frame that was drawn, which is the one that it stands on and that it sees
    assert float((state.root_pos - seen.root_pos)[AT_THE_END].norm()) < 0.08
    assert float((state.dof_pos - seen.dof_pos)[AT_THE_END].abs().max()) < 0.11
    assert int(env.timestep[AT_THE_END]) == WRAPS_AT + 1  # within its episode
    env.step(env.facts.default.expand(ENVS, -1))
    assert int(env._row[AT_THE_END]) == row + 1
