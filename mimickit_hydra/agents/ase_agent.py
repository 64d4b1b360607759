"""ASE: AMP with a latent skill that the policy follows and an encoder recovers (Peng et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.amp_agent import AMPAgent
from mimickit_hydra.agents.ase import (
    ASEModel,
    diversity_loss,
    encoder_loss,
    encoder_reward,
    renew_latents,
    unit_latents,
)
from mimickit_hydra.agents.distributions import DiagGaussian
from mimickit_hydra.agents.evaluation import ShouldStop, TestCallback
from mimickit_hydra.agents.optimizer import HeadOptimizer
from mimickit_hydra.agents.returns import correction
from mimickit_hydra.agents.schema import ASEAgentConfig
from mimickit_hydra.errors import UserError


class ASEAgent(AMPAgent):
    """Every environment follows a latent until it expires or its episode ends; expiry is checked before each action.

    Rollout field besides AMP's: ``latents`` [T, N, Z], those the actions were chosen with. Actor and critic see
    (normalised observation, latent); V(next_obs) uses the latent of its row, also where the next action had another.
    """

    config: ASEAgentConfig
    _input_fields = ("norm_obs", "latents")

    @property
    def model(self) -> ASEModel:
        return cast(ASEModel, self.net._model)

    def _build_model(self) -> nn.Module:
        size = self._own_critic_size
        critic = size + self.config.model.latent_dim if size else 0
        actions = self.env.action_low.shape[0]
        return ASEModel(self.config.model, self._input_size(), actions, self.disc_obs_size, critic)

    def _input_size(self) -> int:
        return self.env.obs_size + self.config.model.latent_dim

    def _build_optimizers(self) -> dict[str, HeadOptimizer]:
        enc = HeadOptimizer("enc", self.model.enc_parameters(), self.config.enc_optimizer, self.comm)
        return {**super()._build_optimizers(), "enc": enc}

    def _build_buffer(self) -> None:
        super()._build_buffer()
        config, num_envs = self.config, self.env.num_envs
        if not hasattr(self.env, "time"):
            raise UserError("agent ASE needs an env that keeps the time of its episodes, such as env=ase")
        self.buffer.add_field("latents", config.model.latent_dim)
        self.buffer.add_field("latent_time")
        self._latents = torch.zeros(num_envs, config.model.latent_dim, device=self.device)
        self._expiry = torch.zeros(num_envs, device=self.device)  # s of env time
        self._enc_batch = self._batch_size("enc_batch_size")
        self._enc_inputs = torch.empty(self._enc_batch, self.disc_obs_size, device=self.device)

    def _start(self) -> None:
        anew = not self._started
        super()._start()
        if anew:
            self._expiry.zero_()

    def _begin_rollout(self) -> None:
        """Draw latents and durations for the whole rollout at once; a step takes those that are due."""
        super()._begin_rollout()
        config = self.config
        self.buffer["latents"].copy_(unit_latents(self.buffer["latents"].normal_()))
        self.buffer["latent_time"].uniform_(config.latent_time_min, config.latent_time_max)

    def _policy(self, t: int, norm_obs: Tensor) -> DiagGaussian:
        row = self.buffer["latents"][t]
        row.copy_(self._renew(row, self.buffer["latent_time"][t]))
        return self.model.actor(torch.cat([norm_obs, row], -1))

    def _renew(self, fresh: Tensor, duration: Tensor) -> Tensor:
        return renew_latents(self._latents, self._expiry, self.env.time, fresh, duration)  # type: ignore[attr-defined]

    @property
    def policy_inputs(self) -> dict[str, int]:
        return {"latents": self.config.model.latent_dim}

    def policy(self, norm_obs: Tensor, *more: Tensor) -> Tensor:
        return super()._mode_action(torch.cat([norm_obs, *more], -1))

    def _mode_action(self, norm_obs: Tensor) -> Tensor:
        return super()._mode_action(self._with_current_latents(norm_obs))

    def _sample_action(self, norm_obs: Tensor) -> Tensor:
        return super()._sample_action(self._with_current_latents(norm_obs))

    def _with_current_latents(self, norm_obs: Tensor) -> Tensor:
        """``norm_obs`` [N, O] joined with the latents, which outside of training live and expire as they do in it."""
        config = self.config
        duration = torch.empty_like(self._expiry).uniform_(config.latent_time_min, config.latent_time_max)
        return torch.cat([norm_obs, self._renew(unit_latents(torch.randn_like(self._latents)), duration)], -1)

    def hold(self, latents: Tensor) -> None:
        """Follow the skills ``latents`` ``[N, Z]`` from now on; after a restart this has to be said again."""
        self._latents.copy_(latents)
        self._expiry.fill_(torch.inf)

    @torch.no_grad()
    def act_with_latents(self, obs: Tensor, latents: Tensor) -> Tensor:
        """The most likely environment actions [B, A] for raw observations [B, O] and chosen skills [B, Z]."""
        return self.policy(self.obs_norm.normalize(obs), latents)

    def test(
        self, episodes: int, callback: TestCallback | None = None, should_stop: ShouldStop | None = None
    ) -> dict[str, float]:
        before = self._latents.clone(), self._expiry.clone()
        try:
            return super().test(episodes, callback, should_stop)
        finally:
            self._latents.copy_(before[0])
            self._expiry.copy_(before[1])

    def _evaluate_values(self) -> tuple[Tensor, Tensor]:
        latents = self.buffer["latents"]
        now = torch.cat([self._critic_field("norm_obs")[:-1], latents], -1)
        following = torch.cat([self.critic_norm.normalize(self._critic_field("final_obs")), latents], -1)
        return self._values(now), self._values(following)

    def _score(self, disc_obs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        reward, scalars = super()._score(disc_obs)
        chunks = self._chunks(disc_obs, self.config.enc_eval_batch_size)
        encoded = torch.cat([self.model.encoder(self._normalize(rows)) for rows in chunks])
        enc_reward = encoder_reward(self.buffer.flat("latents"), encoded)
        std, mean = torch.std_mean(enc_reward, correction=correction(enc_reward))
        reward = reward + self.config.enc_reward_weight * enc_reward
        return reward, {**scalars, "enc_reward_mean": mean, "enc_reward_std": std}

    def _inputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([batch["norm_obs"], batch["latents"]], -1)

    def _critic_inputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        if not self._own_critic_size:
            return self._inputs(batch)
        return torch.cat([batch["critic_norm_obs"], batch["latents"]], -1)

    def _actor_loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self._diverse_actor_loss(batch, unit_latents(torch.randn_like(batch["latents"])))

    def _diverse_actor_loss(
        self, batch: Mapping[str, Tensor], other_latents: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """PPO's loss plus the diversity term; both policies in one pass through the network."""
        both = self.model.actors(batch["norm_obs"], (batch["latents"], other_latents))
        size = other_latents.shape[0]
        logstd = both.logstd[:size] if self.model.state_dependent_std else both.logstd
        dist = DiagGaussian(both.mean[:size], logstd)
        loss, parts = self._policy_loss(dist, batch)
        diversity = diversity_loss(
            dist.mean, both.mean[size:], batch["latents"], other_latents, self.config.diversity_tar, batch.get("mask")
        )
        return loss + self.config.diversity_weight * diversity, {**parts, "diversity_loss": diversity.detach()}

    def _update(self) -> dict[str, Tensor]:
        return {**super()._update(), **self._update_enc()}

    def _update_enc(self) -> dict[str, Tensor]:
        fields = {"row": self._rows, "latents": self.buffer.flat("latents")}
        return self._run_updates("enc", self._enc_step_loss, fields, self.config.enc_epochs, self._enc_batch)

    def _enc_step_loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        rows = torch.index_select(self.buffer.flat("disc_obs"), 0, batch["row"], out=self._enc_inputs)
        return encoder_loss(batch["latents"], self.model.encoder(self._normalize(rows, out=rows))), {}

    def _extra_state(self) -> dict[str, Any]:
        return {**super()._extra_state(), "latents": self._latents.clone(), "latent_expiry": self._expiry.clone()}

    def _load_extra_state(self, saved: Mapping[str, Any], same_world: bool) -> None:
        super()._load_extra_state(saved, same_world)
        self._latents.copy_(saved["latents"])
        self._expiry.copy_(saved["latent_expiry"])
