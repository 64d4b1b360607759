"""Two processes learn with a discriminator: weights and statistics stay equal, replay and skills are each its own."""

from __future__ import annotations

import pytest
import torch
from test_amp_add import DISC
from test_ase import ASE
from toy_env import ToyStyleEnv, toy_config
from two_processes import WORLD, run_both

from mimickit_hydra.agents.graph import StagedUpdates
from mimickit_hydra.agents.registry import make_agent
from mimickit_hydra.agents.schema import AMPAgentConfig, ASEAgentConfig
from mimickit_hydra.distributed import Comm

METHODS = {"AMP": (AMPAgentConfig, DISC), "ADD": (AMPAgentConfig, DISC), "ASE": (ASEAgentConfig, ASE)}


def exercise(rank: int) -> dict[str, object]:
    return {name: train(rank, name) for name in METHODS}


def train(rank: int, name: str) -> dict[str, object]:
    torch.manual_seed(10 + rank)
    config_class, values = METHODS[name]
    agent = make_agent(toy_config(config_class, agent_name=name, **values), ToyStyleEnv(4), "cpu", Comm())
    if name == "AMP":
        agent._updates = StagedUpdates(agent.device, capture=False)
    rows = [agent.train_iteration() for _ in range(3)]
    return {
        "model": agent.model_state_dict(),
        "exact": agent.net._disc_obs_norm.exact_state(),
        "rows": rows,
        "test": agent.test(8),
        "extra": agent._extra_state(),
    }


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return run_both(exercise, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", METHODS)
def test_models_statistics_and_rows_are_common(ranks, name):
    first, second = (result[name] for result in ranks)
    for part in ("model", "exact"):
        assert all(torch.equal(first[part][key], second[part][key]) for key in first[part])
    assert first["rows"] == second["rows"]
    assert first["test"] == second["test"]
    counted = 2 if name != "ADD" else 1  # the agent's samples, and as many demonstrations
    assert int(first["model"]["_disc_obs_norm._count"]) == counted * 3 * 16 * 4 * WORLD


@pytest.mark.parametrize("name", METHODS)
def test_replay_and_latents_are_each_its_own(ranks, name):
    first, second = (result[name]["extra"] for result in ranks)
    assert first["replay"]["pushed"] == second["replay"]["pushed"]
    assert not torch.equal(first["replay"]["rows"], second["replay"]["rows"])
    if name == "ASE":
        assert not torch.equal(first["latents"], second["latents"])
