"""AWR and LCP against golden numbers, and learning with them."""

from __future__ import annotations

import pytest
import torch
from golden_agents import LOSS, check_gradients, check_parts, golden_agent
from toy_env import ToyEnv, toy_config

from mimickit_hydra.agents.awr_agent import AWRAgent, advantage_weight
from mimickit_hydra.agents.gradient_penalty import hidden_activations, mean_squared_input_gradient
from mimickit_hydra.agents.lcp_agent import LCPAgent, lipschitz_penalty
from mimickit_hydra.agents.networks import build_net
from mimickit_hydra.agents.schema import AWRAgentConfig, LCPAgentConfig, ModelConfig

REGULARIZERS = ("action_bound_loss", "action_entropy", "action_reg_loss")


def _batch(agent, case, *names):
    batch = {
        "norm_obs": agent.obs_norm.normalize(case["in/obs"]),
        "action": agent.action_norm.normalize(case["in/action"]),
        "mask": case["in/rand_action_mask"],
    }
    return batch | {name: case[f"in/{name}"] for name in names}


def _check_losses(agent, case, batch, parts):
    loss, critic_parts = agent._critic_loss(batch)
    assert not critic_parts
    torch.testing.assert_close(loss, case["out/critic_loss"], **LOSS)
    loss.backward()
    check_gradients(agent, case, "critic")
    loss, found = agent._actor_loss(batch)
    torch.testing.assert_close(loss, case["out/actor_loss"], **LOSS)
    check_parts(found, case, parts)
    loss.backward()
    check_gradients(agent, case, "actor")


@pytest.mark.parametrize("name", ["fixed_std", "constant_std_all_terms"])
def test_awr_losses_and_gradients(golden, name):
    data = golden("learn_awr")
    case = data.case(name)
    agent = golden_agent(data, case, AWRAgent, AWRAgentConfig)
    _check_losses(agent, case, _batch(agent, case, "a_weight", "tar_val"), REGULARIZERS)


@pytest.mark.parametrize("name", ["awr2", "awr3"])
def test_awr_targets_and_weights(golden, name):
    case = golden("learn_adv").case(name)
    agent = _awr_for(case)
    buffer = agent.buffer
    for key, source in (("reward", "reward"), ("done", "done"), ("mask", "rand_action_mask")):
        buffer[key].copy_(case[f"in/{source}"])
    agent._all_sampled = False
    scalars = agent._build_targets(case["in/value"], case["in/next_value"])
    for key in ("tar_val", "a_weight"):
        torch.testing.assert_close(buffer[key], case[f"out/{key}"], rtol=1e-4, atol=1e-5)
    for key, value in scalars.items():
        torch.testing.assert_close(value, case[f"out/{key}"], rtol=1e-4, atol=1e-5, msg=key)


def _awr_for(case):
    params, (steps, num_envs) = case.json("in/params_json"), case["in/reward"].shape
    values = {key: params[key] for key in ("discount", "td_lambda", "awr_temp", "a_weight_clip")}
    env = ToyEnv(num_envs)
    env.reward_succ, env.reward_fail = float(case["in/reward_succ"]), float(case["in/reward_fail"])
    return AWRAgent(toy_config(AWRAgentConfig, agent_name="AWR", steps_per_iter=steps, **values), env, "cpu")


def test_awr_weight_is_clipped_without_overflow():
    weight = advantage_weight(torch.tensor([0.0, 1.0, 1e4]), 0.5, 20.0)
    torch.testing.assert_close(weight, torch.tensor([1.0, 7.389056, 20.0]))


@pytest.mark.parametrize("name", ["fixed_std", "constant_std"])
def test_lcp_losses_and_gradients(golden, name):
    data = golden("learn_lcp")
    case = data.case(name)
    agent = golden_agent(data, case, LCPAgent, LCPAgentConfig)
    batch = _batch(agent, case, "a_logp", "adv", "tar_val")
    _check_losses(agent, case, batch, ("clip_frac", "imp_ratio", *REGULARIZERS, "lcp_loss"))


@pytest.mark.parametrize("std_type", ["FIXED", "CONSTANT", "VARIABLE"])
def test_lcp_penalty_and_its_gradient_are_those_of_automatic_differentiation(std_type):
    model = ModelConfig("fc_3layers_1024units", "fc_2layers_128units", 0.5, std_type, 0.3)
    agent = LCPAgent(toy_config(LCPAgentConfig, agent_name="LCP", lcp_weight=1.0, model=model), ToyEnv(), "cpu")
    obs, action = torch.randn(7, 6, requires_grad=True), torch.randn(7, 2)
    layers, head = agent.model._actor_layers, agent.model._action_dist
    parameters = [parameter for parameter in agent.model.actor_parameters() if parameter.requires_grad]

    logp = agent.model.actor(obs).log_prob(action).sum()
    expected = torch.autograd.grad(logp, obs, create_graph=True)[0].square().sum(-1).mean()
    expected_grads = torch.autograd.grad(expected, parameters, allow_unused=True)
    found = lipschitz_penalty(layers, head, hidden_activations(layers, obs.detach()), action)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0.0)
    for mine, theirs in zip(torch.autograd.grad(found, parameters, allow_unused=True), expected_grads, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert (mine - theirs).norm() <= 1e-4 * theirs.norm()


@pytest.mark.parametrize("inputs", [3, 500])
def test_both_ways_to_the_input_gradient_agree(inputs):
    layers, size = build_net("fc_2layers_128units", inputs)
    head = torch.nn.Linear(size, 1)
    x = torch.randn(200, inputs, requires_grad=True)
    weight = torch.rand(200)
    grad = torch.autograd.grad(head(layers(x)).sum(), x)[0]
    expected = (weight * grad.square().sum(-1)).sum()
    found = mean_squared_input_gradient(layers, hidden_activations(layers, x), head.weight, weight)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0.0)
    parameters = [layers[0].weight, layers[2].weight, head.weight]
    again = torch.autograd.grad(head(layers(x)).sum(), x, create_graph=True)[0]
    expected_grads = torch.autograd.grad((weight * again.square().sum(-1)).sum(), parameters)
    for mine, theirs in zip(torch.autograd.grad(found, parameters), expected_grads, strict=True):
        assert (mine - theirs).norm() <= 1e-5 * theirs.norm()


def test_both_learn():
    for agent_class, config_class, values in (
        (AWRAgent, AWRAgentConfig, {"agent_name": "AWR", "awr_temp": 0.5, "a_weight_clip": 20.0}),
        (LCPAgent, LCPAgentConfig, {"agent_name": "LCP", "lcp_weight": 1e-4}),
    ):
        torch.manual_seed(0)
        agent = agent_class(toy_config(config_class, **values), ToyEnv(32), "cpu")
        before = agent.test(32)["Test_Return"]
        rows = [agent.train_iteration() for _ in range(25)]
        assert agent.test(32)["Test_Return"] > before + 4.0
        assert agent.check_finite(rows[-1]) is None
        if agent_class is AWRAgent:
            assert not {"Clip_Frac", "Imp_Ratio"} & set(rows[0])
            assert {"A_Weight_Mean", "A_Weight_Min", "A_Weight_Max"} <= set(rows[0])
        else:
            assert rows[-1]["Lcp_Loss"] > 0.0
