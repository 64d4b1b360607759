"""Schema of the world-model agent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from omegaconf import MISSING

from mimickit_hydra.agents.schema import NET
from mimickit_hydra.config.fields import FRACTION, POSITIVE, Rule, at_least, one_of, setting, whole_numbers

_DISCOUNT = Rule(lambda value: 0 <= value < 1, "at least 0 and less than 1")


@dataclass(frozen=True)
class WorldOptimizerConfig:
    """The optimiser of one network."""

    type: str = setting("Muon", one_of("Muon", "Adam"), help="Muon: for the hidden matrices, Adam for all others")
    learning_rate: float = setting(1e-3, POSITIVE)
    grad_clip: float = setting(2.0, POSITIVE, help="times the usual norm of the gradient")


@dataclass(frozen=True)
class WorldModelNets:
    """The networks, and the noise of actions."""

    actor_net: str = setting(MISSING, NET)
    critic_net: str = setting(MISSING, NET)
    world_net: list[int] = setting([1024, 1024, 1024], whole_numbers(1), help="widths of the world model's layers")
    action_std: float = setting(
        0.05, at_least(0), help="mean noise while collecting, in normalised action units; each environment has its own"
    )


@dataclass(frozen=True)
class SuperMimicAgentConfig:
    """A policy trained by back-propagation through a learned world model (Liao et al. 2026).

    Batch sizes are multiples of the number of environments.
    """

    agent_name: str = MISSING
    model: WorldModelNets = field(default_factory=WorldModelNets)
    actor_optimizer: WorldOptimizerConfig = field(default_factory=WorldOptimizerConfig)
    critic_optimizer: WorldOptimizerConfig = field(default_factory=WorldOptimizerConfig)
    world_optimizer: WorldOptimizerConfig = field(default_factory=WorldOptimizerConfig)
    decay_begin: float = setting(math.inf, at_least(0), "samples", "until then learning rates stay", up_to="decay_end")
    decay_end: float = setting(math.inf, POSITIVE, "samples", "from then on they are decay_to of it; linear between")
    decay_to: float = setting(0.1, FRACTION)
    discount: float = setting(0.98, _DISCOUNT)
    td_lambda: float = setting(0.95, FRACTION)
    steps_per_iter: int = setting(2, at_least(1), "control steps", "collected between updates")
    iters_per_output: int = setting(100, at_least(1), "iterations", "between tests, logs and checkpoints")
    test_episodes: int = setting(32, at_least(1), help="of each test while training")
    # collecting
    buffer_steps: int = setting(256, at_least(2), "control steps", "kept of every environment")
    warmup_steps: int = setting(64, at_least(1), "control steps", "of the reference's own poses before anything is fit")
    follow_reference: bool = setting(True, help="begin with what plays the reference's poses as targets")
    holdout_envs: int = setting(64, at_least(0), help="that the world model is judged by and never fitted to")
    probe_share: float = setting(
        0.3, FRACTION, help="of the starts, sent to before where the environments without noise fall; 0: these are none"
    )
    probe_lead: float = setting(2.0, at_least(0), "s", "up to so long before")
    # the world model
    world_epochs: int = setting(1, at_least(1), "updates", "of the world model in an iteration")
    world_batch_size: float = setting(0.5, POSITIVE, "num_envs", "windows")
    world_warmup: int = setting(150, at_least(0), "updates", "of the world model before the policy's first")
    window: int = setting(
        24, at_least(1), "control steps", "that it is fitted over, fed by itself", up_to="buffer_steps"
    )
    first_window: int = setting(8, at_least(1), "control steps", "as long as it is new", up_to="window")
    window_iters: int = setting(300, at_least(0), "iterations", "until the window is whole; it doubles on the way")
    failure_head: bool = setting(True, help="it foretells failures, where a termination cannot be imagined")
    # the policy, in imagination
    compile: bool = setting(False, help="compile imagined steps into few kernels, for a minute, once")
    use_mixed_precision: bool = setting(False, help="hidden layers of the policy's update in bfloat16")
    actor_epochs: int = setting(1, at_least(1), "updates", "of the policy in an iteration")
    actor_batch_size: float = setting(1.0, POSITIVE, "num_envs", "imagined rollouts")
    critic_epochs: int = setting(1, at_least(1), "updates", "of the critic for one of the policy")
    critic_batch_size: float = setting(1.0, POSITIVE, "num_envs", "of these rollouts", up_to="actor_batch_size")
    horizon: int = setting(32, at_least(1), "control steps", "of an imagined rollout")
    imagined_std: float = setting(0.02, at_least(0), help="noise of imagined actions, in normalised action units")
    bootstrap: bool = setting(True, help="the critic's value counts at the end of an imagined rollout")
    adjoint_clip: float = setting(10.0, POSITIVE, help="of a state's gradient; 1 is that of a step's whole reward")
    policy_average: float = setting(0.995, FRACTION, help="kept of the average that acts, in an update")
    critic_average: float = setting(0.99, FRACTION, help="kept of the average that bootstraps, in an update")
    action_rate_weight: float = setting(
        0.0, at_least(0), help="of squared changes of normalised actions, beside reward 1"
    )
    action_bound_weight: float = setting(
        1.0, at_least(0), help="of squared means outside the bounds, where actions have bounds"
    )
    action_reg_weight: float = setting(0.0, at_least(0), help="of squared normalised actions")
