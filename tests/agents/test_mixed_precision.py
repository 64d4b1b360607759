"""``agent.use_mixed_precision``: bfloat16 in the hidden layers of an update, float32 everywhere else."""

from __future__ import annotations

import pytest
import torch
from test_methods import SETTINGS
from test_update_graph import made_up_rollout, make  # noqa: F401  (a fixture)

from mimickit_hydra.agents.graph import StagedUpdates

pytestmark = pytest.mark.filterwarnings("error")


def hidden_types(agent) -> set[torch.dtype]:
    """What the first hidden layers put out in an update and in a rollout step afterwards."""
    found: set[torch.dtype] = set()
    for module in agent.net._model.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda _, inputs, output: found.add(output.dtype))
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_an_update_is_close_to_the_one_in_float32(make, name) -> None:  # noqa: F811
    agents = [make(name, use_mixed_precision=mixed) for mixed in (False, True)]
    types = hidden_types(agents[1])
    rows, weights = [], []
    for agent in agents:
        torch.manual_seed(7)
        rows.append(made_up_rollout(agent))
        weights.append(agent.model_state_dict())
    assert torch.bfloat16 in types
    assert rows[1] == pytest.approx(rows[0], rel=0.1, abs=0.02)
    assert rows[1] != rows[0]
    for key, exact in weights[0].items():
        mixed = weights[1][key]
        assert mixed.dtype == exact.dtype
        assert torch.allclose(mixed.float(), exact.float(), atol=0.02), key
    types.clear()
    agents[1].act(agents[1].env.obs)
    assert types == {torch.float32}


def test_output_layers_stay_in_float32(make) -> None:  # noqa: F811
    agent = make("AMP", use_mixed_precision=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        obs = torch.zeros(4, agent.env.obs_size)
        assert agent.model.critic(obs).dtype == torch.float32
        assert agent.model.actor(obs).mean.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", SETTINGS)
def test_captured_on_a_gpu(make, name) -> None:  # noqa: F811
    agent = make(name, device="cuda", use_mixed_precision=True)
    assert isinstance(agent._updates, StagedUpdates)
    for _ in range(3):
        row = made_up_rollout(agent)
    assert agent._updates.captured, agent._updates.problem
    assert all(value == value for value in row.values())
