"""What a single value may be: the table behind the checks, key by key."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NETS = (
    "fc_2layers_128units",
    "fc_2layers_256units",
    "fc_2layers_512units",
    "fc_2layers_1024units",
    "fc_3layers_1024units",
)
CONTROL_MODES = ("none", "pos", "vel", "torque", "pd_explicit")
PHYSICS = ("newton", "ovphysx", "isaacsim")  # of engine=isaac_lab
SAMPLERS = ("ddpm", "ddim")
OPTIMIZERS = ("SGD", "Adam", "AdamW")
STD_TYPES = ("FIXED", "CONSTANT", "VARIABLE")


@dataclass(frozen=True)
class Rule:
    """``accepts`` a value or not; ``allowed`` says in words what would be; ``names`` where there is a fixed choice."""

    accepts: Callable[[Any], bool]
    allowed: str
    names: tuple[str, ...] = ()


def one_of(*names: str) -> Rule:
    return Rule(lambda value: value in names, f"one of {', '.join(names)}", names)


def at_least(low: float) -> Rule:
    return Rule(lambda value: value >= low, f"{low:g} or more")


def between(low: float, high: float) -> Rule:
    return Rule(lambda value: low <= value <= high, f"between {low:g} and {high:g}")


def or_null(rule: Rule) -> Rule:
    return Rule(lambda value: value is None or rule.accepts(value), f"{rule.allowed}, or null", rule.names)


def _increasing_steps(value: Any) -> bool:
    return bool(value) and all(step >= 1 for step in value)


POSITIVE = Rule(lambda value: value > 0, "more than 0")
FRACTION = between(0, 1)
DISCOUNT = Rule(lambda value: 0 <= value < 1, "at least 0 and less than 1")
SEED = Rule(lambda value: value is None or 0 <= value < 2**32, "a whole number from 0 to 4294967295, or null")
VECTOR = Rule(lambda value: len(value) == 3 and all(map(math.isfinite, value)), "three numbers")
UNREAD = Rule(lambda value: value == 1, "1: MimicKit never reads it, so nothing else would happen")
TIMES = Rule(lambda value: bool(value) and all(step >= 0 for step in value), "a list of whole numbers, each 0 or more")
STEPS = Rule(_increasing_steps, "a list of whole numbers, each 1 or more")

_OPTIMIZER = {
    "type": one_of(*OPTIMIZERS),
    "learning_rate": POSITIVE,
    "weight_decay": at_least(0),
    "grad_clip": at_least(0),
}
HEADS = ("actor", "critic", "disc", "enc")
_REWARD_TERMS = ("pose", "vel", "root_pose", "root_vel", "key_pos")

RULES: dict[str, Rule] = {
    "mode": one_of("train", "test"),
    "num_envs": at_least(1),
    "test_episodes": at_least(0),
    "max_samples": POSITIVE,
    "max_minutes": POSITIVE,
    "rand_seed": SEED,
    "compute.num_envs": at_least(1),
    "compute.max_minutes": POSITIVE,
    "launch.launcher": one_of("local", "packed", "tmux", "slurm"),
    "launch.parallel": at_least(1),
    "launch.time": at_least(1),
    "launch.max_timeouts": at_least(0),
    "launch.signal_delay": at_least(0),
    "launch.nodes": at_least(1),
    "launch.gpus": at_least(0),
    "launch.tasks": Rule(lambda value: value is None or value >= 1, "1 or more, or null"),
    "launch.cpus": at_least(1),
    "launch.mem": Rule(lambda value: bool(re.fullmatch(r"\d+[KMGT]?B?", value)), "a size such as 16GB or 500MB"),
    "launch.array_parallelism": at_least(1),
    "engine.control_mode": one_of(*CONTROL_MODES),
    "engine.physics": one_of(*PHYSICS),
    "engine.control_freq": at_least(1),
    "engine.sim_freq": at_least(1),
    "engine.env_spacing": POSITIVE,
    "engine.worker_timeout": POSITIVE,
    "engine.worker_start_timeout": POSITIVE,
    "engine.num_threads": at_least(0),
    "engine.iterations": at_least(1),
    "engine.ls_iterations": at_least(1),
    "engine.tolerance": POSITIVE,
    "engine.ls_tolerance": POSITIVE,
    "engine.jacobian": one_of("auto", "dense", "sparse"),
    "engine.impratio": POSITIVE,
    "engine.njmax": at_least(0),
    "engine.nconmax": at_least(0),
    "engine.ground_contact_height": POSITIVE,
    "env.episode_length": POSITIVE,
    "env.camera_mode": one_of("still", "track"),
    "env.num_phase_encoding": at_least(0),
    "env.tar_obs_steps": STEPS,
    "env.pose_termination_dist": POSITIVE,
    "env.ref_char_offset": VECTOR,
    **{f"env.reward_{term}_w": or_null(at_least(0)) for term in _REWARD_TERMS},
    **{f"env.reward_{term}_scale": or_null(at_least(0)) for term in _REWARD_TERMS},
    "env.num_disc_obs_steps": at_least(1),
    "env.default_reset_prob": FRACTION,
    **{f"env.tar_change_time_{end}": at_least(0) for end in ("min", "max")},
    "env.tar_dist_min": at_least(0),
    "env.tar_dist_max": at_least(0),
    "env.tar_speed": at_least(0),
    "env.tar_speed_min": at_least(0),
    "env.tar_speed_max": at_least(0),
    "env.dist_threshold": at_least(0),
    "env.pos_err_scale": at_least(0),
    "env.vel_err_scale": at_least(0),
    "env.reward_steering_vel_scale": at_least(0),
    "env.num_projectiles": at_least(1),
    "env.hit_dist": POSITIVE,
    "env.hit_force_threshold": at_least(0),
    "env.hit_delta_v_threshold": at_least(0),
    "env.proj_aim_noise_scale": at_least(0),
    "env.proj_dist_min": POSITIVE,
    "env.proj_speed_min": POSITIVE,
    "env.proj_h_min": at_least(0),
    "env.proj_trigger_time_min": at_least(0),
    "agent.model.actor_net": one_of(*NETS),
    "agent.model.critic_net": one_of(*NETS),
    "agent.model.actor_init_output_scale": at_least(0),
    "agent.model.actor_std_type": one_of(*STD_TYPES),
    "agent.model.action_std": POSITIVE,
    "agent.model.disc_net": one_of(*NETS),
    "agent.model.enc_net": one_of(*NETS),
    "agent.model.latent_dim": at_least(2),
    **{f"agent.{head}_optimizer.{key}": rule for head in HEADS for key, rule in _OPTIMIZER.items()},
    "agent.discount": DISCOUNT,
    "agent.td_lambda": FRACTION,
    "agent.steps_per_iter": at_least(1),
    "agent.iters_per_output": at_least(1),
    "agent.test_episodes": at_least(1),
    "agent.normalizer_samples": at_least(0),
    "agent.actor_epochs": at_least(1),
    "agent.critic_epochs": at_least(1),
    "agent.actor_batch_size": POSITIVE,
    "agent.critic_batch_size": POSITIVE,
    "agent.critic_eval_batch_size": at_least(0),
    "agent.ppo_clip_ratio": POSITIVE,
    "agent.norm_adv_clip": POSITIVE,
    "agent.action_bound_weight": at_least(0),
    "agent.action_entropy_weight": at_least(0),
    "agent.action_reg_weight": at_least(0),
    "agent.lcp_weight": at_least(0),
    "agent.awr_temp": POSITIVE,
    "agent.a_weight_clip": POSITIVE,
    **{f"agent.{head}_epochs": at_least(1) for head in ("disc", "enc")},
    **{f"agent.{head}_batch_size": POSITIVE for head in ("disc", "enc")},
    **{f"agent.{head}_eval_batch_size": at_least(0) for head in ("disc", "enc")},
    "agent.disc_buffer_size": at_least(1),
    "agent.disc_replay_samples": at_least(1),
    "agent.disc_logit_reg": at_least(0),
    "agent.disc_grad_penalty": at_least(0),
    "agent.disc_reward_scale": POSITIVE,
    **{f"agent.{part}_reward_weight": at_least(0) for part in ("task", "disc", "enc", "smp")},
    "agent.diversity_weight": at_least(0),
    "agent.latent_time_min": at_least(0),
    "agent.latent_time_max": POSITIVE,
    "agent.critic_loss_weight": UNREAD,
    "agent.smp_eval_batch_size": at_least(1),
    "agent.smp_reward_scale": POSITIVE,
    "agent.sds_loss_scale": POSITIVE,
    "agent.sds_normalizer_samples": at_least(0),
    "agent.diffusion_steps": TIMES,
    "agent.gsi_iters": at_least(1),
    "agent.gsi_sampler": one_of(*SAMPLERS),
    "agent.gsi_inference_steps": at_least(1),
    "agent.gsi_batch_size": at_least(1),
    "agent.exp_anneal_samples": POSITIVE,
    "agent.exp_prob_beg": FRACTION,
    "agent.exp_prob_end": FRACTION,
}
