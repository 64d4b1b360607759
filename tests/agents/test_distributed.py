"""Two processes: gradients are averages, parameters and statistics stay bit for bit equal, a desync is noticed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from toy_env import ToyEnv, toy_config
from two_processes import WORLD, run_both

from mimickit_hydra.agents.optimizer import DESYNC_CHECK_STEPS
from mimickit_hydra.agents.ppo_agent import PPOAgent
from mimickit_hydra.distributed import Comm
from mimickit_hydra.errors import UserError

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import several
from throughput import wait


def exercise(rank: int) -> dict[str, object]:
    torch.manual_seed(10 + rank)
    comm = Comm()
    result: dict[str, object] = {"rank": comm.rank, "world": comm.world_size}
    agent = PPOAgent(toy_config(exp_prob_beg=0.8), ToyEnv(4), "cpu", comm)
    result["initial"] = agent.model_state_dict()
    result["rows"] = [agent.train_iteration() for _ in range(3)]
    result["test"] = agent.test(10)
    result["model"] = agent.model_state_dict()
    result["exact"] = agent.obs_norm.exact_state()
    result["obs"] = agent.buffer["obs"].clone()

    result["equality"] = several.equality(agent)
    result["seconds"] = several.by_rank(agent, 1.0 + rank)

    optimizer = agent.optimizers["critic"]
    loss = agent.model.critic(torch.full((1, 6), 1.0 + rank)).sum()
    own = torch.autograd.grad(loss, list(agent.model.critic_parameters()), retain_graph=True)
    result["own_grad"] = torch.cat([grad.flatten() for grad in own])
    optimizer.step(loss)
    result["averaged_grad"] = optimizer.flat_grad.clone()

    loaded = agent.model_state_dict()
    if rank == 1:
        loaded = {name: tensor if "_a_norm" in name else tensor + 1 for name, tensor in loaded.items()}
    agent.load_model_state_dict(loaded)
    result["after_load"] = agent.model_state_dict()

    if rank == 1:
        optimizer._flat.data[3] += 1e-7
    result["unequal"] = several.equality(agent)
    optimizer.steps = DESYNC_CHECK_STEPS
    try:
        optimizer.step(agent.model.critic(torch.ones(1, 6)).sum())
    except UserError as error:
        result["desync"] = str(error)
    optimizer.steps = 1
    result["watched"] = several.averaging(agent, agent.train_iteration, lambda: wait(agent.device))
    return result


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return run_both(exercise, tmp_path_factory.mktemp("ranks"))


def test_ranks_know_each_other(ranks):
    assert [result["rank"] for result in ranks] == [0, 1]
    assert [result["world"] for result in ranks] == [2, 2]


@pytest.mark.parametrize("moment", ["initial", "model", "exact", "after_load"])
def test_everything_shared_is_equal_bit_for_bit(ranks, moment):
    first, second = ranks[0][moment], ranks[1][moment]
    assert list(first) == list(second)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_ranks_saw_different_data_and_learned(ranks):
    assert not torch.equal(ranks[0]["obs"], ranks[1]["obs"])
    moved = ranks[0]["model"]["_model._critic_out.weight"] - ranks[0]["initial"]["_model._critic_out.weight"]
    assert moved.abs().max() > 1e-4
    assert int(ranks[0]["model"]["_obs_norm._count"]) == 3 * 16 * 4 * WORLD


def test_rows_are_common(ranks):
    assert ranks[0]["rows"] == ranks[1]["rows"]
    assert ranks[0]["test"] == ranks[1]["test"]
    assert ranks[0]["rows"][-1]["Samples"] == 3 * 16 * 4 * WORLD
    assert ranks[0]["test"]["Test_Episodes"] >= 2 * 4 * WORLD


def test_gradients_are_averages(ranks):
    expected = (ranks[0]["own_grad"] + ranks[1]["own_grad"]) / 2
    assert not torch.equal(ranks[0]["own_grad"], ranks[1]["own_grad"])
    for result in ranks:
        torch.testing.assert_close(result["averaged_grad"], expected)


def test_a_load_takes_rank_0(ranks):
    assert torch.equal(ranks[1]["after_load"]["_obs_norm._mean"], ranks[0]["model"]["_obs_norm._mean"])


def test_a_desync_is_noticed_by_all(ranks):
    for result in ranks:
        assert "critic's parameters differ between processes at its update 1000" in result["desync"]


def test_benchmarks_tell_equal_parameters_from_others(ranks):
    first, second = (result["equality"] for result in ranks)
    assert first == second
    assert first["equal"] is True
    assert first["sha256"][0] == first["sha256"][1]
    for result in ranks:
        assert result["unequal"]["equal"] is False
        assert len(set(result["unequal"]["sha256"])) == WORLD
        assert result["seconds"] == [1.0, 2.0]


def test_benchmarks_count_the_averages_of_each_head(ranks):
    for result in ranks:
        found = result["watched"]
        heads = {head["head"]: head for head in found["heads"]}
        assert heads["critic"]["averages"] == 2 * 16 // 4  # epochs, steps of a rollout, of a minibatch
        assert heads["actor"]["averages"] == 3 * 16 // 4
        assert heads["critic"]["bytes"] == 4 * sum(
            tensor.numel() for name, tensor in result["model"].items() if name.startswith("_model._critic")
        )
        assert all(0.0 < head[key] < 1e4 for head in heads.values() for key in ("alone_ms", "in_iteration_ms"))
        assert found["in_iteration_s"] == pytest.approx(sum(head["in_iteration_ms"] for head in heads.values()) / 1e3)
        assert 0.0 < found["in_iteration_s"] + found["other_collectives_s"] < found["watched_iteration_s"]
