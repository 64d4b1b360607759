"""Agents set up as a golden file says: its configuration, its sizes, its weights; and the check of gradients."""

from __future__ import annotations

import dataclasses

import torch
from toy_env import ToyEnv

from mimickit_hydra.agents.schema import OptimizerConfig

LOSS = {"rtol": 1e-4, "atol": 1e-6}


def agent_config(config_class, values):
    """``values`` as MimicKit's agent file has them (numbers may be text) -> the typed configuration."""
    types = {field.name: field for field in dataclasses.fields(config_class)}
    model_class = types["model"].default_factory
    out = {}
    for key, value in values.items():
        if key == "model":
            out[key] = model_class(**value)
        elif key.endswith("_optimizer"):
            out[key] = OptimizerConfig(**{k: v if k == "type" else float(v) for k, v in value.items()})
        else:
            out[key] = value
    return config_class(**out)


def sized_env(env_json, env_class=ToyEnv):
    """A toy environment with the golden file's sizes: to build agents, not to step."""
    env = env_class(env_json["num_envs"])
    env.obs_size = env_json["obs_size"]
    env.obs = torch.zeros(env.num_envs, env.obs_size)
    env.action_low, env.action_high = (torch.tensor(env_json[f"action_{end}"]) for end in ("low", "high"))
    if env_json.get("disc_obs_size"):
        env.disc_obs_size = env_json["disc_obs_size"]
    return env


def golden_agent(data, case, agent_class, config_class, env_class=ToyEnv, **changes):
    """The agent of one case. Weights the file leaves out stay as they were drawn."""
    env = sized_env(data.json("env_json"), env_class)
    config = dataclasses.replace(agent_config(config_class, case.json("config_json")), **changes)
    agent = agent_class(config, env, "cpu")
    params, own = data.under("param"), case.under("param")
    if own:
        params = {name: value for name, value in params.items() if "_logstd_net" not in name} | own
    state = agent.model_state_dict()
    agent.load_model_state_dict({name: params.get(name, value) for name, value in state.items()})
    return agent


def check_gradients(agent, case, head):
    """Norm, first four entries and sum of every gradient of ``head`` against the golden ones."""
    names = {name: parameter for name, parameter in agent.net.named_parameters() if parameter.requires_grad}
    listed = case.strings(f"{head}/grad_names")
    for row, name in enumerate(listed):
        grad, norm = names[name].grad, case[f"{head}/grad_norm"][row]
        first = torch.zeros(4)
        first[: min(4, grad.numel())] = grad.flatten()[:4]
        assert abs(grad.norm() - norm) <= 3e-4 * norm, name
        assert (first - case[f"{head}/grad_first4"][row]).abs().max() <= 3e-4 * norm, name
        assert abs(grad.sum() - case[f"{head}/grad_sum"][row]) <= 3e-3 * norm, name
    return listed


def check_parts(parts, case, names):
    """``parts`` holds exactly those of ``names`` that the case has, with its values."""
    assert set(parts) == {name for name in names if f"out/{name}" in case}
    for name, value in parts.items():
        torch.testing.assert_close(value, case[f"out/{name}"], **LOSS, msg=name)
