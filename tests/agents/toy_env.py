"""A point that should sit on a target: the smallest environment with every way of ending, and a state to restore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from mimickit_hydra.agents.schema import ModelConfig, OptimizerConfig, PPOAgentConfig
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL, DONE_TIME
from mimickit_hydra.envs.env import Env


class ToyEnv(Env):
    """obs = (position, target, 1, time); reward exp(-2|position - target|²); leaving the square fails."""

    def __init__(self, num_envs: int = 8, episode_steps: int = 20) -> None:
        self.num_envs = num_envs
        self.obs_size = 6
        self.episode_steps = episode_steps
        self.limit = 2.0
        self.control_dt = 1.0 / 30.0
        self.device = torch.device("cpu")
        self.action_low = torch.tensor([-0.5, -0.4])
        self.action_high = torch.tensor([0.5, 0.6])
        self.position = torch.zeros(num_envs, 2)
        self.target = torch.zeros(num_envs, 2)
        self.time = torch.zeros(num_envs)
        self.steps_total = torch.zeros(1)
        self.obs = torch.zeros(num_envs, self.obs_size)
        self.reward = torch.zeros(num_envs)
        self.done = torch.zeros(num_envs, dtype=torch.int32)
        self.info: dict[str, Tensor] = {}
        self.modes: list[bool] = []

    def reset(self, mask: Tensor | None = None) -> Tensor:
        mask = torch.ones(self.num_envs, dtype=torch.bool) if mask is None else mask
        fresh = torch.rand(2, self.num_envs, 2) * 2.0 - 1.0
        self.position[mask] = fresh[0][mask]
        self.target[mask] = fresh[1][mask]
        self.time[mask] = 0.0
        self.done[mask] = DONE_NULL
        self._observe()
        return self.obs

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        self.position += action.clamp(self.action_low, self.action_high)
        self.time += 1.0
        self.steps_total += 1.0
        self.reward.copy_(torch.exp(-2.0 * (self.position - self.target).square().sum(-1)))
        self.done.copy_(torch.where(self.time >= self.episode_steps, DONE_TIME, DONE_NULL))
        self.done.masked_fill_((self.position.abs() > self.limit).any(-1), DONE_FAIL)
        self._observe()
        return self.obs, self.reward, self.done, self.info

    def _observe(self) -> None:
        self.obs[:, :2] = self.position
        self.obs[:, 2:4] = self.target
        self.obs[:, 4] = 1.0
        self.obs[:, 5] = self.time

    def set_mode(self, test: bool) -> None:
        self.modes.append(test)

    def diagnostics(self) -> dict[str, Tensor]:
        return {"root_pos_err": (self.position - self.target).norm(dim=-1).mean()}

    def _state(self) -> dict[str, Tensor]:
        names = ("position", "target", "time", "steps_total", "obs", "reward", "done")
        return {name: getattr(self, name) for name in names}

    def state_dict(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self._state().items():
            tensor.copy_(state[name])


class ToyStyleEnv(ToyEnv):
    """With discriminator observations: the offset from the target now and before. Demonstrations stay close to it."""

    def __init__(self, num_envs: int = 8, episode_steps: int = 20) -> None:
        super().__init__(num_envs, episode_steps)
        self.disc_obs_size = 4
        self.info = {name: torch.zeros(num_envs, self.disc_obs_size) for name in ("disc_obs", "disc_obs_demo")}
        self.fetched = 0

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        before = self.target - self.position
        result = super().step(action)
        self.info["disc_obs"].copy_(torch.cat([self.target - self.position, before], -1))
        return result

    def fetch_disc_obs_demo(self, count: int) -> Tensor:
        self.fetched += count
        return 0.2 * torch.randn(count, self.disc_obs_size)

    def _state(self) -> dict[str, Tensor]:
        return {**super()._state(), **self.info}


def toy_config(config_class: type = PPOAgentConfig, **changes: object) -> PPOAgentConfig:
    """A small PPO (or another method) with Adam; ``changes`` replace its keys."""
    values: dict[str, object] = {
        "agent_name": "PPO",
        "model": ModelConfig("fc_2layers_128units", "fc_2layers_128units", 0.01, "FIXED", 0.2),
        "actor_optimizer": OptimizerConfig("Adam", 1e-3),
        "critic_optimizer": OptimizerConfig("Adam", 2e-3),
        "discount": 0.9,
        "steps_per_iter": 16,
        "iters_per_output": 5,
        "actor_epochs": 3,
        "actor_batch_size": 4,
        "critic_epochs": 2,
        "critic_batch_size": 4,
    }
    return config_class(**{**values, **changes})


class FakeGraph:
    """Notes what is done with it instead of capturing."""

    log: ClassVar[list[str]] = []

    def capture_begin(self, capture_error_mode):
        self.log.append("begin")

    def capture_end(self):
        self.log.append("end")

    def replay(self):
        self.log.append("replay")
