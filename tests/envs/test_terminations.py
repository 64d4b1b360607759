import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimickit_hydra.envs import terminations
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL, DONE_SUCC, DONE_TIME
from mimickit_hydra.motion.rotations import axis_angle_to_quat, quat_rotate


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=16))
@settings(max_examples=50, deadline=None)
def test_failure_wins_over_success_over_time(rows):
    time, success, failure = (torch.tensor(column) for column in zip(*rows, strict=True))
    done = terminations.done_flags(time, success, failure, out=torch.full((len(rows),), 9, dtype=torch.int32))
    expected = [DONE_FAIL if f else DONE_SUCC if s else DONE_TIME if t else DONE_NULL for t, s, f in rows]
    assert done.dtype == torch.int32
    assert done.tolist() == expected


def test_absent_causes_count_for_nothing():
    done = terminations.done_flags(torch.tensor([True, False]), None, None, out=torch.zeros(2, dtype=torch.int32))
    assert done.tolist() == [DONE_TIME, DONE_NULL]


@pytest.mark.parametrize(("seconds", "first_step"), [(10.0, 300), (20.0, 600)])
def test_time_limit_fires_on_the_very_step(seconds, first_step):
    steps = torch.tensor([first_step - 1, first_step], dtype=torch.int32)
    assert terminations.time_over(steps * (1.0 / 30.0), seconds).tolist() == [False, True]


def test_clips_that_repeat_never_end():
    over = terminations.clip_over(torch.tensor([0.9, 1.0, 100.0]), torch.tensor([1.0, 1.0, math.inf]))
    assert over.tolist() == [False, True, False]


def test_only_forbidden_bodies_fall_and_any_component_counts():
    forbidden = torch.tensor([True, False])
    forces = torch.zeros(5, 2, 3)
    forces[1, 1, 2] = 500.0  # allowed body
    forces[2, 0, 0] = -0.11
    forces[3, 0, :] = 0.099  # below the threshold in every component
    forces[4, 0, 2] = float("inf")
    assert terminations.fallen(forces, forbidden).tolist() == [False, False, True, False, True]


def _lost(offset, ref_offset, root_rot, ref_root_rot, **frame):
    base, ref_base = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[-5.0, 0.0, 1.0]])
    body = torch.stack([base, base + offset], dim=1)
    ref = torch.stack([ref_base, ref_base + ref_offset], dim=1)
    return terminations.pose_lost(body, root_rot, ref, ref_root_rot, max_dist=0.5, **frame).item()


def test_pose_is_compared_in_the_frame_asked_for():
    unit = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    turned = axis_angle_to_quat(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1.2]))
    arm = torch.tensor([[1.0, -0.4, 0.1]])
    # The same pose, elsewhere: lost only if the root itself is tracked.
    assert _lost(arm, arm, unit, unit, track_root=True, global_obs=True)
    assert not _lost(arm, arm, unit, unit, track_root=False, global_obs=True)
    # The same pose, rigidly turned: lost in world axes, not in the root's own frame.
    assert _lost(quat_rotate(turned, arm), arm, turned, unit, track_root=False, global_obs=True)
    assert not _lost(quat_rotate(turned, arm), arm, turned, unit, track_root=False, global_obs=False)


def test_a_state_that_is_not_a_number_is_lost():
    pos, rot = torch.zeros(2, 3, 3), torch.tensor([[0.0, 0.0, 0.0, 1.0]] * 2)
    pos[1, 2, 0] = float("nan")
    for frame in ({"track_root": True, "global_obs": True}, {"track_root": False, "global_obs": False}):
        lost = terminations.pose_lost(pos, rot, torch.zeros(2, 3, 3), rot, max_dist=1.0, **frame)
        assert lost.tolist() == [False, True]
