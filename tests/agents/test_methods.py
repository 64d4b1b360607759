"""What holds for every method: exact resume, tests that leave no trace, steps without a look at the data."""

from __future__ import annotations

import io

import pytest
import torch
from test_amp_add import DISC
from test_ase import ASE
from test_smp import GSI, SMP, ToyWindowEnv, write_prior
from toy_env import ToyEnv, ToyStyleEnv, toy_config

from mimickit_hydra.agents.registry import make_agent
from mimickit_hydra.agents.schema import (
    AMPAgentConfig,
    ASEAgentConfig,
    AWRAgentConfig,
    LCPAgentConfig,
    PPOAgentConfig,
    SMPAgentConfig,
)

SETTINGS = {
    "PPO": (PPOAgentConfig, {}),
    "AWR": (AWRAgentConfig, {"awr_temp": 0.5, "a_weight_clip": 20.0}),
    "LCP": (LCPAgentConfig, {"lcp_weight": 1e-4}),
    "AMP": (AMPAgentConfig, DISC),
    "ADD": (AMPAgentConfig, DISC),
    "ASE": (ASEAgentConfig, ASE),
    "SMP": (SMPAgentConfig, {**SMP, **GSI}),
}
ENVS = {"AMP": ToyStyleEnv, "ADD": ToyStyleEnv, "ASE": ToyStyleEnv, "SMP": ToyWindowEnv}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    prior = write_prior(tmp_path_factory.mktemp("prior"))

    def make(name, num_envs=4, seed=0, **changes):
        torch.manual_seed(seed)
        config_class, values = SETTINGS[name]
        values = {**values, **(prior if name == "SMP" else {}), **changes}
        env = ENVS.get(name, ToyEnv)(num_envs)
        return make_agent(toy_config(config_class, agent_name=name, **values), env, "cpu")

    return make


def equal_models(first, second):
    first, second = first.model_state_dict(), second.model_state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", SETTINGS)
def test_exact_resume(make, name):
    changes = {"disc_buffer_size": 150} if name in ("AMP", "ADD", "ASE") else {}  # full, and wrapped, when saved
    agent = make(name, exp_prob_beg=0.9, **changes)
    for _ in range(3):
        agent.train_iteration()
    file = io.BytesIO()
    torch.save({"agent": agent.state_dict(), "env": agent.env.state_dict(), "rng": torch.get_rng_state()}, file)
    expected = [agent.train_iteration() for _ in range(2)]
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = make(name, seed=99, exp_prob_beg=0.9, **changes)
    other.load_state_dict(saved["agent"])
    other.env.load_state_dict(saved["env"])
    torch.set_rng_state(saved["rng"])
    assert [other.train_iteration() for _ in range(2)] == expected
    assert equal_models(agent, other)


@pytest.mark.parametrize("name", SETTINGS)
def test_testing_disturbs_nothing(make, name):
    rows = []
    for tested in (True, False):
        agent = make(name)
        rows.append([])
        for _ in range(3):
            rows[-1].append(agent.train_iteration())
            if tested:
                agent.test(4)
    assert rows[0] == rows[1]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_rollout_looks_at_no_data(make, name, monkeypatch):
    agent = make(name)
    agent.train_iteration()
    agent._begin_rollout()

    def refuse(*_):
        raise AssertionError("the host waits for data")

    norm_obs = agent.buffer["norm_obs"][0]
    for method in ("item", "__bool__", "__int__", "__float__", "tolist", "nonzero"):
        monkeypatch.setattr(torch.Tensor, method, refuse)
    with torch.no_grad():
        agent._decide(0, norm_obs)
        agent._record_step(0, agent.env.info)
