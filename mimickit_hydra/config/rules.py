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
OPTIMIZERS = ("SGD", "Adam")
STD_TYPES = ("FIXED", "CONSTANT", "VARIABLE")

# agent -> the envs it can learn in
AGENT_ENVS: dict[str, tuple[str, ...]] = {"PPO": ("deepmimic",)}


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


def _increasing_steps(value: Any) -> bool:
    return bool(value) and all(step >= 1 for step in value)


POSITIVE = Rule(lambda value: value > 0, "more than 0")
FRACTION = between(0, 1)
DISCOUNT = Rule(lambda value: 0 <= value < 1, "at least 0 and less than 1")
SEED = Rule(lambda value: value is None or 0 <= value < 2**32, "a whole number from 0 to 4294967295, or null")
VECTOR = Rule(lambda value: len(value) == 3 and all(map(math.isfinite, value)), "three numbers")
STEPS = Rule(_increasing_steps, "a list of whole numbers, each 1 or more")

_OPTIMIZER = {
    "type": one_of(*OPTIMIZERS),
    "learning_rate": POSITIVE,
    "weight_decay": at_least(0),
    "grad_clip": at_least(0),
}
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
    "engine.control_freq": at_least(1),
    "engine.sim_freq": at_least(1),
    "engine.env_spacing": POSITIVE,
    "engine.num_threads": at_least(0),
    "engine.iterations": at_least(1),
    "engine.ls_iterations": at_least(1),
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
    **{f"env.reward_{term}_w": at_least(0) for term in _REWARD_TERMS},
    **{f"env.reward_{term}_scale": at_least(0) for term in _REWARD_TERMS},
    "agent.model.actor_net": one_of(*NETS),
    "agent.model.critic_net": one_of(*NETS),
    "agent.model.actor_init_output_scale": at_least(0),
    "agent.model.actor_std_type": one_of(*STD_TYPES),
    "agent.model.action_std": POSITIVE,
    **{f"agent.{head}_optimizer.{key}": rule for head in ("actor", "critic") for key, rule in _OPTIMIZER.items()},
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
    "agent.exp_anneal_samples": POSITIVE,
    "agent.exp_prob_beg": FRACTION,
    "agent.exp_prob_end": FRACTION,
}
