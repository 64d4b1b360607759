"""Gradient steps from tensors that stay give the numbers of the direct ones, captured or not, for every method."""

from __future__ import annotations

import pytest
import torch
from test_methods import ENVS, SETTINGS
from test_smp import write_prior
from toy_env import FakeGraph, ToyEnv, toy_config

from mimickit_hydra.agents.graph import WARM_STEPS, StagedUpdates
from mimickit_hydra.agents.registry import make_agent
from mimickit_hydra.agents.schema import OptimizerConfig
from mimickit_hydra.distributed import Comm


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    prior = write_prior(tmp_path_factory.mktemp("prior"))

    def make(name, device="cpu", **changes):
        torch.manual_seed(0)
        config_class, values = SETTINGS[name]
        values = {**values, **(prior if name == "SMP" else {}), **changes}
        values.pop("enable_gsi", None)
        env = ENVS.get(name, ToyEnv)(8)
        if device == "cuda" and hasattr(env, "fetch_disc_obs_demo"):
            fetch = env.fetch_disc_obs_demo
            env.fetch_disc_obs_demo = lambda count: fetch(count).to(device)
        return make_agent(toy_config(config_class, agent_name=name, **values), env, device)

    return make


def made_up_rollout(agent):
    """Numbers as a rollout might have left them, and the update on them; the scalars it logs."""
    agent._begin_rollout()
    for name in ("obs", "norm_obs", "final_obs", "reward", "action", "disc_obs"):
        if name in agent.buffer:
            agent.buffer[name].normal_()
    agent.buffer["done"].copy_(torch.randint(0, 4, agent.buffer["done"].shape, device=agent.device))
    with torch.no_grad():
        data = agent._build_train_data()
    losses = agent._update()
    return {name: float(value) for name, value in {**data, **losses}.items()}


def run(agent, iterations=3):
    torch.manual_seed(7)
    rows = [made_up_rollout(agent) for _ in range(iterations)]
    return rows, agent.model_state_dict()


@pytest.mark.parametrize("changes", [{}, {"exp_prob_beg": 0.6}, {"actor_optimizer": OptimizerConfig("SGD", 1e-3)}])
@pytest.mark.parametrize("name", SETTINGS)
def test_staged_steps_are_the_direct_ones(make, name, changes):
    """Bit for bit, minibatches that straddle the end of a permutation included."""
    changes = {"actor_batch_size": 3, **changes}
    direct, staged = make(name, **changes), make(name, **changes)
    staged._updates = StagedUpdates(staged.device, capture=False)
    (rows, model), (staged_rows, staged_model) = run(direct), run(staged)
    assert rows == staged_rows
    assert all(torch.equal(model[key], staged_model[key]) for key in model)
    assert not staged._updates.captured


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@pytest.mark.parametrize("changes", [{}, {"exp_prob_beg": 0.6}, {"actor_optimizer": OptimizerConfig("SGD", 1e-3)}])
@pytest.mark.parametrize("name", SETTINGS)
def test_captured_steps_are_the_eager_ones(make, name, changes):
    changes = {"actor_batch_size": 3, **changes}
    eager, captured = make(name, "cuda", **changes), make(name, "cuda", **changes)
    eager._updates = None
    (rows, model), (captured_rows, captured_model) = run(eager), run(captured)
    assert captured._updates.captured, captured._updates.problem
    assert not captured._updates.problem
    for row, other in zip(rows, captured_rows, strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-4)
    for key, value in model.items():
        torch.testing.assert_close(captured_model[key], value, rtol=1e-3, atol=2e-5)


def test_a_step_is_captured_after_three_and_replayed(make):
    agent = make("PPO", critic_epochs=2, critic_batch_size=4)  # 2 x 4 steps
    FakeGraph.log.clear()
    agent._updates = StagedUpdates(agent.device, capture=True, make_graph=FakeGraph)
    agent._begin_rollout()
    agent._update_critic()
    replayed = 2 * 4 - WARM_STEPS
    assert FakeGraph.log == ["begin", "end"] + ["replay"] * replayed
    agent._update_critic()
    assert FakeGraph.log.count("begin") == 1
    assert FakeGraph.log.count("replay") == replayed + 8
    assert agent.optimizers["critic"].steps == 16
    agent._updates.forget()
    agent._update_critic()
    assert FakeGraph.log.count("begin") == 2


def test_the_capture_is_cut_where_processes_meet(make, monkeypatch):
    """Graph, average, graph: the collective is run at every replay and not while capturing."""
    agent = make("PPO", critic_epochs=2, critic_batch_size=4)
    optimizer, log = agent.optimizers["critic"], FakeGraph.log
    monkeypatch.setattr(Comm, "all_reduce_mean_", lambda self, tensor: log.append("average"))
    monkeypatch.setattr(optimizer, "check_sync", lambda: log.append("check"))
    monkeypatch.setattr(optimizer.comm, "world_size", 2)
    agent._updates = StagedUpdates(agent.device, capture=True, make_graph=FakeGraph)
    log.clear()
    agent._update_critic()
    capture = ["begin", "end", "begin", "end"]
    assert log == ["check", *["average"] * WARM_STEPS, *capture, *["replay", "average", "replay"] * (8 - WARM_STEPS)]
    assert "average_grad" not in vars(optimizer)


def test_what_cannot_be_captured_runs_as_it_is(make, capsys):
    class Broken(FakeGraph):
        def capture_begin(self, capture_error_mode):
            raise RuntimeError("operation not permitted when stream is capturing")

    direct, fallen = make("PPO"), make("PPO")
    fallen._updates = StagedUpdates(fallen.device, capture=True, make_graph=Broken)
    (rows, model), (fallen_rows, fallen_model) = run(direct), run(fallen)
    assert rows == fallen_rows
    assert all(torch.equal(model[key], fallen_model[key]) for key in model)
    assert "not permitted" in fallen._updates.problem
    assert capsys.readouterr().err.count("the update runs step by step") == 1
