"""Acts with zeros and learns nothing: for envs that move the character themselves."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.comm import Comm
from mimickit_hydra.agents.errors import AgentError
from mimickit_hydra.config.schema import DummyAgentConfig

if TYPE_CHECKING:
    from mimickit_hydra.agents.optimizer import HeadOptimizer
    from mimickit_hydra.envs.env import Env
    from mimickit_hydra.runtime.timers import Timers


class DummyAgent(Agent):
    """Can be tested, and refuses to be trained."""

    config: DummyAgentConfig  # type: ignore[assignment]

    def __init__(
        self,
        config: DummyAgentConfig,
        env: Env,
        device: torch.device | str,
        comm: Comm | None = None,
        timers: Timers | None = None,
        update_threads: int = 1,
    ) -> None:
        # None of what the base class builds: there are no networks, no buffer and no optimisers here.
        self.config = config
        self.env = env
        self.device = torch.device(device)
        self.comm = comm or Comm()
        self.timers = timers
        self.update_threads = update_threads
        self.iteration = 0
        self.samples = 0
        self.net = nn.Module()
        self._started = False
        self._untimed = contextlib.nullcontext()
        self._actions = torch.zeros(env.num_envs, env.action_low.shape[0], device=self.device)

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self._actions

    def train_iteration(self) -> dict[str, float]:
        raise AgentError("agent=dummy learns nothing; run it with mode=test")

    def _build_model(self) -> nn.Module:
        return self.net

    def _build_optimizers(self) -> dict[str, HeadOptimizer]:
        return {}

    def _decide(self, t: int, norm_obs: Tensor) -> Tensor:
        return self._actions

    def _mode_action(self, norm_obs: Tensor) -> Tensor:
        return self._actions

    def _sample_action(self, norm_obs: Tensor) -> Tensor:
        return self._actions

    def _build_train_data(self) -> dict[str, Any]:
        return {}

    def _update(self) -> dict[str, Any]:
        return {}
