"""The networks of the world-model agent, under the names of its checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.schema import FC_WIDTHS
from mimickit_hydra.agents.world_model.model import WorldModel
from mimickit_hydra.agents.world_model.networks import Policy, SmoothMLP
from mimickit_hydra.agents.world_model.schema import WorldModelNets


class WorldModelActorCritic(nn.Module):
    """A policy and its average, which acts; a critic and its average, which bootstraps; and the world model.

    ``reward_scale`` [] makes the best step's reward 1; ``fitted`` [] is 1 once statistics have been taken.
    """

    reward_scale: Tensor
    fitted: Tensor

    def __init__(self, config: WorldModelNets, inputs: int, actions: int, world: WorldModel) -> None:
        super().__init__()
        self.policy = Policy(inputs, FC_WIDTHS[config.actor_net], actions)
        self.policy_average = copy.deepcopy(self.policy)
        self.critic = SmoothMLP(inputs, FC_WIDTHS[config.critic_net], 1, 0.1)
        nn.init.constant_(self.critic.out.bias, 0.5)
        self.critic_average = copy.deepcopy(self.critic)
        self.world = world
        self.register_buffer("reward_scale", torch.ones(()))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.int64))

    def matrices(self, name: str) -> Sequence[nn.Parameter]:
        """The hidden matrices of the ``policy``, ``critic`` or ``world``."""
        nets = {"policy": self.policy.net, "critic": self.critic, "world": self.world.net}
        return nets[name].matrices()
