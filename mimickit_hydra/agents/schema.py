"""Schemas of all agents."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from mimickit_hydra.config.fields import FRACTION, POSITIVE, Rule, at_least, one_of, setting, whole_numbers, wrong

# The hidden layers that a config may ask for; the number in a name is the width of the first.
FC_WIDTHS: dict[str, tuple[int, ...]] = {
    "fc_2layers_128units": (128, 64),
    "fc_2layers_256units": (256, 128),
    "fc_2layers_512units": (512, 256),
    "fc_2layers_1024units": (1024, 512),
    "fc_3layers_512units": (512, 256, 128),
    "fc_3layers_1024units": (1024, 1024, 512),
}
NET = one_of(*FC_WIDTHS)
_DISCOUNT = Rule(lambda value: 0 <= value < 1, "at least 0 and less than 1")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser of one network."""

    type: str = setting(
        "SGD", one_of("SGD", "Adam", "AdamW"), help="SGD with momentum 0.9; Adam or AdamW: decoupled weight decay"
    )
    learning_rate: float = setting(1e-4, POSITIVE)
    weight_decay: float = setting(0.0, at_least(0))
    grad_clip: float = setting(0.0, at_least(0), help="global L2 norm, 0 = off")


@dataclass(frozen=True)
class ModelConfig:
    """The networks of the policy and of the value function."""

    actor_net: str = setting(MISSING, NET)
    critic_net: str = setting(MISSING, NET)
    actor_init_output_scale: float = setting(0.01, at_least(0))
    actor_std_type: str = setting("FIXED", one_of("FIXED", "CONSTANT", "VARIABLE"))
    action_std: float = setting(0.05, POSITIVE, help="in normalised action units")
    activation: str = setting("relu", one_of("relu", "elu"), help="after every hidden layer")


@dataclass(frozen=True)
class AgentConfig:
    """Keys every learning method shares. Batch sizes are multiples of the number of environments."""

    agent_name: str = MISSING
    model: ModelConfig = field(default_factory=ModelConfig)
    actor_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    critic_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    discount: float = setting(0.99, _DISCOUNT)
    steps_per_iter: int = setting(32, at_least(1), "control steps", "of a rollout")
    iters_per_output: int = setting(100, at_least(1), "iterations", "between tests, logs and checkpoints")
    test_episodes: int = setting(32, at_least(1), help="of each test while training")
    normalizer_samples: float = setting(math.inf, at_least(0), help="after so many the observation's statistics rest")
    actor_epochs: int = setting(MISSING, at_least(1))
    actor_batch_size: float = setting(MISSING, POSITIVE, "num_envs", up_to="steps_per_iter")
    critic_epochs: int = setting(MISSING, at_least(1))
    critic_batch_size: float = setting(MISSING, POSITIVE, "num_envs", up_to="steps_per_iter")
    critic_eval_batch_size: int = setting(0, at_least(0), help="samples, 0 = all at once")
    td_lambda: float = setting(0.95, FRACTION)
    action_bound_weight: float = setting(10.0, at_least(0), help="of the loss for means outside the bounds")
    action_entropy_weight: float = setting(0.0, at_least(0))
    action_reg_weight: float = setting(0.0, at_least(0))
    use_mixed_precision: bool = setting(False, help="hidden layers in bfloat16 while updating")
    exp_anneal_samples: float = setting(math.inf, POSITIVE, help="from exp_prob_beg to exp_prob_end")
    exp_prob_beg: float = setting(1.0, FRACTION, help="share of actions that explore")
    exp_prob_end: float = setting(1.0, FRACTION)


@dataclass(frozen=True)
class PPOAgentConfig(AgentConfig):
    """Proximal policy optimisation (Schulman et al. 2017)."""

    ppo_clip_ratio: float = setting(0.2, POSITIVE)
    norm_adv_clip: float = setting(4.0, POSITIVE, help="of normalised advantages")


@dataclass(frozen=True)
class AdaptivePPOAgentConfig(PPOAgentConfig):
    """PPO whose learning rate follows how far updates move the policy; actor and critic take every step together."""

    desired_kl: float = setting(0.01, POSITIVE, help="nats, of an update; the learning rate is kept where it is met")
    min_learning_rate: float = setting(1e-5, POSITIVE, up_to="max_learning_rate")
    max_learning_rate: float = setting(1e-2, POSITIVE)
    value_clip: float = setting(0.2, at_least(0), help="by which a value may move in an update; 0: any")

    def check(self) -> None:
        """UserError where the two heads are asked to differ, which here take their steps together."""
        for actor, critic, key in (
            (self.actor_epochs, self.critic_epochs, "critic_epochs"),
            (self.actor_batch_size, self.critic_batch_size, "critic_batch_size"),
            (self.actor_optimizer.learning_rate, self.critic_optimizer.learning_rate, "critic_optimizer.learning_rate"),
        ):
            if actor != critic:
                raise wrong(f"agent.{key}", critic, f"the actor's {actor}: both take their steps together")


@dataclass(frozen=True)
class AWRAgentConfig(AgentConfig):
    """Advantage-weighted regression (Peng et al. 2019)."""

    awr_temp: float = setting(MISSING, POSITIVE, help="temperature of the weights")
    a_weight_clip: float = setting(MISSING, POSITIVE, help="of the weights")


@dataclass(frozen=True)
class LCPAgentConfig(PPOAgentConfig):
    """PPO with a penalty on the policy's gradient (Chen et al. 2024)."""

    lcp_weight: float = setting(MISSING, at_least(0), help="of the gradient penalty")

    def check(self) -> None:
        """UserError for activations whose gradient the penalty is not made for."""
        if self.model.activation != "relu":
            raise wrong("agent.model.activation", self.model.activation, "relu: the gradient penalty is made for it")


@dataclass(frozen=True)
class AMPModelConfig(ModelConfig):
    """The policy's networks and a discriminator."""

    disc_net: str = setting(MISSING, NET)


@dataclass(frozen=True)
class AMPAgentConfig(PPOAgentConfig):
    """PPO against a discriminator (Peng et al. 2021); ADD's keys are the same."""

    model: AMPModelConfig = field(default_factory=AMPModelConfig)
    disc_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    disc_epochs: int = setting(MISSING, at_least(1))
    disc_batch_size: float = setting(MISSING, POSITIVE, "num_envs", up_to="steps_per_iter")
    disc_buffer_size: int = setting(MISSING, at_least(1), "samples", "per process")
    disc_replay_samples: int = setting(MISSING, at_least(1), "samples", "kept of an iteration once the buffer is full")
    disc_logit_reg: float = setting(MISSING, at_least(0))
    disc_grad_penalty: float = setting(MISSING, at_least(0))
    disc_reward_scale: float = setting(MISSING, POSITIVE)
    disc_eval_batch_size: int = setting(0, at_least(0), "samples", "0 = all at once")
    task_reward_weight: float = setting(MISSING, at_least(0))
    disc_reward_weight: float = setting(MISSING, at_least(0))


@dataclass(frozen=True)
class ASEModelConfig(AMPModelConfig):
    """AMP's networks and an encoder of skills."""

    enc_net: str = setting(MISSING, NET)
    latent_dim: int = setting(MISSING, at_least(2))


@dataclass(frozen=True)
class ASEAgentConfig(AMPAgentConfig):
    """AMP with skills that a latent chooses (Peng et al. 2022)."""

    model: ASEModelConfig = field(default_factory=ASEModelConfig)
    enc_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    enc_epochs: int = setting(MISSING, at_least(1))
    enc_batch_size: float = setting(MISSING, POSITIVE, "num_envs", up_to="steps_per_iter")
    enc_eval_batch_size: int = setting(0, at_least(0), "samples", "0 = all at once")
    latent_time_min: float = setting(MISSING, at_least(0), "s", "of env time", up_to="latent_time_max")
    latent_time_max: float = setting(MISSING, POSITIVE, "s")
    diversity_weight: float = setting(MISSING, at_least(0))
    diversity_tar: float = MISSING
    enc_reward_weight: float = setting(MISSING, at_least(0))


_UNREAD = Rule(lambda value: value == 1, "1: MimicKit never reads it, so nothing else would happen")


@dataclass(frozen=True)
class SMPAgentConfig(PPOAgentConfig):
    """PPO rewarded by a diffusion prior of motion (Mu et al. 2025)."""

    critic_loss_weight: float = setting(1.0, _UNREAD, help="stands in MimicKit's files, which never read it")
    smp_prior_cfg: str = setting(help="what the prior was made with, where its folder does not say")
    smp_prior_model: str = setting(help="the prior")
    smp_eval_batch_size: int = setting(MISSING, at_least(1), "samples")
    smp_reward_scale: float = setting(1.0, POSITIVE)
    smp_reward_weight: float = setting(MISSING, at_least(0))
    task_reward_weight: float = setting(MISSING, at_least(0))
    sds_loss_scale: float = setting(MISSING, POSITIVE)
    sds_normalizer_samples: float = setting(math.inf, at_least(0))
    diffusion_steps: list[int] = setting(
        MISSING, whole_numbers(0), help="diffusion times that the score loss is averaged over"
    )
    enable_gsi: bool = setting(False, help="start states from the prior instead of the clips")
    gsi_iters: int = setting(50, at_least(1), "iterations", "between new ones")
    gsi_sampler: str = setting("ddpm", one_of("ddpm", "ddim"))
    gsi_inference_steps: int = setting(10, at_least(1), help="ddim only")
    gsi_buffer_size: int = setting(4096)
    gsi_regen_num_motions: int = setting(1024, up_to="gsi_buffer_size")
    gsi_rotations: str = setting(
        "symmetric", one_of("symmetric", "mimickit"), help="how rotations beyond 162 degrees are read from six numbers"
    )
    gsi_batch_size: int = setting(256, at_least(1), up_to="gsi_regen_num_motions")


def _unread(value: float) -> Any:
    """A key of MimicKit's file that nothing reads."""
    return setting(value, Rule(lambda found: found == value, f"{value:g}: nothing is learned, so nothing reads it"))


@dataclass(frozen=True)
class DummyAgentConfig:
    """An agent that acts with zeros and learns nothing, for envs that move the character themselves."""

    agent_name: str = MISSING
    discount: float = _unread(0.99)
    steps_per_iter: int = _unread(32)
    iters_per_output: int = _unread(100)
    test_episodes: int = _unread(10)
    normalizer_samples: float = _unread(10000)
