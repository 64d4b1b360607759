"""PPO's losses, gradients and one whole update against golden numbers."""

from __future__ import annotations

import pytest
import torch
from toy_env import ToyEnv

from mimickit_hydra.agents.ppo import action_bound_loss
from mimickit_hydra.agents.ppo_agent import PPOAgent
from mimickit_hydra.agents.schema import ModelConfig, OptimizerConfig, PPOAgentConfig

LOSS = {"rtol": 1e-4, "atol": 1e-6}


def _config(values):
    values = dict(values)
    for head in ("actor_optimizer", "critic_optimizer"):
        values[head] = OptimizerConfig(**{k: v if k == "type" else float(v) for k, v in values[head].items()})
    return PPOAgentConfig(**{**values, "model": ModelConfig(**values["model"])})


def _agent(data, case, num_envs):
    env_json = data.json("env_json")
    env = ToyEnv(num_envs)
    env.obs_size = env_json["obs_size"]
    env.obs = torch.zeros(num_envs, env.obs_size)
    env.action_low, env.action_high = (torch.tensor(env_json[f"action_{end}"]) for end in ("low", "high"))
    agent = PPOAgent(_config(case.json("config_json")), env, "cpu")
    params = data.under("param")
    own = case.under("param")
    if own:
        params = {name: value for name, value in params.items() if "_logstd_net" not in name} | own
    agent.load_model_state_dict({name: params[name] for name in agent.model_state_dict()})
    return agent


def _check_gradients(agent, case, head):
    names = {name: parameter for name, parameter in agent.net.named_parameters() if parameter.requires_grad}
    for row, name in enumerate(case.strings(f"{head}/grad_names")):
        grad, norm = names[name].grad, case[f"{head}/grad_norm"][row]
        first = torch.zeros(4)
        first[: min(4, grad.numel())] = grad.flatten()[:4]
        assert abs(grad.norm() - norm) <= 3e-4 * norm, name
        assert (first - case[f"{head}/grad_first4"][row]).abs().max() <= 3e-4 * norm, name
        assert abs(grad.sum() - case[f"{head}/grad_sum"][row]) <= 3e-3 * norm, name


@pytest.mark.parametrize("name", ["fixed_std", "constant_std_all_terms", "variable_std"])
def test_losses_and_gradients(golden, name):
    data = golden("learn_ppo")
    case = data.case(name)
    agent = _agent(data, case, data.json("env_json")["num_envs"])
    norm_obs = agent.obs_norm.normalize(case["in/obs"])
    action = agent.action_norm.normalize(case["in/action"])
    dist = agent.model.actor(norm_obs)
    shape = dist.mean.shape
    for key, value in {
        "norm_obs": norm_obs,
        "norm_action": action,
        "mean": dist.mean,
        "logstd": dist.logstd.expand(shape),
        "value": agent.model.critic(norm_obs),
        "entropy": dist.entropy().expand(shape[0]),
    }.items():
        torch.testing.assert_close(value, case[f"out/{key}"], rtol=2e-5, atol=2e-5, msg=key)
    torch.testing.assert_close(dist.log_prob(action), case["out/logp"], rtol=1e-4, atol=5e-4)
    batch = {"norm_obs": norm_obs, "action": action, "mask": case["in/rand_action_mask"]}
    batch |= {key: case[f"in/{key}"] for key in ("a_logp", "adv", "tar_val")}

    loss, parts = agent._critic_loss(batch)
    torch.testing.assert_close(loss, case["out/critic_loss"], **LOSS)
    assert not parts
    loss.backward()
    _check_gradients(agent, case, "critic")

    loss, parts = agent._actor_loss(batch)
    torch.testing.assert_close(loss, case["out/actor_loss"], **LOSS)
    logged = ("clip_frac", "imp_ratio", "action_bound_loss", "action_entropy", "action_reg_loss")
    assert set(parts) == {key for key in logged if f"out/{key}" in case}
    for key, value in parts.items():
        torch.testing.assert_close(value, case[f"out/{key}"], **LOSS, msg=key)
    loss.backward()
    _check_gradients(agent, case, "actor")


@pytest.mark.parametrize("name", ["sgd", "adam", "clip_decay"])
def test_whole_iteration(golden, name):
    data = golden("learn_ppo_iteration")
    case = data.case(name)
    agent = _agent(data, case, data.json("env_json")["num_envs"])
    before = agent.model_state_dict()
    buffer = agent.buffer
    for key, value in {
        "obs": data["in/obs"],
        "norm_obs": torch.cat([agent.obs_norm.normalize(data["in/obs"]), torch.zeros_like(data["in/obs"][:1])]),
        "action": agent.action_norm.normalize(data["in/action"]),
        "a_logp": data["in/a_logp"],
        "mask": data["in/rand_action_mask"],
        "reward": data["in/reward"],
        "done": data["in/done"],
    }.items():
        buffer[key].copy_(value)
    agent._all_sampled = False
    with torch.no_grad():
        value = agent._values(agent.obs_norm.normalize(data["in/obs"]))
        scalars = agent._build_targets(value, agent._values(agent.obs_norm.normalize(data["in/next_obs"])))
    torch.testing.assert_close(buffer["tar_val"], data["out/tar_val"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(buffer["adv"], data["out/adv"], rtol=1e-4, atol=1e-5)

    scalars |= agent._update_critic(data["in/critic_indices"])
    scalars |= agent._update_actor(data["in/actor_indices"])
    agent._update_normalizers()
    for key, value in scalars.items():
        torch.testing.assert_close(value, case[f"out/{key}"], rtol=1e-3, atol=1e-6, msg=key)
    after = agent.model_state_dict()
    for row, key in enumerate(case.strings("out/param_names")):
        change = (after[key] - before[key]).norm()
        torch.testing.assert_close(change, case["out/param_change_norm"][row], rtol=2e-3, atol=0.0, msg=key)
        torch.testing.assert_close(after[key].norm(), case["out/param_norm"][row], rtol=1e-4, atol=1e-6, msg=key)
        if f"out/param/{key}" in case:
            assert (after[key] - case[f"out/param/{key}"]).norm() <= 2e-3 * change, key
    torch.testing.assert_close(after["_obs_norm._mean"], case["out/obs_norm_mean"], rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(after["_obs_norm._std"], case["out/obs_norm_std"], rtol=5e-3, atol=5e-3)
    assert torch.equal(after["_obs_norm._count"], case["out/obs_norm_count"])


def test_bound_loss_is_the_squared_overshoot():
    mean = torch.tensor([[0.5, -1.0, 1.0], [1.5, -3.0, 0.0]])
    torch.testing.assert_close(action_bound_loss(mean), torch.tensor([0.0, 0.25 + 4.0]))
