"""Targets, advantages and episode statistics: golden numbers, and naive loops as a reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimickit_hydra.agents.returns import (
    ReturnTracker,
    bootstrap_values,
    mean_episode,
    normalize_advantage,
    td_lambda_return,
)
from mimickit_hydra.distributed import Comm


@pytest.mark.parametrize("name", [f"case{i}" for i in range(6)])
def test_td_lambda(golden, name):
    case = golden("learn_td_lambda").case(name)
    params = case.json("in/params_json")
    found = td_lambda_return(
        case["in/reward"], case["in/next_value"], case["in/done"], params["discount"], params["td_lambda"]
    )
    torch.testing.assert_close(found, case["out/return"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ppo0", "ppo1"])
def test_advantage(golden, name):
    case = golden("learn_adv").case(name)
    params = case.json("in/params_json")
    done = case["in/done"]
    next_value = bootstrap_values(
        case["in/next_value"], done, params["discount"], float(case["in/reward_succ"]), float(case["in/reward_fail"])
    )
    target = td_lambda_return(case["in/reward"], next_value, done, params["discount"], params["td_lambda"])
    torch.testing.assert_close(target, case["out/tar_val"], rtol=1e-4, atol=1e-5)
    found = normalize_advantage(target - case["in/value"], case["in/rand_action_mask"], Comm(), params["norm_adv_clip"])
    torch.testing.assert_close(found.adv, case["out/adv"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.mean, case["out/adv_mean"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.std, case["out/adv_std"], rtol=1e-4, atol=1e-5)


rollouts = st.tuples(st.integers(1, 12), st.integers(1, 5), st.integers(0, 9999))


@settings(max_examples=60, deadline=None)
@given(rollouts, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_td_lambda_is_the_recursion(shape, discount, td_lambda):
    steps, envs, seed = shape
    generator = torch.Generator().manual_seed(seed)
    reward, value = torch.randn(2, steps, envs, generator=generator).double()
    done = torch.randint(0, 4, (steps, envs), generator=generator, dtype=torch.int32)
    expected = torch.zeros_like(reward)
    for n in range(envs):
        for t in reversed(range(steps)):
            expected[t, n] = reward[t, n] + discount * value[t, n]
            if t < steps - 1 and done[t, n] == 0:
                mixed = (1 - td_lambda) * value[t, n] + td_lambda * expected[t + 1, n]
                expected[t, n] = reward[t, n] + discount * mixed
    torch.testing.assert_close(td_lambda_return(reward, value, done, discount, td_lambda), expected)


def test_a_mask_of_ones_is_no_mask():
    adv = torch.randn(7, 3)
    for a, b in zip(
        normalize_advantage(adv, None, Comm()), normalize_advantage(adv, torch.ones(7, 3), Comm()), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_a_single_sample_has_no_deviation():
    for mask in (None, torch.ones(1, 1)):
        found = normalize_advantage(torch.full((1, 1), 3.0), mask, Comm(), 4.0)
        assert [float(part) for part in found] == [0.0, 3.0, 0.0]


def test_an_empty_mask_gives_finite_numbers():
    assert all(
        torch.isfinite(part).all() for part in normalize_advantage(torch.randn(7, 3), torch.zeros(7, 3), Comm(), 4.0)
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=4), st.integers(1, 4), st.integers(0, 9999))
def test_tracker_is_the_naive_loop(rollout_lengths, envs, seed):
    generator = torch.Generator().manual_seed(seed)
    tracker = ReturnTracker(envs, torch.device("cpu"))
    running, returns, lengths, episodes = [[0.0, 0] for _ in range(envs)], [], [], [0] * envs
    for steps in rollout_lengths:
        reward = torch.randn(steps, envs, generator=generator)
        done = (torch.rand(steps, envs, generator=generator) < 0.25).int() * 3
        tracker.add(reward, done)
        for t in range(steps):
            for n in range(envs):
                running[n][0] += float(reward[t, n])
                running[n][1] += 1
                if done[t, n]:
                    returns.append(running[n][0])
                    lengths.append(running[n][1])
                    episodes[n] += 1
                    running[n] = [0.0, 0]
    mean_return, mean_length, count = mean_episode(tracker.sums.tolist())
    assert count == len(returns)
    assert tracker.episodes.tolist() == episodes
    assert mean_return == pytest.approx(sum(returns) / max(count, 1), abs=1e-6)
    assert mean_length == pytest.approx(sum(lengths) / max(count, 1), abs=1e-9)


def test_resetting_statistics_keeps_running_episodes():
    tracker = ReturnTracker(1, torch.device("cpu"))
    tracker.add(torch.ones(1), torch.zeros(1, dtype=torch.int32))
    tracker.reset_statistics()
    tracker.add(torch.ones(1), torch.full((1,), 3, dtype=torch.int32))
    assert mean_episode(tracker.sums.tolist()) == (2.0, 2.0, 1)
