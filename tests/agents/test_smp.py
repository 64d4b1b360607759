"""SMP: score losses and rewards by golden numbers, its statistics, generated starts, refusals."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from golden_agents import agent_config, sized_env
from test_prior import golden_prior
from toy_env import ToyStyleEnv, toy_config

from mimickit_hydra.agents import smp_agent
from mimickit_hydra.agents.prior import DiffusionPrior
from mimickit_hydra.agents.prior_config import PriorConfig, WindowSettings
from mimickit_hydra.agents.schema import SMPAgentConfig
from mimickit_hydra.agents.smp_agent import SMPAgent
from mimickit_hydra.errors import UserError

SMP = {
    "smp_prior_cfg": "diffusion_config.yaml",
    "smp_prior_model": "model.pt",
    "smp_eval_batch_size": 50,
    "smp_reward_weight": 1.0,
    "task_reward_weight": 0.0,
    "sds_loss_scale": 1.0,
    "diffusion_steps": [22, 15, 8],
}
TINY = {"num_attention_heads": 2, "attention_head_dim": 8, "model_ema": True}
GSI = {"enable_gsi": True, "gsi_iters": 2, "gsi_sampler": "ddim", "gsi_inference_steps": 3, "gsi_buffer_size": 10}
GSI |= {"gsi_regen_num_motions": 6, "gsi_batch_size": 4}


class ToyWindowEnv(ToyStyleEnv):
    """Two frames of two channels, and a place for generated starts."""

    def __init__(self, num_envs=8, episode_steps=20):
        super().__init__(num_envs, episode_steps)
        self.generated = []

    def init_gsi_buffer(self, samples, *, symmetric):
        self.generated.append(samples)

    def add_gsi_samples(self, samples):
        self.generated.append(samples)


def write_prior(folder, **window):
    """A prior with random weights, as files."""
    torch.manual_seed(5)
    torch.save(DiffusionPrior(PriorConfig(**TINY), 2).state_dict(), folder / "model.pt")
    lines = [f"{key}: {str(value).lower()}" for key, value in TINY.items()]
    (folder / "diffusion_config.yaml").write_text(
        "\n".join([*lines, "env_config: env_config.yaml", "control_freq: 30"])
    )
    values = {"num_disc_obs_steps": 2, **window}
    (folder / "env_config.yaml").write_text("\n".join(f"{key}: {value}" for key, value in values.items()))
    return {
        "smp_prior_cfg": str(folder / "diffusion_config.yaml"),
        "smp_prior_model": str(folder / "model.pt"),
    }


def make(folder, num_envs=8, seed=0, **changes):
    files = write_prior(folder)
    torch.manual_seed(seed)
    config = toy_config(SMPAgentConfig, agent_name="SMP", **{**SMP, **files, **changes})
    return SMPAgent(config, ToyWindowEnv(num_envs), "cpu")


@pytest.mark.parametrize("name", ["single_clip", "task_mix_closed_window"])
def test_rewards(golden, name, monkeypatch):
    data = golden("learn_smp")
    case = data.case(name)
    prior = golden_prior(data)
    monkeypatch.setattr(smp_agent, "load_prior", lambda config_file, model_file: (prior, WindowSettings(4)))
    small = {"actor_batch_size": 1, "critic_batch_size": 1}  # the file's rollout is shorter than its minibatches
    config = agent_config(SMPAgentConfig, {**case.json("config_json"), **small})
    agent = SMPAgent(config, sized_env(data.json("env_json"), ToyStyleEnv), "cpu")
    agent.sds_norm._mean_abs.copy_(case["in/sds_mean_abs"])
    agent.sds_norm._count.copy_(case["in/sds_count"])
    windows = case["in/disc_obs"]
    torch.testing.assert_close(prior.normalize(windows.flatten(0, 1)), case["out/norm_disc_obs"], rtol=2e-5, atol=2e-5)
    losses = agent._score_losses(windows.flatten(0, 1), case["in/noise"])
    torch.testing.assert_close(losses, case["out/sds_loss"], rtol=1e-3, atol=1e-5)

    agent.buffer["reward"].copy_(case["in/task_reward"])
    for t in range(agent.buffer.steps):
        agent._record_step(t, {"disc_obs": windows[t]})
    score = agent._score
    monkeypatch.setattr(agent, "_score", lambda rows: score(rows, case["in/noise"]))
    scalars = agent._build_train_data()
    torch.testing.assert_close(agent.buffer["train_reward"], case["out/reward"], rtol=1e-3, atol=1e-5)
    for key in ("smp_reward_mean", "smp_reward_std", "sds_loss_mean", "sds_loss_std"):
        torch.testing.assert_close(scalars[key], case[f"out/{key}"], rtol=1e-3, atol=1e-5)
    agent._update_statistics()
    torch.testing.assert_close(agent.sds_norm._mean_abs, case["out/sds_mean_abs_after"], rtol=1e-4, atol=1e-5)
    assert torch.equal(agent.sds_norm._count, case["out/sds_count_after"])


def test_trains_and_logs(tmp_path):
    agent = make(tmp_path)
    before = {name: value.clone() for name, value in agent.prior.state_dict().items()}
    rows = [agent.train_iteration() for _ in range(3)]
    assert agent.check_finite(rows[-1]) is None
    order = list(rows[0])
    keys = ["Adv_Std", "Smp_Reward_Mean", "Smp_Reward_Std", "Sds_Loss_Mean", "Sds_Loss_Std"]
    start = order.index("Adv_Std")
    assert order[start : start + 5] == keys
    assert int(agent.sds_norm._count) == 3 * 128
    assert all(torch.equal(value, before[name]) for name, value in agent.prior.state_dict().items())
    assert not agent.prior.training


def test_statistics_of_losses_have_their_own_window(tmp_path):
    agent = make(tmp_path, sds_normalizer_samples=100.0, normalizer_samples=1000.0)
    for _ in range(2):
        agent.train_iteration()
    assert int(agent.sds_norm._count) == 128
    assert int(agent.obs_norm._count) == 256


def test_generated_starts_are_made_at_once_and_then_now_and_again(tmp_path):
    agent = make(tmp_path, **GSI)
    shapes = []
    for _ in range(4):
        agent.train_iteration()
        shapes.append([tuple(samples.shape) for samples in agent.env.generated])
    assert shapes[0] == [(10, 2, 2), (6, 2, 2)]
    assert shapes[1] == shapes[0]
    assert len(shapes[2]) == len(shapes[3]) == 3
    assert all(torch.isfinite(samples).all() for samples in agent.env.generated)


def test_model_holds_the_prior_under_mimickits_names(tmp_path):
    agent = make(tmp_path)
    names = list(agent.model_state_dict())
    assert names[6:8] == ["_sds_normalizer._count", "_sds_normalizer._mean_abs"]
    assert names[8].startswith("_model.")
    prior = [name for name in names if name.startswith("_prior_model.")]
    assert names[-len(prior) :] == prior
    assert prior == [f"_prior_model.{name}" for name in agent.prior.state_dict()]
    trainable = sum(p.numel() for p in agent.net.parameters() if p.requires_grad)
    assert trainable == sum(optimizer._flat.numel() for optimizer in agent.optimizers.values())


def test_refusals_are_one_line(tmp_path):
    files = write_prior(tmp_path)
    config = toy_config(SMPAgentConfig, agent_name="SMP", **{**SMP, **files})

    def agent(env=None, **changes):
        values = {**SMP, **files, **changes}
        return SMPAgent(toy_config(SMPAgentConfig, agent_name="SMP", **values), env or ToyWindowEnv(), "cpu")

    env = ToyWindowEnv()
    env.disc_obs_size = 6
    with pytest.raises(UserError, match=r"windows of 2 frames of 2 numbers, this env shows 6 numbers instead of 4"):
        agent(env)
    env = ToyWindowEnv()
    env.control_dt = 1.0 / 60.0
    with pytest.raises(UserError, match=r"engine.control_freq: found 60 Hz.*30 Hz"):
        agent(env)
    env = ToyWindowEnv()
    env.window_settings = {"global_obs": True, "key_bodies": []}
    with pytest.raises(UserError, match=r"env.global_obs: found True, but the prior was trained with False"):
        agent(env)
    with pytest.raises(UserError, match=r"diffusion_steps"):
        agent(diffusion_steps=[60])
    (tmp_path / "model.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"model.pt: truncated or not an archive"):
        SMPAgent(config, ToyWindowEnv(), "cpu")
