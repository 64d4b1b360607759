"""Tests on a CPU step as many environments as there are episodes to see, and each until it has ended its share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.done import DONE_NULL
from mimickit_hydra.training.build import Parts, build


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    torch.manual_seed(0)
    run = to_run(compose(["num_envs=6", "engine.num_threads=1", "env.log_tracking_error=true"]))
    with build(run, Comm(), torch.device("cpu")) as made:
        yield made


def test_who_has_ended_rests_and_counts_nowhere(parts: Parts) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    errors: list[torch.Tensor] = []

    def watch(step: int, obs: torch.Tensor, action: torch.Tensor, reward: torch.Tensor, done: torch.Tensor) -> None:
        pos = parts.engine.states[0].root_pos
        errors.append(parts.env.info["tracking_error"].clone())
        seen.append((pos.clone(), reward.clone(), done != DONE_NULL))

    result = parts.agent.test(4, watch)
    ends = torch.stack([ended for _, _, ended in seen])
    assert ends.sum(0).tolist() == [1, 1, 1, 1, 0, 0]
    assert result["Test_Episodes"] == 4
    lengths = ends.int().argmax(0)[:4] + 1
    assert result["Test_Episode_Length"] == pytest.approx(lengths.double().mean().item())
    rewards = torch.stack([reward for _, reward, _ in seen])
    assert result["Test_Return"] == pytest.approx(rewards.double().sum().item() / 4, rel=1e-6)
    assert not rewards[:, 4:].any()
    assert torch.equal(seen[0][0][4:], seen[-1][0][4:])  # where they started
    for env, length in enumerate(lengths.tolist()):
        assert not rewards[length:, env].any()

    # Every step of those who act, and their eight starts, which are without error.
    acted = torch.arange(len(seen))[:, None] < lengths
    total = (torch.stack(errors)[:, :4] * acted.unsqueeze(-1)).sum((0, 1))
    expected = total / (lengths.sum() + 8)
    assert result["Root_Pos_Err"] == pytest.approx(expected[0].item(), rel=1e-4)
    assert result["Body_Pos_Err"] == pytest.approx(expected[2].item(), rel=1e-4)


def test_more_episodes_than_environments(parts: Parts) -> None:
    result = parts.agent.test(13)
    assert result["Test_Episodes"] == 18  # three of each


def test_training_goes_on_with_all(parts: Parts) -> None:
    env = parts.env
    env.reset()
    before = parts.engine.states[0].root_pos.clone()
    parts.agent.test(1)
    torch.testing.assert_close(parts.engine.states[0].root_pos, before, rtol=0, atol=0)
    for _ in range(3):
        env.step(torch.zeros(6, len(env.action_low)))
    assert (parts.engine.states[0].root_pos != before).any(dim=1).all()
    assert (env.reward > 0).all()
