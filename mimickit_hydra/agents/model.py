"""The actor and the critic, two separate networks under the names of MimicKit's checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from mimickit_hydra.agents.distributions import DiagGaussian, GaussianHead
from mimickit_hydra.agents.networks import build_net, linear_head
from mimickit_hydra.agents.schema import ModelConfig


class ActorCritic(nn.Module):
    """A policy over normalised actions and a state value, both from the normalised observation.

    The order of registration is the order of names in ``model.pt``; a method with further networks adds them before
    or after in its own subclass.
    """

    def __init__(self, config: ModelConfig, input_size: int, action_size: int, critic_size: int = 0) -> None:
        """``critic_size``: of the critic's own observation, where it has one."""
        super().__init__()
        self._build_actor(config, input_size, action_size)
        self._build_critic(config, critic_size or input_size)

    def _build_actor(self, config: ModelConfig, input_size: int, action_size: int) -> None:
        self._actor_layers, size = build_net(config.actor_net, input_size, config.activation)
        self._action_dist = GaussianHead(
            size, action_size, config.actor_std_type, config.action_std, config.actor_init_output_scale
        )

    def _build_critic(self, config: ModelConfig, input_size: int) -> None:
        self._critic_layers, size = build_net(config.critic_net, input_size, config.activation)
        self._critic_out = linear_head(size, 1)

    @property
    def state_dependent_std(self) -> bool:
        return self._action_dist.state_dependent_std

    def actor(self, norm_obs: Tensor) -> DiagGaussian:
        """The distribution over actions [..., A] for ``norm_obs`` [..., O]."""
        dist: DiagGaussian = self._action_dist(self._actor_layers(norm_obs))
        return dist

    def critic(self, norm_obs: Tensor) -> Tensor:
        """The value [...] of ``norm_obs`` [..., O]."""
        value: Tensor = self._critic_out(self._critic_layers(norm_obs))
        return value.squeeze(-1)

    def actor_parameters(self) -> Iterator[nn.Parameter]:
        yield from self._actor_layers.parameters()
        yield from self._action_dist.parameters()

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        yield from self._critic_layers.parameters()
        yield from self._critic_out.parameters()
