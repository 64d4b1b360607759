"""ASE: losses, gradients and rewards by golden numbers; the life of latents; what encoder and policy learn."""

from __future__ import annotations

import pytest
import torch
from golden_agents import LOSS, check_gradients, check_parts, golden_agent
from test_amp_add import DISC
from toy_env import ToyStyleEnv, toy_config

from mimickit_hydra.agents.ase import diversity_loss, encoder_loss, renew_latents, unit_latents
from mimickit_hydra.agents.ase_agent import ASEAgent
from mimickit_hydra.agents.schema import ASEAgentConfig, ASEModelConfig, OptimizerConfig
from mimickit_hydra.envs.done import DONE_NULL

ACTOR_PARTS = ("clip_frac", "imp_ratio", "action_bound_loss", "action_entropy", "action_reg_loss", "diversity_loss")
AMP_PARTS = ("disc_grad_penalty", "disc_agent_acc", "disc_demo_acc", "disc_agent_logit", "disc_demo_logit")
NET = "fc_2layers_128units"
ASE = {
    **DISC,
    "model": ASEModelConfig(NET, NET, 0.01, "FIXED", 0.2, disc_net=NET, enc_net=NET, latent_dim=3),
    "enc_optimizer": OptimizerConfig("Adam", 1e-3),
    "enc_epochs": 2,
    "enc_batch_size": 4,
    "latent_time_min": 3.0,
    "latent_time_max": 9.0,  # steps: the toy environment counts those
    "diversity_weight": 0.01,
    "diversity_tar": 1.0,
    "disc_reward_weight": 0.5,
    "enc_reward_weight": 0.5,
}


def make(num_envs=8, seed=0, **changes):
    torch.manual_seed(seed)
    config = toy_config(ASEAgentConfig, agent_name="ASE", **{**ASE, **changes})
    return ASEAgent(config, ToyStyleEnv(num_envs), "cpu")


@pytest.mark.parametrize("name", ["default", "variant"])
def test_losses_and_gradients(golden, name):
    data = golden("learn_ase")
    case = data.case(name)
    agent = golden_agent(data, case, ASEAgent, ASEAgentConfig, ToyStyleEnv)
    mask = case["in/rand_action_mask"]
    batch = {
        "norm_obs": agent.obs_norm.normalize(case["in/obs"]),
        "action": agent.action_norm.normalize(case["in/action"]),
        "mask": mask,
    }
    batch |= {key: case[f"in/{key}"] for key in ("a_logp", "adv", "tar_val", "latents")}
    inputs = agent._inputs(batch)
    torch.testing.assert_close(agent.model.actor(inputs).mean, case["out/mean"], rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(agent.model.critic(inputs), case["out/value"], rtol=2e-5, atol=2e-5)

    loss, _ = agent._critic_loss(batch)
    torch.testing.assert_close(loss, case["out/critic_loss"], **LOSS)
    loss.backward()
    check_gradients(agent, case, "critic")

    others = unit_latents(torch.randn(mask.shape[0], 6))  # of rows that do not count, any will do
    others[mask == 1.0] = case["in/new_latents"]
    loss, parts = agent._diverse_actor_loss(batch, others)
    torch.testing.assert_close(loss, case["out/actor_loss"], **LOSS)
    check_parts(parts, case, ACTOR_PARTS)
    loss.backward()
    check_gradients(agent, case, "actor")

    rows = torch.cat([case[f"in/{kind}"] for kind in ("disc_obs", "replay_disc_obs", "disc_obs_demo")])
    norm_rows = agent._normalize(rows)
    loss, parts = agent._disc_loss(norm_rows, 40)
    torch.testing.assert_close(loss, case["out/disc_loss"], **LOSS)
    check_parts(parts, case, (*AMP_PARTS, "disc_logit_loss"))
    loss.backward()
    check_gradients(agent, case, "disc")

    torch.testing.assert_close(agent.model.encoder(norm_rows[:20]), case["out/enc_latent"], rtol=2e-5, atol=2e-5)
    loss = encoder_loss(case["in/latents"], agent.model.encoder(norm_rows[:20]))
    torch.testing.assert_close(loss, case["out/enc_loss"], **LOSS)
    loss.backward()
    check_gradients(agent, case, "enc")


@pytest.mark.parametrize("name", ["default", "variant"])
def test_mixed_reward(golden, name):
    data = golden("learn_ase")
    case = data.case(name)
    agent = golden_agent(data, case, ASEAgent, ASEAgentConfig, ToyStyleEnv)
    mix = case.case("mix")
    for key, source in (("reward", "task_reward"), ("disc_obs", "disc_obs"), ("latents", "latents")):
        agent.buffer[key].copy_(mix[f"in/{source}"])
    scalars = agent._build_train_data()
    torch.testing.assert_close(agent.buffer["train_reward"], mix["out/reward"], rtol=1e-4, atol=1e-5)
    for key in ("disc_reward_mean", "disc_reward_std", "enc_reward_mean", "enc_reward_std"):
        torch.testing.assert_close(scalars[key], mix[f"out/{key}"], rtol=1e-4, atol=1e-5)


def test_latents_change_when_they_expire_and_when_an_episode_begins():
    latent, expiry = torch.zeros(4, 2), torch.tensor([5.0, 5.0, 5.0, 5.0])
    time, fresh = torch.tensor([0.0, 4.9, 5.0, 7.0]), torch.ones(4, 2)
    renew_latents(latent, expiry, time, fresh, torch.full((4,), 2.0))
    assert latent[:, 0].tolist() == [1.0, 0.0, 1.0, 1.0]
    assert expiry.tolist() == [2.0, 5.0, 7.0, 9.0]


def test_rollout_latents():
    agent = make(num_envs=32)
    agent.train_iteration()
    agent._rollout()
    latents, done = agent.buffer["latents"], agent.buffer["done"]
    torch.testing.assert_close(latents.norm(dim=-1), torch.ones(16, 32))
    changed = (latents[1:] != latents[:-1]).any(-1)
    assert changed[done[:-1] != DONE_NULL].all()
    lasting = torch.diff(torch.nonzero(changed[:, 0]).flatten())
    assert lasting.max() <= 9
    assert 1.0 / 9.0 < changed.float().mean() < 1.0 / 3.0
    value, next_value = agent._evaluate_values()
    final = agent.obs_norm.normalize(agent.buffer["final_obs"])
    with torch.no_grad():
        expected = agent.model.critic(torch.cat([final, latents], -1))
    torch.testing.assert_close(next_value, expected)
    assert not torch.equal(value, next_value)


def test_diversity_loss_by_hand():
    mean, other = torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [3.0, 1.0]])
    z, other_z = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    found = diversity_loss(mean, other, z, other_z, 1.0, None)
    torch.testing.assert_close(found, torch.tensor(0.5 * (0.0 + 81.0)), rtol=1e-3, atol=1e-3)
    found = diversity_loss(mean, other, z, other_z, 1.0, torch.tensor([1.0, 0.0]))
    assert found < 1e-6


def test_encoder_and_policy_learn_skills():
    changes = {"latent_time_min": 20.0, "latent_time_max": 20.0, "diversity_weight": 0.05}
    agent = make(num_envs=32, disc_reward_weight=0.1, enc_reward_weight=1.0, **changes)
    rows = [agent.train_iteration() for _ in range(25)]
    assert agent.check_finite(rows[-1]) is None
    assert rows[-1]["Enc_Loss"] < rows[0]["Enc_Loss"] - 0.1
    assert rows[-1]["Enc_Reward_Mean"] > rows[0]["Enc_Reward_Mean"]
    assert rows[-1]["Diversity_Loss"] < rows[0]["Diversity_Loss"] - 0.1
    order = list(rows[0])
    assert order.index("Diversity_Loss") < order.index("Disc_Loss") < order.index("Enc_Loss")


def test_testing_leaves_latents_alone_and_uses_its_own():
    agent = make()
    agent.train_iteration()
    before = agent._latents.clone(), agent._expiry.clone()
    seen = []
    agent.test(8, callback=lambda *_: seen.append(agent._latents.clone()))
    assert torch.equal(before[0], agent._latents)
    assert torch.equal(before[1], agent._expiry)
    assert not torch.equal(seen[0], before[0])
    assert not torch.equal(seen[0], seen[-1])


def test_chosen_skills():
    agent = make()
    obs, z = torch.randn(5, 6), unit_latents(torch.randn(5, 3))
    assert agent.act_with_latents(obs, z).shape == (5, 2)
    assert not torch.equal(agent.act_with_latents(obs, z), agent.act_with_latents(obs, -z))


def test_model_names_are_those_of_mimickit():
    env = ToyStyleEnv(4)
    env.obs_size, env.disc_obs_size, env.obs = 140, 1420, torch.zeros(4, 140)
    env.action_low, env.action_high = -torch.ones(28), torch.ones(28)
    three, two = "fc_3layers_1024units", "fc_2layers_1024units"
    nets = ASEModelConfig(three, three, 0.01, "FIXED", 0.05, disc_net=three, enc_net=two, latent_dim=64)
    agent = ASEAgent(toy_config(ASEAgentConfig, agent_name="ASE", **{**ASE, "model": nets}), env, "cpu")
    shapes = {name: list(value.shape) for name, value in agent.model_state_dict().items()}
    assert list(shapes)[6:9] == ["_disc_obs_norm._count", "_disc_obs_norm._mean", "_disc_obs_norm._std"]
    assert [(name, shapes[name]) for name in list(shapes)[9:] if name.endswith("weight") or "logstd" in name] == [
        ("_model._enc_layers.0.weight", [1024, 1420]),
        ("_model._enc_layers.2.weight", [512, 1024]),
        ("_model._enc_out.weight", [64, 512]),
        ("_model._actor_layers.0.weight", [1024, 204]),
        ("_model._actor_layers.2.weight", [1024, 1024]),
        ("_model._actor_layers.4.weight", [512, 1024]),
        ("_model._action_dist._logstd_net", [28]),
        ("_model._action_dist._mean_net.weight", [28, 512]),
        ("_model._critic_layers.0.weight", [1024, 204]),
        ("_model._critic_layers.2.weight", [1024, 1024]),
        ("_model._critic_layers.4.weight", [512, 1024]),
        ("_model._critic_out.weight", [1, 512]),
        ("_model._disc_layers.0.weight", [1024, 1420]),
        ("_model._disc_layers.2.weight", [1024, 1024]),
        ("_model._disc_layers.4.weight", [512, 1024]),
        ("_model._disc_logits.weight", [1, 512]),
    ]
    assert sum(p.numel() for p in agent.net.parameters() if p.requires_grad) == 8_626_270
