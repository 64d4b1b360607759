"""LCP: PPO with a penalty on the gradient of the policy, so that it acts smoothly (Chen et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.distributions import DiagGaussian, GaussianHead
from mimickit_hydra.agents.gradient_penalty import hidden_activations, mean_squared_input_gradient
from mimickit_hydra.agents.ppo_agent import PPOAgent
from mimickit_hydra.agents.schema import LCPAgentConfig


def lipschitz_penalty(layers: nn.Sequential, head: GaussianHead, hidden: list[Tensor], norm_action: Tensor) -> Tensor:
    """Mean over the batch of ‖∂ log π(a|o)/∂o‖², o the normalised observation and a the normalised action [B, A]."""
    dist: DiagGaussian = head(hidden[-1])
    scaled = (norm_action - dist.mean) * torch.exp(-dist.logstd)
    upstream = (scaled * torch.exp(-dist.logstd)) @ head._mean_net.weight
    if isinstance(head._logstd_net, nn.Linear):
        upstream = upstream + (scaled.square() - 1.0) @ head._logstd_net.weight
    return mean_squared_input_gradient(layers, hidden, upstream, 1.0 / norm_action.shape[0])


class LCPAgent(PPOAgent):
    """PPO plus ``lcp_weight`` times the penalty over all samples, those of the mode action included."""

    config: LCPAgentConfig

    def _actor_loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        layers, head = self.model._actor_layers, self.model._action_dist
        hidden = hidden_activations(layers, self._inputs(batch))
        loss, parts = self._policy_loss(head(hidden[-1]), batch)
        penalty = lipschitz_penalty(layers, head, hidden, batch["action"])
        return loss + self.config.lcp_weight * penalty, {**parts, "lcp_loss": penalty.detach()}
