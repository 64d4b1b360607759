import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_states import BODIES, DOFS, JOINTS, KEYS, moved, random_state

from mimickit_hydra.envs import observations as ob

ANGLE = st.floats(-math.pi, math.pi)
SHIFT = st.tuples(st.floats(-5, 5), st.floats(-5, 5))
SEED = st.integers(0, 10_000)


def _char(state, local, height=True):
    return torch.cat(ob.char_obs(state, local=local, root_height=height), -1)


def _target(state, targets, global_obs, height=True):
    return torch.cat(ob.target_obs(state.root_pos, targets, global_obs=global_obs, root_height=height), -1)


@given(SEED, ANGLE, SHIFT)
@settings(max_examples=30, deadline=None)
def test_local_obs_do_not_see_heading_or_place(seed, angle, shift):
    state = random_state(seed)
    turned = moved(state, angle, shift)
    torch.testing.assert_close(_char(turned, local=True), _char(state, local=True), atol=2e-4, rtol=1e-4)


@given(SEED, ANGLE, SHIFT)
@settings(max_examples=30, deadline=None)
def test_local_targets_see_neither_the_character_nor_heading_or_place(seed, angle, shift):
    first, second, someone, other = (random_state(seed + i) for i in range(4))
    targets = [first, second]
    moved_targets = [moved(first, angle, shift), moved(second, angle, shift)]
    expected = _target(someone, targets, global_obs=False)
    torch.testing.assert_close(_target(other, moved_targets, global_obs=False), expected, atol=3e-4, rtol=1e-4)


@given(SEED, SHIFT)
@settings(max_examples=20, deadline=None)
def test_global_obs_do_not_see_place(seed, shift):
    state, target = random_state(seed), random_state(seed + 1)
    there, target_there = moved(state, 0.0, shift), moved(target, 0.0, shift)
    torch.testing.assert_close(_char(there, local=False), _char(state, local=False), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        _target(there, [target_there], True), _target(state, [target], True), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("height", [True, False])
@pytest.mark.parametrize("local", [True, False])
def test_sizes(height, local):
    state = random_state(0)
    bare = dataclasses.replace(state, key_offset=state.key_offset[:, :0])
    assert _char(state, local, height).shape == (3, ob.char_obs_size(JOINTS, DOFS, KEYS, height))
    assert _char(bare, local, height).shape == (3, ob.char_obs_size(JOINTS, DOFS, 0, height))
    targets = [state, state]
    size = ob.target_obs_size(2, JOINTS, KEYS, height)
    assert _target(state, targets, not local, height).shape == (3, size)


def test_humanoid_sizes_are_mimickits():
    assert ob.char_obs_size(14, 28, 5, True) == 140
    assert ob.char_obs_size(14, 28, 0, True) == 125
    assert ob.char_obs_size(14, 28, 5, True) + ob.target_obs_size(3, 14, 5, True) == 464
    assert ob.phase_obs_size(4) == 9


def test_blocks_of_a_hand_made_state():
    state = random_state(1)
    obs = _char(state, local=False)
    assert torch.equal(obs[:, 0], state.root_pos[:, 2])
    assert torch.equal(obs[:, 7:10], state.root_vel)
    assert torch.equal(obs[:, 10:13], state.root_ang_vel)
    assert torch.equal(obs[:, 13 + 6 * JOINTS : 13 + 6 * JOINTS + DOFS], state.dof_vel)
    assert torch.equal(obs[:, -3:], state.body_pos[:, BODIES - 1] - state.root_pos)


def test_target_height_is_absolute():
    state, target = random_state(2), random_state(3)
    for global_obs in (True, False):
        assert torch.equal(_target(state, [target], global_obs)[:, 2], target.root_pos[:, 2])


def test_phase_obs():
    obs = torch.cat(ob.phase_obs(torch.tensor([0.0, 0.25]), ob.phase_frequencies(2)), -1)
    expected = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0], [0.25, 1.0, 0.0, 0.0, -1.0]])
    torch.testing.assert_close(obs, expected, atol=1e-6, rtol=0)
