"""The base of methods whose reward comes from a judge of motion: a discriminator or a prior."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mimickit_hydra.agents.ppo_agent import PPOAgent
from mimickit_hydra.agents.schema import AMPAgentConfig, SMPAgentConfig


class StyleAgent(PPOAgent):
    """Rollout fields besides PPO's: ``disc_obs`` [T, N, D], what the judge sees of a step, raw; ``train_reward``
    [T, N], the mix of judgement and environment that the policy learns from."""

    config: AMPAgentConfig | SMPAgentConfig

    def _judged_size(self) -> int:
        """The size D of what the judge sees of a step."""
        raise NotImplementedError

    def _score(self, disc_obs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted reward [S] of rows [S, D], before this iteration's steps; scalars to log."""
        raise NotImplementedError

    def _build_buffer(self) -> None:
        super()._build_buffer()
        self.buffer.add_field("disc_obs", self._judged_size())
        self.buffer.add_field("train_reward")

    def _record_step(self, t: int, info: Mapping[str, Tensor]) -> None:
        super()._record_step(t, info)
        self.buffer["disc_obs"][t].copy_(info["disc_obs"])

    @torch.no_grad()
    def _build_train_data(self) -> dict[str, Tensor]:
        reward, scalars = self._score(self.buffer.flat("disc_obs"))
        mixed = reward.view_as(self.buffer["reward"])
        if self.config.task_reward_weight != 0.0:
            mixed = mixed + self.config.task_reward_weight * self.buffer["reward"]
        self.buffer["train_reward"].copy_(mixed)
        return {**super()._build_train_data(), **scalars}

    def _rewards(self) -> Tensor:
        return self.buffer["train_reward"]
