"""The training loop: learning, exact resume, tests that leave no trace, checkpoint names, non-finite numbers."""

from __future__ import annotations

import io
import math

import pytest
import torch
from toy_env import ToyEnv, toy_config

from mimickit_hydra.agents.ppo_agent import PPOAgent
from mimickit_hydra.agents.registry import make_agent
from mimickit_hydra.agents.schema import ModelConfig, OptimizerConfig
from mimickit_hydra.envs.done import DONE_NULL, DONE_TIME
from mimickit_hydra.errors import UserError

MODELS = {
    std: ModelConfig("fc_2layers_128units", "fc_2layers_128units", 0.01, std, 0.2) for std in ("FIXED", "VARIABLE")
}


def make(num_envs=8, seed=0, **changes):
    torch.manual_seed(seed)
    return PPOAgent(toy_config(**changes), ToyEnv(num_envs), "cpu")


def equal_models(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_learns_to_reach_the_target():
    agent = make(num_envs=32)
    before = agent.test(32)["Test_Return"]
    for _ in range(40):
        row = agent.train_iteration()
    after = agent.test(32)
    assert after["Test_Return"] > before + 5.0
    assert after["Test_Return"] > 12.0
    assert row["Train_Return"] > before + 3.0
    assert after["Test_Episodes"] == 32
    assert after["Test_Episode_Length"] == pytest.approx(20.0)


def test_row_keys_and_counters():
    agent = make()
    rows = [agent.train_iteration() for _ in range(2)]
    assert list(rows[0]) == [
        "Iteration",
        "Samples",
        "Train_Return",
        "Train_Episode_Length",
        "Train_Episodes",
        "Critic_Loss",
        "Actor_Loss",
        "Clip_Frac",
        "Imp_Ratio",
        "Action_Bound_Loss",
        "Adv_Mean",
        "Adv_Std",
        "Obs_Norm_Mean",
        "Obs_Norm_Std",
        "Exp_Prob",
    ]
    assert [row["Iteration"] for row in rows] == [0, 1]
    assert [row["Samples"] for row in rows] == [128, 256]
    assert agent.samples == 256
    assert agent.iteration == 2
    assert all(isinstance(value, (int, float)) for value in rows[0].values())
    assert agent.check_finite(rows[0]) is None


def test_first_iteration_sees_raw_observations_and_updates_after():
    agent = make()
    agent.train_iteration()
    assert torch.equal(agent.buffer["norm_obs"][:16], agent.buffer["obs"].clamp(-10.0, 10.0))
    torch.testing.assert_close(agent.obs_norm.mean, agent.buffer["obs"].flatten(0, 1).mean(0))
    assert int(agent.obs_norm._count) == 128


def test_normalizer_window_closes():
    agent = make(normalizer_samples=200)
    for expected in (128, 256, 256):
        agent.train_iteration()
        assert int(agent.obs_norm._count) == expected


def test_stored_log_probs_are_those_of_the_stored_actions():
    for std_type in ("FIXED", "VARIABLE"):
        agent = make(model=MODELS[std_type], exp_prob_beg=0.5)
        agent._start()
        agent._rollout()
        agent._build_train_data()
        with torch.no_grad():
            dist = agent.model.actor(agent.buffer["norm_obs"][:-1])
            torch.testing.assert_close(
                dist.log_prob(agent.buffer["action"]), agent.buffer["a_logp"], atol=1e-4, rtol=1e-4
            )
            mode = agent.buffer["mask"] == 0.0
            assert 0.2 < mode.float().mean() < 0.8
            torch.testing.assert_close(agent.buffer["action"][mode], dist.mean[mode])


def test_values_of_next_obs_come_from_before_the_reset():
    agent = make(episode_steps := 8)
    agent.env.episode_steps = episode_steps
    agent._start()
    for _ in range(2):
        agent._rollout()
    done = agent.buffer["done"]
    assert (done == DONE_TIME).any()
    with torch.no_grad():
        value, next_value = agent._evaluate_values()
        expected = agent.model.critic(agent.obs_norm.normalize(agent.buffer["final_obs"]))
    keep = (done == DONE_NULL) | (done == DONE_TIME)
    torch.testing.assert_close(next_value[keep], expected[keep])
    torch.testing.assert_close(value, agent.model.critic(agent.buffer["norm_obs"][:-1]).detach())
    agent.device = torch.device("cuda")  # takes the path without data-dependent shapes, still on the CPU's tensors
    with torch.no_grad():
        torch.testing.assert_close(agent._evaluate_values()[1][keep], expected[keep])
    assert (agent.buffer["final_obs"][done == DONE_TIME][:, 5] == episode_steps).all()


def test_value_evaluation_in_pieces():
    whole, pieces = make(), make(critic_eval_batch_size=3)
    for agent in (whole, pieces):
        torch.manual_seed(1)
        agent.train_iteration()
    torch.testing.assert_close(whole.buffer["adv"], pieces.buffer["adv"])


def test_testing_disturbs_nothing():
    with_tests, without = make(), make()
    rows = []
    for agent in (with_tests, without):
        torch.manual_seed(3)
        rows.append([])
        for _ in range(4):
            rows[-1].append(agent.train_iteration())
            if agent is with_tests:
                agent.test(10)
    assert rows[0] == rows[1]
    assert equal_models(with_tests.model_state_dict(), without.model_state_dict())
    assert with_tests.env.modes.count(True) == 4
    assert with_tests.env.modes[-1] is False


def test_a_test_that_fails_disturbs_nothing_either():
    agent = make()
    agent.train_iteration()
    before, generator = agent.env.state_dict(), torch.get_rng_state()

    def fail(*_):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        agent.test(1, callback=fail)
    assert equal_models(before, agent.env.state_dict())
    assert torch.equal(generator, torch.get_rng_state())
    assert agent.env.modes[-1] is False


def test_every_environment_ends_its_share_and_callback_sees_every_step():
    agent = make(num_envs=4)
    agent.env.limit = math.inf
    seen = []
    result = agent.test(
        9, callback=lambda step, obs, action, reward, done: seen.append((step, obs.shape, done.clone()))
    )
    assert result["Test_Episodes"] == 12
    assert [entry[0] for entry in seen] == list(range(60))
    assert sum(int((entry[2] != DONE_NULL).sum()) for entry in seen) == 12
    assert "Root_Pos_Err" in result
    assert agent.test(0) == {"Test_Return": 0.0, "Test_Episode_Length": 0.0, "Test_Episodes": 0}


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("std_type", ["FIXED", "VARIABLE"])
def test_exact_resume(optimizer, std_type):
    heads = {f"{head}_optimizer": OptimizerConfig(optimizer, 1e-3, 1e-4, 0.5) for head in ("actor", "critic")}
    settings = {**heads, "model": MODELS[std_type], "exp_anneal_samples": 1000.0, "exp_prob_end": 0.5}
    agent = make(**settings)
    for _ in range(3):
        agent.train_iteration()
    file = io.BytesIO()
    torch.save({"agent": agent.state_dict(), "env": agent.env.state_dict(), "rng": torch.get_rng_state()}, file)
    expected = [agent.train_iteration() for _ in range(3)]

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = make(seed=99, **settings)
    other.load_state_dict(saved["agent"])
    other.env.load_state_dict(saved["env"])
    torch.set_rng_state(saved["rng"])
    assert [other.train_iteration() for _ in range(3)] == expected
    assert equal_models(agent.model_state_dict(), other.model_state_dict())


def test_model_names_and_shapes_are_those_of_mimickit():
    net = ModelConfig("fc_2layers_1024units", "fc_2layers_1024units", 0.01, "FIXED", 0.05)
    env = ToyEnv(4)
    env.obs_size, env.obs = 464, torch.zeros(4, 464)
    env.action_low, env.action_high = -torch.ones(28), torch.ones(28)
    agent = PPOAgent(toy_config(model=net), env, "cpu")
    assert {name: list(tensor.shape) for name, tensor in agent.model_state_dict().items()} == {
        "_obs_norm._count": [1],
        "_obs_norm._mean": [464],
        "_obs_norm._std": [464],
        "_a_norm._count": [1],
        "_a_norm._mean": [28],
        "_a_norm._std": [28],
        "_model._actor_layers.0.weight": [1024, 464],
        "_model._actor_layers.0.bias": [1024],
        "_model._actor_layers.2.weight": [512, 1024],
        "_model._actor_layers.2.bias": [512],
        "_model._action_dist._logstd_net": [28],
        "_model._action_dist._mean_net.weight": [28, 512],
        "_model._action_dist._mean_net.bias": [28],
        "_model._critic_layers.0.weight": [1024, 464],
        "_model._critic_layers.0.bias": [1024],
        "_model._critic_layers.2.weight": [512, 1024],
        "_model._critic_layers.2.bias": [512],
        "_model._critic_out.weight": [1, 512],
        "_model._critic_out.bias": [1],
    }
    assert sum(p.numel() for p in agent.net.parameters() if p.requires_grad) == 2_016_797


def test_loaded_weights_act_and_train():
    agent, other = make(seed=1), make(seed=2)
    agent.train_iteration()
    other.load_model_state_dict(agent.model_state_dict())
    obs = torch.randn(8, 6)
    assert torch.equal(agent.act(obs, deterministic=True), other.act(obs, deterministic=True))
    assert not torch.equal(other.act(obs, deterministic=False), other.act(obs, deterministic=False))
    other.train_iteration()
    assert int(other.obs_norm._count) == 256
    assert not equal_models(agent.model_state_dict(), other.model_state_dict())


def test_models_that_do_not_fit_are_one_line():
    agent = make()
    model = agent.model_state_dict()
    wide = make(model=ModelConfig("fc_2layers_256units", "fc_2layers_128units")).model_state_dict()
    with pytest.raises(UserError, match=r"_actor_layers.0.weight has shape \[256, 6\]"):
        agent.load_model_state_dict(wide)
    with pytest.raises(UserError, match=r"lacks _model._critic_out.bias and has unknown x"):
        agent.load_model_state_dict(
            {**{k: v for k, v in model.items() if k != "_model._critic_out.bias"}, "x": model["_obs_norm._mean"]}
        )
    with pytest.raises(UserError, match=r"8 environments"):
        make(num_envs=4).load_state_dict(agent.state_dict())
    with pytest.raises(UserError, match=r"model_file="):
        agent.load_state_dict({"weights": 1})
    agent.train_iteration()
    with pytest.raises(UserError, match=r"AdamW.*SGD"):
        make(actor_optimizer=OptimizerConfig("SGD")).load_state_dict(agent.state_dict())


def test_an_unknown_agent_is_one_line():
    with pytest.raises(UserError, match=r"agent_name.*'PP0'.*nearest: PPO"):
        make_agent(toy_config(agent_name="PP0"), ToyEnv(), "cpu")


def test_non_finite_numbers_are_located():
    agent = make()
    agent.train_iteration()
    agent.env.position[3, 1] = math.nan
    where = agent.check_finite(agent.train_iteration())
    assert where is not None
    assert "Critic_Loss" in where
    assert "rollout final_obs, step 0, env 3, component 1" in where
    assert "_model._critic_layers.0.weight" in where


def test_train_statistics_cover_the_iterations_since_the_last_output():
    agent = make(num_envs=4, iters_per_output=2)
    agent.env.limit = math.inf
    rows = [agent.train_iteration() for _ in range(5)]
    # All four episodes end together, after steps 20, 40, 60 and 80: in iterations 1, 2, 3 and 4 (16 steps each);
    # the statistics start anew after iterations 0, 2 and 4.
    assert [row["Train_Episodes"] for row in rows] == [0, 4, 8, 4, 8]
    assert [row["Train_Episode_Length"] for row in rows] == [0.0, 20.0, 20.0, 20.0, 20.0]


def test_unbounded_actions_have_no_bound_loss():
    env = ToyEnv()
    env.action_high = torch.tensor([0.5, torch.inf])
    row = PPOAgent(toy_config(), env, "cpu").train_iteration()
    assert "Action_Bound_Loss" not in row


def test_sections_are_timed():
    names = []

    class Timers:
        def section(self, name):
            names.append(name)
            import contextlib

            return contextlib.nullcontext()

    agent = PPOAgent(toy_config(), ToyEnv(), "cpu", timers=Timers())
    agent.train_iteration()
    agent.test(1)
    assert set(names) == {"policy", "update", "test"}


def test_update_threads_apply_to_the_update_only():
    env = ToyEnv()
    seen = []
    step = env.step
    env.step = lambda action: (seen.append(torch.get_num_threads()), step(action))[1]
    agent = PPOAgent(toy_config(), env, "cpu", update_threads=2)
    update = agent._update
    agent._update = lambda: (seen.append(torch.get_num_threads()), update())[1]
    agent.train_iteration()
    assert seen == [1] * 16 + [2]
    assert torch.get_num_threads() == 1
