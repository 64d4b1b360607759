"""AWR: regression onto the actions taken, weighted by their exponentiated advantage (Peng et al. 2019).

As in MimicKit, on the samples of one iteration, without the paper's replay of older ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mimickit_hydra.agents.distributions import DiagGaussian
from mimickit_hydra.agents.ppo import masked_mean, regularize
from mimickit_hydra.agents.ppo_agent import PPOAgent
from mimickit_hydra.agents.schema import AWRAgentConfig


def advantage_weight(adv: Tensor, temperature: float, clip: float) -> Tensor:
    """exp(A / temperature) of advantages [...], at most ``clip`` (Peng et al. 2019)."""
    return torch.exp(adv / temperature).clamp_max(clip)


class AWRAgent(PPOAgent):
    """The critic of PPO, and an actor that imitates its own better actions.

    Rollout field besides PPO's: ``a_weight`` [T, N].
    """

    config: AWRAgentConfig  # type: ignore[assignment]

    def _build_buffer(self) -> None:
        super()._build_buffer()
        self.buffer.add_field("a_weight")

    @torch.no_grad()
    def _build_train_data(self) -> dict[str, Tensor]:
        return self._build_targets(*self._evaluate_values())

    def _build_targets(self, value: Tensor, next_value: Tensor) -> dict[str, Tensor]:
        scalars = super()._build_targets(value, next_value)
        weight = advantage_weight(self.buffer["adv"], self.config.awr_temp, self.config.a_weight_clip)
        self.buffer["a_weight"].copy_(weight)
        lowest, highest = weight.aminmax()
        return {**scalars, "a_weight_mean": weight.mean(), "a_weight_min": lowest, "a_weight_max": highest}

    def _adv_clip(self) -> float | None:
        return None

    def _actor_fields(self) -> tuple[str, ...]:
        return ("action", "a_weight")

    def _policy_loss(self, dist: DiagGaussian, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        mask = batch.get("mask")
        loss = -masked_mean(batch["a_weight"] * dist.log_prob(batch["action"]), mask)
        return regularize(loss, dist, self._regularizers, mask)
