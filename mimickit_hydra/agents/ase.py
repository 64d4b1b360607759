"""Pure functions of ASE's skill space (Peng et al. 2022): latents on the unit sphere, encoder, diversity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimickit_hydra.agents.discriminator import DiscriminatorModel
from mimickit_hydra.agents.distributions import DiagGaussian
from mimickit_hydra.agents.networks import build_net, linear_head
from mimickit_hydra.agents.ppo import masked_mean
from mimickit_hydra.agents.schema import ASEModelConfig, ModelConfig

ENC_INIT_SCALE = 0.1


class ASEModel(DiscriminatorModel):
    """Encoder, then actor and critic on (normalised observation, latent), then discriminator."""

    def __init__(
        self, config: ASEModelConfig, input_size: int, action_size: int, disc_obs_size: int, critic_size: int = 0
    ) -> None:
        self._sizes = (config.enc_net, disc_obs_size, config.latent_dim)
        super().__init__(config, input_size, action_size, disc_obs_size, critic_size)

    def _build_actor(self, config: ModelConfig, input_size: int, action_size: int) -> None:
        enc_net, disc_obs_size, latent_dim = self._sizes
        self._enc_layers, size = build_net(enc_net, disc_obs_size)  # first in a checkpoint
        self._enc_out = linear_head(size, latent_dim, ENC_INIT_SCALE)
        super()._build_actor(config, input_size, action_size)

    def encoder(self, norm_disc_obs: Tensor) -> Tensor:
        """Normalised discriminator observations [..., D] -> unit latents [..., Z]."""
        return F.normalize(self._enc_out(self._enc_layers(norm_disc_obs)), dim=-1)

    def actors(self, norm_obs: Tensor, latents: Sequence[Tensor]) -> DiagGaussian:
        """What the actor puts out for ``norm_obs`` [B, O] with each of ``latents`` [B, Z], one after another.

        The first layer is linear in the two parts of its input, so the observation passes through it once.
        """
        first, *rest = self._actor_layers
        assert isinstance(first, nn.Linear)
        size = norm_obs.shape[-1]
        of_obs = F.linear(norm_obs, first.weight[:, :size], first.bias)
        hidden = torch.cat([of_obs + F.linear(latent, first.weight[:, size:]) for latent in latents])
        for layer in rest:
            hidden = layer(hidden)
        dist: DiagGaussian = self._action_dist(hidden)
        return dist

    def enc_parameters(self) -> list[nn.Parameter]:
        return [*self._enc_layers.parameters(), *self._enc_out.parameters()]


def unit_latents(noise: Tensor) -> Tensor:
    """Standard normal numbers [..., Z] -> points uniform on the unit sphere."""
    return F.normalize(noise, dim=-1)


def encoder_loss(latent: Tensor, encoded: Tensor) -> Tensor:
    """Minus the mean cosine of encodings and latents, both [B, Z] of unit length."""
    return -(latent * encoded).sum(-1).mean()


def encoder_reward(latent: Tensor, encoded: Tensor) -> Tensor:
    """The cosine [B] of encodings and latents, at least 0."""
    return (latent * encoded).sum(-1).clamp_min(0.0)


def diversity_loss(
    mean: Tensor, other_mean: Tensor, latent: Tensor, other_latent: Tensor, target: float, mask: Tensor | None
) -> Tensor:
    """Mean of (target − Δa / Δz)² (eq. 15 of the paper): other latents should make for other actions.

    ``mean`` and ``other_mean`` [B, A] are the policy's for the same observations with ``latent`` and ``other_latent``
    [B, Z]; Δa is their mean squared distance, Δz half of one minus the cosine.
    """
    action_change = (other_mean - mean).square().mean(-1)
    latent_change = 0.5 - 0.5 * (latent * other_latent).sum(-1)
    return masked_mean((target - action_change / (latent_change + 1e-5)).square(), mask)


def renew_latents(latent: Tensor, expiry: Tensor, time: Tensor, fresh: Tensor, duration: Tensor) -> Tensor:
    """Replace, in place, the latents [N, Z] whose time has come and those of episodes that just began; returns latents.

    ``time`` [N] s since the episode began, ``expiry`` [N] when the latent ends, ``fresh`` [N, Z] and ``duration`` [N] s
    what replaces them. Fixed shapes, no look at the data.
    """
    due = (time >= expiry) | (time <= 0.0)
    torch.where(due, time + duration, expiry, out=expiry)
    torch.where(due[:, None], fresh, latent, out=latent)
    return latent
