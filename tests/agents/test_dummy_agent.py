"""The agent of envs that move the character themselves."""

from types import SimpleNamespace

import pytest
import torch

from mimickit_hydra.agents.dummy_agent import DummyAgent
from mimickit_hydra.agents.registry import make_agent
from mimickit_hydra.agents.schema import DummyAgentConfig
from mimickit_hydra.errors import UserError

ENV = SimpleNamespace(num_envs=3, action_low=torch.zeros(5), obs_size=7)


def test_acts_with_zeros_and_refuses_to_learn():
    agent = make_agent(DummyAgentConfig(agent_name="Dummy"), ENV, "cpu")
    assert isinstance(agent, DummyAgent)
    assert torch.equal(agent.act(torch.ones(3, 7)), torch.zeros(3, 5))
    assert agent.model_state_dict() == {}
    with pytest.raises(UserError, match="agent=dummy learns nothing; run it with mode=test"):
        agent.train_iteration()
