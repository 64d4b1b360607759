"""An environment that only has sizes, and a small agent of each method on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.registry import make_agent
from mimickit_hydra.agents.schema import (
    AgentConfig,
    AMPAgentConfig,
    AMPModelConfig,
    ASEAgentConfig,
    ASEModelConfig,
    AWRAgentConfig,
    LCPAgentConfig,
    ModelConfig,
    OptimizerConfig,
    PPOAgentConfig,
    SMPAgentConfig,
)
from mimickit_hydra.envs.env import Env

OBS, ACTIONS, DISC_OBS, ENVS, LATENTS = 12, 4, 10, 5, 8
NET = "fc_2layers_128units"
ADAM = OptimizerConfig("Adam", 1e-3)


class SizedEnv(Env):
    """Observations [5, 12], actions [5, 4] between uneven bounds, discriminator observations [5, 10]."""

    def __init__(self) -> None:
        self.num_envs, self.obs_size, self.disc_obs_size = ENVS, OBS, DISC_OBS
        self.control_dt = 1.0 / 30.0
        self.device = torch.device("cpu")
        self.action_low = -torch.tensor([0.5, 1.0, 1.5, 2.0])
        self.action_high = torch.tensor([1.0, 1.0, 2.0, 2.5])
        self.obs = torch.zeros(ENVS, OBS)
        self.reward = torch.zeros(ENVS)
        self.done = torch.zeros(ENVS, dtype=torch.int32)
        self.time = torch.zeros(ENVS)
        self.info = {name: torch.zeros(ENVS, DISC_OBS) for name in ("disc_obs", "disc_obs_demo")}

    def reset(self, mask: Tensor | None = None) -> Tensor:
        return self.obs

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        return self.obs, self.reward, self.done, self.info

    def fetch_disc_obs_demo(self, count: int) -> Tensor:
        return torch.zeros(count, DISC_OBS)

    def set_mode(self, test: bool) -> None:
        pass

    def diagnostics(self) -> dict[str, Tensor]:
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        pass


_STYLE = {
    "disc_optimizer": ADAM, "disc_epochs": 1, "disc_batch_size": 1, "disc_buffer_size": 20, "disc_replay_samples": 5,
    "disc_logit_reg": 0.01, "disc_grad_penalty": 5.0, "disc_reward_scale": 2.0, "task_reward_weight": 0.0,
    "disc_reward_weight": 1.0,
}  # fmt: skip
_SKILLS = {
    "enc_optimizer": ADAM, "enc_epochs": 1, "enc_batch_size": 1, "latent_time_min": 1.0, "latent_time_max": 2.0,
    "diversity_weight": 0.01, "diversity_tar": 1.0, "enc_reward_weight": 0.5,
}  # fmt: skip
_PLAIN = ModelConfig(NET, NET)
_WITH_DISC = AMPModelConfig(NET, NET, disc_net=NET)
METHODS: dict[str, tuple[type[AgentConfig], dict[str, Any]]] = {
    "PPO": (PPOAgentConfig, {"model": _PLAIN}),
    "AWR": (AWRAgentConfig, {"model": _PLAIN, "awr_temp": 1.0, "a_weight_clip": 20.0}),
    "LCP": (LCPAgentConfig, {"model": _PLAIN, "lcp_weight": 0.002}),
    "AMP": (AMPAgentConfig, {"model": _WITH_DISC, **_STYLE}),
    "ADD": (AMPAgentConfig, {"model": _WITH_DISC, **_STYLE}),
    "ASE": (
        ASEAgentConfig,
        {
            "model": ASEModelConfig(NET, NET, disc_net=NET, enc_net=NET, latent_dim=LATENTS),
            **_STYLE,
            **_SKILLS,
        },
    ),
}


_SCORE = {
    "smp_eval_batch_size": 4, "smp_reward_weight": 1.0, "task_reward_weight": 0.0, "sds_loss_scale": 1.0,
    "diffusion_steps": [22, 8],
}  # fmt: skip
_PRIOR = {
    "arch_name": "DiT", "num_layers": 1, "num_attention_heads": 1, "attention_head_dim": 8, "model_ema": True,
    "control_freq": 30, "T": 50, "loss_type": "l1", "estimate_mode": "epsilon", "device": "cpu",
    "noise_schedule_mode": "squaredcos_cap_v2", "normalizer_std_clip": 0.2, "model_ema_decay": 0.995,
    "model_ema_steps": 10, "model_ema_update_after": 5000,
}  # fmt: skip


def write_prior(folder: Path) -> dict[str, str]:
    """A random prior of windows of two frames, as files; returns the keys that name them."""
    from mimickit_hydra.agents.prior import DiffusionPrior
    from mimickit_hydra.agents.prior_config import parse_prior_config

    torch.manual_seed(5)
    prior = DiffusionPrior(parse_prior_config(dict(_PRIOR), "test"), DISC_OBS // 2)
    torch.save(prior.state_dict(), folder / "prior.pt")
    (folder / "env_config.yaml").write_text("num_disc_obs_steps: 2\n")
    text = json.dumps({**_PRIOR, "env_config": str(folder / "env_config.yaml")})  # which is YAML too
    (folder / "prior.yaml").write_text(text)
    return {"smp_prior_cfg": str(folder / "prior.yaml"), "smp_prior_model": str(folder / "prior.pt")}


def config_of(method: str, folder: Path | None = None) -> AgentConfig:
    """The config of a small agent; SMP's prior is made in ``folder``."""
    if method == "SMP":
        assert folder is not None
        kind, values = SMPAgentConfig, {"model": _PLAIN, **_SCORE, **write_prior(folder)}
    else:
        kind, values = METHODS[method]
    return kind(
        agent_name=method, actor_optimizer=ADAM, critic_optimizer=ADAM, steps_per_iter=4, actor_epochs=1,
        actor_batch_size=1, critic_epochs=1, critic_batch_size=1, **values,
    )  # fmt: skip


def agent_of(method: str, folder: Path | None = None) -> Agent:
    return make_agent(config_of(method, folder), SizedEnv(), "cpu")
