"""PPO: the clipped surrogate loss with advantages from λ-returns."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.agent import OBS_CLIP, Agent
from mimickit_hydra.agents.distributions import DiagGaussian, gaussian_log_prob_of_noise
from mimickit_hydra.agents.model import ActorCritic
from mimickit_hydra.agents.normalizers import ObsNormalizer
from mimickit_hydra.agents.optimizer import HeadOptimizer
from mimickit_hydra.agents.ppo import ActorRegularizers, critic_loss, ppo_actor_loss
from mimickit_hydra.agents.returns import bootstrap_values, normalize_advantage, td_lambda_return
from mimickit_hydra.agents.schema import PPOAgentConfig
from mimickit_hydra.envs.done import DONE_NULL, DONE_TIME


class PPOAgent(Agent):
    """PPO's agent: actor and critic on the normalised observation.

    Rollout fields besides the base's: ``action`` normalised [T, N, A]; ``noise`` [T, N, A], zero where the mode was
    used; ``mask`` [T, N] 1 where sampled; ``a_logp``, ``tar_val``, ``adv`` [T, N]; ``logstd`` only where it varies.
    """

    config: PPOAgentConfig
    _input_fields: tuple[str, ...] = ("norm_obs",)  # what actor and critic see, by rollout field

    @property
    def model(self) -> ActorCritic:
        return cast(ActorCritic, self.net._model)

    @property
    def _own_critic_size(self) -> int:
        """The length of the critic's own observation; 0 where it sees what the actor does."""
        seen = getattr(self.env, "critic_obs", None)
        return 0 if seen is None else int(seen.shape[-1])

    def _build_model(self) -> nn.Module:
        return ActorCritic(self.config.model, self.env.obs_size, self.env.action_low.shape[0], self._own_critic_size)

    def _build_normalizers(self) -> None:
        super()._build_normalizers()
        if self._own_critic_size:
            self.net._critic_obs_norm = ObsNormalizer(self._own_critic_size, clip=OBS_CLIP)

    @property
    def critic_norm(self) -> ObsNormalizer:
        """The statistics of what the critic sees."""
        return cast(ObsNormalizer, self.net._critic_obs_norm) if self._own_critic_size else self.obs_norm

    def _critic_field(self, name: str) -> Tensor:
        """A rollout field of observations, of those that the critic sees."""
        return self.buffer[f"critic_{name}" if self._own_critic_size else name]

    def _build_optimizers(self) -> dict[str, HeadOptimizer]:
        config, model = self.config, self.model
        return {
            "critic": HeadOptimizer("critic", model.critic_parameters(), config.critic_optimizer, self.comm),
            "actor": HeadOptimizer("actor", model.actor_parameters(), config.actor_optimizer, self.comm),
        }

    def _build_buffer(self) -> None:
        super()._build_buffer()
        actions = self.env.action_low.shape[0]
        for name in ("action", "noise"):
            self.buffer.add_field(name, actions)
        if self.model.state_dependent_std:
            self.buffer.add_field("logstd", actions)
        for name in ("mask", "a_logp", "tar_val", "adv"):
            self.buffer.add_field(name)
        if size := self._own_critic_size:
            self.buffer.add_field("critic_obs", size)
            self.buffer.add_field("critic_norm_obs", size, extra_rows=1)
            self.buffer.add_field("critic_final_obs", size)
        self._critic_batch = self._batch_size("critic_batch_size")
        self._actor_batch = self._batch_size("actor_batch_size")
        self._all_sampled = True
        finite = torch.isfinite(self.env.action_low).all() & torch.isfinite(self.env.action_high).all()
        self._regularizers = ActorRegularizers(
            bound=self.config.action_bound_weight if bool(finite) else 0.0,
            entropy=self.config.action_entropy_weight,
            reg=self.config.action_reg_weight,
        )

    def _begin_rollout(self) -> None:
        """Draw all random numbers of the rollout at once."""
        probability = self.exploration_prob
        self._all_sampled = probability >= 1.0
        noise = self.buffer["noise"].normal_()
        if not self._all_sampled:
            mask = self.buffer["mask"].bernoulli_(probability)
            noise.mul_(mask[..., None])

    def _graph_key(self) -> tuple[Hashable, ...]:
        return (*super()._graph_key(), self._all_sampled)

    def _note_critic_obs(self, t: int) -> None:
        """What the critic sees before the step of row ``t``."""
        if self._own_critic_size:
            seen = cast(Tensor, self.env.critic_obs)
            if t < self.buffer.steps and self.normalizer_open:
                self.buffer["critic_obs"][t].copy_(seen)
            self.critic_norm.normalize(seen, out=self.buffer["critic_norm_obs"][t])

    def _record_step(self, t: int, info: Mapping[str, Tensor]) -> None:
        if self._own_critic_size:
            self.buffer["critic_final_obs"][t].copy_(cast(Tensor, self.env.critic_obs))

    def _rollout(self) -> None:
        super()._rollout()
        with torch.no_grad(), self._section("policy"):
            self._note_critic_obs(self.buffer.steps)

    def _update_normalizers(self) -> None:
        super()._update_normalizers()
        if self._own_critic_size:
            self.critic_norm.record(self.buffer["critic_obs"])
            self.critic_norm.update(self.comm)

    def _decide(self, t: int, norm_obs: Tensor) -> Tensor:
        self._note_critic_obs(t)
        dist = self._policy(t, norm_obs)
        action = self.buffer["action"][t]
        torch.addcmul(dist.mean, dist.std, self.buffer["noise"][t], out=action)
        if self.model.state_dependent_std:
            self.buffer["logstd"][t].copy_(dist.logstd)
        return self.action_norm.unnormalize(action)

    def _policy(self, t: int, norm_obs: Tensor) -> DiagGaussian:
        """The policy at rollout row ``t``."""
        return self.model.actor(norm_obs)

    def _mode_action(self, norm_obs: Tensor) -> Tensor:
        return self.action_norm.unnormalize(self.model.actor(norm_obs).mode)

    def _sample_action(self, norm_obs: Tensor) -> Tensor:
        dist = self.model.actor(norm_obs)
        return self.action_norm.unnormalize(dist.sample(torch.randn_like(dist.mean)))

    @torch.no_grad()
    def _build_train_data(self) -> dict[str, Tensor]:
        buffer = self.buffer
        logstd = buffer["logstd"] if self.model.state_dependent_std else self.model._action_dist._logstd_net
        buffer["a_logp"].copy_(gaussian_log_prob_of_noise(buffer["noise"], cast(Tensor, logstd)))
        return self._build_targets(*self._evaluate_values())

    def _build_targets(self, value: Tensor, next_value: Tensor) -> dict[str, Tensor]:
        """Fill ``tar_val`` and ``adv`` of the buffer from V(obs) and V(next_obs) [T, N]."""
        config, buffer, env = self.config, self.buffer, self.env
        next_value = bootstrap_values(
            next_value,
            buffer["done"],
            config.discount,
            getattr(env, "reward_succ", 0.0),
            getattr(env, "reward_fail", 0.0),
        )
        target = td_lambda_return(self._rewards(), next_value, buffer["done"], config.discount, config.td_lambda)
        adv = normalize_advantage(target - value, self._mask(), self.comm, self._adv_clip())
        buffer["tar_val"].copy_(target)
        buffer["adv"].copy_(adv.adv)
        return {"adv_mean": adv.mean, "adv_std": adv.std}

    def _adv_clip(self) -> float | None:
        """The bound ± that normalised advantages are clamped to."""
        return self.config.norm_adv_clip

    def _mask(self) -> Tensor | None:
        """[T, N]: 1 where the action was sampled; None if all were."""
        return None if self._all_sampled else self.buffer["mask"]

    def _rewards(self) -> Tensor:
        """The rewards [T, N] that the policy is trained on."""
        return self.buffer["reward"]

    def _evaluate_values(self) -> tuple[Tensor, Tensor]:
        """V(obs) and V(next_obs) [T, N] by the critic before this iteration's steps.

        While an episode runs, next_obs is the next row's obs; where one ended, the next row already follows the reset
        and V is evaluated on the observation before it. Only TIME needs that: FAIL and SUCC have fixed values.
        """
        value = self._values(self._critic_field("norm_obs"))
        done = self.buffer["done"]
        if self.device.type == "cpu":
            rows = torch.nonzero(done.flatten() == DONE_TIME).squeeze(-1)
            final = self._critic_field("final_obs").flatten(0, 1).index_select(0, rows)
            next_value = value[1:].clone()
            next_value.view(-1)[rows] = self.model.critic(self.critic_norm.normalize(final))
            return value[:-1], next_value
        final_value = self._values(self.critic_norm.normalize(self._critic_field("final_obs")))
        return value[:-1], torch.where(done == DONE_NULL, value[1:], final_value)

    def _values(self, norm_obs: Tensor) -> Tensor:
        """Values [T, N], computed for ``critic_eval_batch_size`` time steps at once (0 = all)."""
        rows = self.config.critic_eval_batch_size or norm_obs.shape[0]
        return torch.cat([self.model.critic(chunk) for chunk in norm_obs.split(rows)])

    def _update(self) -> dict[str, Tensor]:
        return {**self._update_critic(), **self._update_actor()}

    def _update_critic(self, indices: Tensor | None = None) -> dict[str, Tensor]:
        names = ("critic_norm_obs", *self._input_fields[1:]) if self._own_critic_size else self._input_fields
        fields = self._fields(*names, "tar_val")
        return self._run_updates(
            "critic", self._critic_loss, fields, self.config.critic_epochs, self._critic_batch, indices
        )

    def _update_actor(self, indices: Tensor | None = None) -> dict[str, Tensor]:
        names = (*self._input_fields, *self._actor_fields()) + (() if self._all_sampled else ("mask",))
        return self._run_updates(
            "actor", self._actor_loss, self._fields(*names), self.config.actor_epochs, self._actor_batch, indices
        )

    def _actor_fields(self) -> tuple[str, ...]:
        """The buffer fields that the actor's loss needs besides its input."""
        return ("action", "a_logp", "adv")

    def _fields(self, *names: str) -> dict[str, Tensor]:
        return {name: self.buffer.flat(name) for name in names}

    def _critic_loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return critic_loss(self.model.critic(self._critic_inputs(batch)), batch["tar_val"]), {}

    def _critic_inputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The critic's input [B, I] for a minibatch."""
        return batch["critic_norm_obs"] if self._own_critic_size else self._inputs(batch)

    def _inputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The input [B, I] of actor and critic for a minibatch."""
        return batch["norm_obs"]

    def _actor_loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self._policy_loss(self.model.actor(self._inputs(batch)), batch)

    def _policy_loss(self, dist: DiagGaussian, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The actor's loss for a minibatch, given the actor's output."""
        return ppo_actor_loss(
            dist,
            batch["action"],
            batch["a_logp"],
            batch["adv"],
            batch.get("mask"),
            self.config.ppo_clip_ratio,
            self._regularizers,
        )
