import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_states import DOFS, JOINTS, moved, random_state

from mimickit_hydra.envs import rewards
from mimickit_hydra.motion.rotations import axis_angle_to_quat, quat_mul

SCALES = torch.tensor([0.25, 0.01, 5.0, 1.0, 10.0])
WEIGHTS = torch.tensor([0.5, 0.1, 0.15, 0.1, 0.15])


def _errors(sim, ref, heading_frame=False, axes=(1.0, 1.0, 1.0)):
    return rewards.imitation_errors(
        sim, ref, joint_weights=torch.arange(1.0, JOINTS + 1), dof_weights=torch.ones(DOFS),
        root_axes=torch.tensor(axes), heading_frame=heading_frame,
    )  # fmt: skip


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=30, deadline=None)
def test_reward_is_one_on_the_reference(seed, heading_frame):
    state = random_state(seed)
    terms = rewards.reward_terms(_errors(state, state, heading_frame), SCALES)
    torch.testing.assert_close(terms, torch.ones(3, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(rewards.weighted_reward(terms, WEIGHTS), torch.ones(3), atol=1e-6, rtol=0)


@given(st.integers(0, 10_000), st.floats(-math.pi, math.pi), st.tuples(st.floats(-5, 5), st.floats(-5, 5)))
@settings(max_examples=30, deadline=None)
def test_heading_frame_ignores_where_the_motion_goes(seed, angle, shift):
    sim, ref = random_state(seed), random_state(seed + 1)
    expected = _errors(sim, ref, heading_frame=True, axes=(0.0, 0.0, 1.0))
    turned = _errors(moved(sim, angle, shift), ref, heading_frame=True, axes=(0.0, 0.0, 1.0))
    torch.testing.assert_close(turned, expected, atol=2e-3, rtol=1e-3)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_terms_are_between_zero_and_one(seed):
    terms = rewards.reward_terms(_errors(random_state(seed), random_state(seed + 1)), SCALES)
    assert ((terms >= 0) & (terms <= 1)).all()


def test_each_term_sees_its_own_error():
    ref = random_state(0)
    turn = axis_angle_to_quat(torch.tensor([1.0, 0.0, 0.0]), torch.tensor(0.3))
    rotations = ref.rotations.clone()
    rotations[:, 3] = quat_mul(turn.expand(3, 4), rotations[:, 3])  # joint 2, weight 3
    cases = {
        "pose": ({"rotations": rotations}, 3 * 0.09),
        "vel": ({"dof_vel": ref.dof_vel + 2.0}, 4.0 * DOFS),
        "root_vel": ({"root_vel": ref.root_vel + 1.0, "root_ang_vel": ref.root_ang_vel + 2.0}, 3.0 + 0.1 * 12.0),
        "key_pos": ({"key_offset": ref.key_offset + torch.tensor([0.0, 0.5, 0.0])}, 0.25 * 2),
    }
    for term, (change, error) in cases.items():
        errors = _errors(dataclasses.replace(ref, **change), ref)
        expected = torch.zeros(3, 5)
        expected[:, rewards.TERMS.index(term)] = error
        torch.testing.assert_close(errors, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("axes", "error"), [((1.0, 1.0, 1.0), 3.0), ((0.0, 0.0, 1.0), 1.0), ((0.0, 0.0, 0.0), 0.0)])
def test_root_position_axes(axes, error):
    ref = random_state(0)
    sim = dataclasses.replace(ref, root_pos=ref.root_pos + 1.0)
    torch.testing.assert_close(_errors(sim, ref, axes=axes)[:, 2], torch.full((3,), error), atol=1e-5, rtol=1e-5)
