"""The dummy agent, which acts with zeros and learns nothing, for envs that move the character themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.optimizer import HeadOptimizer
from mimickit_hydra.agents.schema import DummyAgentConfig
from mimickit_hydra.errors import UserError


class DummyAgent(Agent):
    """An agent that can be tested, and refuses to be trained."""

    config: DummyAgentConfig  # type: ignore[assignment]

    def _build_learning(self) -> None:
        # There are no networks, no buffer and no optimisers here.
        self._actions = torch.zeros(self.env.num_envs, self.env.action_low.shape[0], device=self.device)

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self._actions

    def train_iteration(self) -> dict[str, float]:
        raise UserError("agent=dummy learns nothing; run it with mode=test")

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
