"""AMP and ADD: losses, gradients and rewards by golden numbers; buffers; what the discriminator learns."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from golden_agents import LOSS, check_gradients, check_parts, golden_agent
from toy_env import ToyEnv, ToyStyleEnv, toy_config

from mimickit_hydra.agents.add_agent import ADDAgent
from mimickit_hydra.agents.amp_agent import AMPAgent
from mimickit_hydra.agents.discriminator import style_reward
from mimickit_hydra.agents.replay import Replay, Ring
from mimickit_hydra.agents.schema import AMPAgentConfig, AMPModelConfig, OptimizerConfig
from mimickit_hydra.errors import UserError

AMP_PARTS = ("disc_grad_penalty", "disc_agent_acc", "disc_demo_acc", "disc_agent_logit", "disc_demo_logit")
ADD_PARTS = ("disc_grad_penalty", "disc_logit_loss", "disc_pos_acc", "disc_neg_acc", "disc_pos_logit", "disc_neg_logit")
METHODS = {"AMP": (AMPAgent, AMPAgentConfig), "ADD": (ADDAgent, AMPAgentConfig)}
DISC = {
    "model": AMPModelConfig(
        "fc_2layers_128units", "fc_2layers_128units", 0.01, "FIXED", 0.2, disc_net="fc_2layers_128units"
    ),
    "disc_optimizer": OptimizerConfig("Adam", 1e-3, 1e-4),
    "disc_epochs": 2,
    "disc_batch_size": 2,
    "disc_buffer_size": 300,
    "disc_replay_samples": 40,
    "disc_logit_reg": 0.01,
    "disc_grad_penalty": 0.5,
    "disc_reward_scale": 2.0,
    "task_reward_weight": 0.0,
    "disc_reward_weight": 1.0,
}


def make(name, num_envs=8, seed=0, **changes):
    torch.manual_seed(seed)
    agent_class, config_class = METHODS[name]
    return agent_class(toy_config(config_class, agent_name=name, **{**DISC, **changes}), ToyStyleEnv(num_envs), "cpu")


# ------------------------------------------------------------------------------------------------------ golden numbers


def _check_loss(agent, case, inputs, num_negative, parts):
    loss, found = agent._disc_loss(inputs, num_negative)
    torch.testing.assert_close(loss, case["out/disc_loss"], **LOSS)
    check_parts(found, case, parts)
    loss.backward()
    check_gradients(agent, case, "disc")


@pytest.mark.parametrize("name", ["default", "no_logit_reg_no_penalty"])
def test_amp_discriminator(golden, name):
    data = golden("learn_amp")
    case = data.case(name)
    agent = golden_agent(data, case, AMPAgent, AMPAgentConfig, ToyStyleEnv)
    rows = torch.cat([case["in/disc_obs"], case["in/replay_disc_obs"], case["in/disc_obs_demo"]])
    inputs = agent._normalize(rows)
    torch.testing.assert_close(inputs[:16], case["out/norm_disc_obs"], rtol=2e-5, atol=2e-5)
    with torch.no_grad():
        logits = agent.model.discriminator(inputs)
    torch.testing.assert_close(logits[:32], case["out/agent_logit"], **LOSS)
    torch.testing.assert_close(logits[32:], case["out/demo_logit"], **LOSS)
    _check_loss(agent, case, inputs, 32, (*AMP_PARTS, "disc_logit_loss"))
    reward, _ = agent._score(case["in/disc_obs"])
    torch.testing.assert_close(reward, agent.config.disc_reward_weight * case["out/style_reward"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["default", "variant"])
def test_add_discriminator(golden, name):
    data = golden("learn_add")
    case = data.case(name)
    agent = golden_agent(data, case, ADDAgent, AMPAgentConfig, ToyStyleEnv)
    pairs = [(case[f"in/{kind}disc_obs"], case[f"in/{kind}disc_obs_demo"]) for kind in ("", "replay_")]
    rows = torch.cat([*(demo - mine for mine, demo in pairs), torch.zeros(1, 30)])
    inputs = agent._normalize(rows)
    torch.testing.assert_close(inputs[:32], case["out/norm_diff"], rtol=2e-5, atol=2e-5)
    with torch.no_grad():
        torch.testing.assert_close(
            agent.model.discriminator(inputs), torch.cat([case["out/neg_logit"], case["out/pos_logit"]]), **LOSS
        )
    _check_loss(agent, case, inputs, 32, ADD_PARTS)
    reward, _ = agent._score(rows[:32])
    expected = agent.config.disc_reward_weight * case["out/style_reward"]
    torch.testing.assert_close(reward, expected, rtol=1e-4, atol=3e-3 * agent.config.disc_reward_weight)


@pytest.mark.parametrize(
    ("name", "case_name"),
    [("AMP", "default"), ("AMP", "no_logit_reg_no_penalty"), ("ADD", "default"), ("ADD", "variant")],
)
def test_mixed_reward(golden, name, case_name):
    data = golden(f"learn_{name.lower()}")
    case = data.case(case_name)
    agent = golden_agent(data, case, *METHODS[name], ToyStyleEnv)
    mix = case.case("mix")
    agent.buffer["reward"].copy_(mix["in/task_reward"])
    info = {key: mix[f"in/{key}"] for key in ("disc_obs", "disc_obs_demo") if f"in/{key}" in mix}
    for t in range(agent.buffer.steps):
        agent._record_step(t, {key: value[t] for key, value in info.items()})
    scalars = agent._build_train_data()
    torch.testing.assert_close(agent.buffer["train_reward"], mix["out/reward"], rtol=1e-4, atol=1e-5)
    for key in ("disc_reward_mean", "disc_reward_std"):
        torch.testing.assert_close(scalars[key], mix[f"out/{key}"], rtol=1e-4, atol=1e-5)
    if name == "ADD":
        agent._update_normalizers()
        torch.testing.assert_close(agent.disc_norm._mean_abs, mix["out/mean_abs_after_update"], rtol=2e-5, atol=2e-5)
        assert torch.equal(agent.disc_norm._count, mix["out/count_after_update"])


@pytest.mark.parametrize("name", ["default", "no_logit_reg_no_penalty"])
def test_style_reward_of_the_logit(golden, name):
    case = golden("learn_amp").case(name)
    logit = case["style/in/logit"]
    scale = case.json("config_json")["disc_reward_scale"]
    found, expected = style_reward(logit, scale), case["style/out/reward"]
    large = logit > 6.0  # where one minus a probability loses digits
    torch.testing.assert_close(found[~large], expected[~large], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[large], expected[large], rtol=3e-3, atol=3e-3)
    torch.testing.assert_close(found, scale * F.softplus(logit.double()).clamp_max(9.2103404).float())


# ------------------------------------------------------------------------------------------------------------- buffers


def test_ring_keeps_the_newest():
    ring = Ring(5, 1, torch.device("cpu"))
    pushed = 0
    for count in (2, 2, 3, 5, 1):
        ring.push(torch.arange(pushed, pushed + count).float()[:, None])
        pushed += count
        newest = set(range(max(0, pushed - 5), pushed))
        assert set(ring.sample(torch.empty(200, 1)).flatten().tolist()) == newest
    assert ring.fill == 5


def test_replay_takes_whole_rollouts_until_full_and_parts_afterwards():
    replay = Replay(10, 1, torch.device("cpu"))
    rollout = torch.arange(6.0)[:, None]
    for expected in (6, 12, 14, 16):
        replay.push_rollout(rollout, 2)
        assert replay.pushed == expected
    small = Replay(4, 1, torch.device("cpu"))
    for _ in range(2):
        small.push_rollout(rollout, 1000)
        assert small.fill == 4
        assert len(set(small._rows.flatten().tolist())) == 4


def test_replay_draws_evenly_while_it_fills():
    replay = Replay(100, 1, torch.device("cpu"))
    replay.push_rollout(torch.arange(60.0)[:, None], 10)
    counts = replay.sample(torch.empty(60_000, 1)).flatten().long().bincount(minlength=100)
    assert (counts[60:] == 0).all()
    assert 800 < counts[:60].min() <= counts[:60].max() < 1200


def test_a_rollout_larger_than_the_replay_trains():
    agent = make("AMP", disc_buffer_size=50)
    for _ in range(2):
        assert agent.check_finite(agent.train_iteration()) is None
    assert agent._replay.fill == 50


def test_bank_of_demonstrations_is_renewed_and_counts_as_much_as_the_agent():
    agent = make("AMP")
    agent.train_iteration()
    assert agent.env.fetched == 128
    assert int(agent.disc_norm._count) == 256
    agent.train_iteration()
    assert agent.env.fetched == 128 + 16
    assert int(agent.disc_norm._count) == 512


def test_closed_window_draws_and_records_nothing_into_statistics():
    agent = make("AMP", normalizer_samples=100)
    agent.train_iteration()
    before = agent.disc_norm.exact_state()
    agent.train_iteration()
    after = agent.disc_norm.exact_state()
    assert all(torch.equal(before[name], after[name]) for name in before)


# ------------------------------------------------------------------------------------------------------------ learning


def test_amp_learns_the_style():
    agent = make("AMP", num_envs=32)
    before = agent.test(32)["Test_Return"]
    rows = [agent.train_iteration() for _ in range(30)]
    assert agent.check_finite(rows[-1]) is None
    assert agent.test(32)["Test_Return"] > before + 4.0  # nothing but the discriminator told it to reach the target
    assert rows[3]["Disc_Agent_Acc"] > 0.6
    assert rows[3]["Disc_Demo_Acc"] > 0.6
    assert rows[-1]["Disc_Reward_Mean"] > 0.5


def test_add_learns_to_leave_no_difference():
    agent = make("ADD", num_envs=32)
    before = agent.test(32)["Test_Return"]
    rows = [agent.train_iteration() for _ in range(30)]
    assert agent.check_finite(rows[-1]) is None
    assert agent.test(32)["Test_Return"] > before + 4.0
    assert rows[-1]["Disc_Pos_Logit"] > rows[-1]["Disc_Neg_Logit"]


def test_log_keys():
    keys = [key for key in make("AMP").train_iteration() if key.startswith("Disc")]
    assert keys == ["Disc_Loss", *("_".join(w.title() for w in p.split("_")) for p in AMP_PARTS), "Disc_Logit_Loss",
                    "Disc_Reward_Mean", "Disc_Reward_Std"]  # fmt: skip
    keys = [key for key in make("ADD").train_iteration() if key.startswith("Disc")]
    assert keys == ["Disc_Loss", *("_".join(w.title() for w in p.split("_")) for p in ADD_PARTS),
                    "Disc_Reward_Mean", "Disc_Reward_Std"]  # fmt: skip


def test_task_reward_is_mixed_in():
    agent = make("AMP", task_reward_weight=0.5, disc_reward_weight=0.25)
    agent.train_iteration()
    agent._rollout()
    agent._build_train_data()
    style, _ = agent._score(agent.buffer.flat("disc_obs"))
    expected = 0.5 * agent.buffer["reward"] + style.view(16, 8)
    torch.testing.assert_close(agent.buffer["train_reward"], expected)


def test_scoring_in_pieces_changes_nothing():
    agent = make("AMP")
    agent.train_iteration()
    rows = agent.buffer.flat("disc_obs")
    whole, _ = agent._score(rows)
    pieces, _ = make("AMP", disc_eval_batch_size=7)._score(rows)
    assert pieces.shape == whole.shape
    torch.testing.assert_close(make("AMP")._score(rows)[0], pieces)


def test_bad_setups_are_one_line():
    config = toy_config(AMPAgentConfig, agent_name="AMP", **DISC)
    with pytest.raises(UserError, match="agent AMP needs an env with discriminator observations"):
        AMPAgent(config, ToyEnv(), "cpu")
    env = ToyStyleEnv()
    del env.info["disc_obs_demo"]
    with pytest.raises(UserError, match="agent ADD needs an env"):
        ADDAgent(toy_config(AMPAgentConfig, agent_name="ADD", **DISC), env, "cpu")
    agent = make("AMP")
    agent.train_iteration()
    with pytest.raises(UserError, match=r"replay buffer.*300 samples of 4 numbers, this run's 200"):
        make("AMP", disc_buffer_size=200).load_state_dict(agent.state_dict())


@pytest.mark.parametrize(("name", "count"), [("AMP", 3_333_662), ("ADD", 2_719_262)])
def test_model_names_are_those_of_mimickit(name, count):
    env = ToyStyleEnv(4)
    env.obs_size, env.disc_obs_size = {"AMP": (140, 1420), "ADD": (464, 172)}[name]
    env.obs = torch.zeros(4, env.obs_size)
    env.action_low, env.action_high = -torch.ones(28), torch.ones(28)
    agent_class, config_class = METHODS[name]
    nets = AMPModelConfig(*["fc_2layers_1024units"] * 2, 0.01, "FIXED", 0.05, disc_net="fc_2layers_1024units")
    agent = agent_class(toy_config(config_class, agent_name=name, **{**DISC, "model": nets}), env, "cpu")
    names = list(agent.model_state_dict())
    statistics = ["_count", "_mean", "_std"] if name == "AMP" else ["_count", "_mean_abs"]
    assert names[6 : 6 + len(statistics)] == [f"_disc_obs_norm.{entry}" for entry in statistics]
    disc = [f"_model._disc_layers.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")]
    assert names[-6:] == [*disc, "_model._disc_logits.weight", "_model._disc_logits.bias"]
    assert len(names) == 19 + 6 + len(statistics)
    assert sum(p.numel() for p in agent.net.parameters() if p.requires_grad) == count
