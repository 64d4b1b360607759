"""PPO whose learning rate follows how far its updates move the policy (Rudin et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.distributions import DiagGaussian
from mimickit_hydra.agents.flat_optimizers import SGD, AdamW
from mimickit_hydra.agents.optimizer import HeadOptimizer
from mimickit_hydra.agents.ppo_agent import PPOAgent
from mimickit_hydra.agents.schema import AdaptivePPOAgentConfig, OptimizerConfig
from mimickit_hydra.distributed import Comm

STEP = 1.5  # by which a learning rate changes


def adapted(rate: Tensor, kl: Tensor, desired: float, lowest: float, highest: float) -> Tensor:
    """The learning rate [] after an update by ``kl`` [] nats: less beyond twice ``desired``, more below half."""
    slower, faster = (rate / STEP).clamp(min=lowest), (rate * STEP).clamp(max=highest)
    return torch.where(kl > 2.0 * desired, slower, torch.where((kl > 0.0) & (kl < 0.5 * desired), faster, rate))


def divergence(old: DiagGaussian, new: DiagGaussian) -> Tensor:
    """KL(old || new) [...] in nats."""
    ratio = torch.exp(2.0 * (old.logstd - new.logstd))
    moved = (old.mean - new.mean).square() * torch.exp(-2.0 * new.logstd)
    return (new.logstd - old.logstd + 0.5 * (ratio + moved) - 0.5).sum(-1)


def clipped_critic_loss(value: Tensor, old: Tensor, target: Tensor, clip: float) -> Tensor:
    """Mean squared error of ``value`` [B]; leaving ``old`` by more than ``clip`` (0: any) gains nothing."""
    error = (value - target).square()
    if clip > 0.0:
        error = torch.maximum(error, (old + (value - old).clamp(-clip, clip) - target).square())
    return error.mean()


class JointOptimizer(HeadOptimizer):
    """Steps several heads on one loss, each clipped on its own, at a rate that follows ``kl``, noted before a step."""

    def __init__(
        self, heads: Iterable[Iterable[nn.Parameter]], config: AdaptivePPOAgentConfig, comm: Comm, device: torch.device
    ) -> None:
        parameters = [[p for p in head if p.requires_grad] for head in heads]
        self._config = config
        self._sizes = [sum(p.numel() for p in head) for head in parameters]
        self.kl = torch.zeros((), device=device)
        self.rate = torch.tensor(config.actor_optimizer.learning_rate, device=device)
        super().__init__("policy", [p for head in parameters for p in head], config.actor_optimizer, comm)

    def _make(self, config: OptimizerConfig) -> SGD | AdamW:
        made = AdamW(self._flat, self.rate, float(config.weight_decay))
        made.moments["rate"] = self.rate  # so that it is in checkpoints
        return made

    def average_grad(self) -> None:
        super().average_grad()
        self.comm.all_reduce_mean_(self.kl)

    def apply(self, loss: Tensor) -> None:
        self.flat_grad.zero_()
        loss.backward()
        self.average_grad()
        config = self._config
        rate = adapted(self.rate, self.kl, config.desired_kl, config.min_learning_rate, config.max_learning_rate)
        self.rate.copy_(rate)
        if self.grad_clip > 0.0:
            for part in self.flat_grad.split(self._sizes):
                part.mul_((self.grad_clip / (torch.linalg.vector_norm(part) + 1e-6)).clamp(max=1.0))
        self._optimizer.step()


class AdaptivePPOAgent(PPOAgent):
    """PPO with one optimiser; rollout fields besides PPO's: ``mean`` [T, N, A], ``value`` [T, N]."""

    config: AdaptivePPOAgentConfig

    def _build_optimizers(self) -> dict[str, HeadOptimizer]:
        heads = (self.model.actor_parameters(), self.model.critic_parameters())
        return {"policy": JointOptimizer(heads, self.config, self.comm, self.device)}

    def _build_buffer(self) -> None:
        super()._build_buffer()
        self.buffer.add_field("mean", self.env.action_low.shape[0])
        self.buffer.add_field("value")
        self._old_logstd = torch.zeros(self.env.action_low.shape[0], device=self.device)

    def _policy(self, t: int, norm_obs: Tensor) -> DiagGaussian:
        dist = super()._policy(t, norm_obs)
        self.buffer["mean"][t].copy_(dist.mean)
        return dist

    def _build_targets(self, value: Tensor, next_value: Tensor) -> dict[str, Tensor]:
        self.buffer["value"].copy_(value)
        self._old_logstd.copy_(cast(Tensor, self.model._action_dist._logstd_net))
        return super()._build_targets(value, next_value)

    def _update(self) -> dict[str, Tensor]:
        names = (*self._input_fields, *(("critic_norm_obs",) if self._own_critic_size else ()), *self._actor_fields())
        names += ("mean", "value", "tar_val") + (() if self._all_sampled else ("mask",))
        losses = self._run_updates(
            "policy", self._joint_loss, self._fields(*names), self.config.actor_epochs, self._actor_batch
        )
        return {**losses, "learning_rate": self._joint.rate.clone()}

    @property
    def _joint(self) -> JointOptimizer:
        return cast(JointOptimizer, self.optimizers["policy"])

    def _joint_loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        dist = self.model.actor(self._inputs(batch))
        with torch.no_grad():
            kl = divergence(DiagGaussian(batch["mean"], self._old_logstd), dist).mean()
            self._joint.kl.copy_(kl)
        actor, parts = self._policy_loss(dist, batch)
        value = self.model.critic(self._critic_inputs(batch))
        critic = clipped_critic_loss(value, batch["value"], batch["tar_val"], self.config.value_clip)
        found = {"actor_loss": actor.detach(), "critic_loss": critic.detach(), "kl": kl}
        return actor + critic, {**parts, **found}
