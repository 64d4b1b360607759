"""The typed configuration: one frozen dataclass per config group, consumed as it is by the rooms to the right.

Keys inside ``engine``, ``env`` and ``agent`` keep MimicKit's names and units, so that what its users know still holds.
Every YAML in ``conf/`` extends exactly one of these by name (``- base_ppo``), so an unknown key or a wrong type is an
error while the config is composed. This module imports neither torch nor a simulator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import II, MISSING

# -------------------------------------------------------------------------------------------------------------- engine


@dataclass(frozen=True)
class EngineConfig:
    """Keys every simulator understands. Frequencies in Hz, lengths in metres."""

    engine_name: str = MISSING
    control_mode: str = "pos"  # none | pos | vel | torque | pd_explicit
    control_freq: int = 30
    sim_freq: int = 120
    env_spacing: float = 5.0


@dataclass(frozen=True)
class MujocoEngineConfig(EngineConfig):
    """MuJoCo's C library, all environments stepped on a thread pool."""

    num_threads: int = 0  # physics threads; 0 = all cores this process may use
    iterations: int = 100  # constraint solver iterations
    ls_iterations: int = 50
    impratio: float = 10.0


@dataclass(frozen=True)
class NewtonEngineConfig(EngineConfig):
    sim_freq: int = 240


@dataclass(frozen=True)
class IsaacLabEngineConfig(EngineConfig):
    pass


@dataclass(frozen=True)
class IsaacGymEngineConfig(EngineConfig):
    ground_contact_height: float = 0.3


# ---------------------------------------------------------------------------------------------------- character, motion


@dataclass(frozen=True)
class CharacterConfig:
    """What an env needs to know about one character. Lists over bodies follow the depth-first order of the asset."""

    name: str = MISSING
    char_file: str = MISSING
    init_pose: list[float] = field(default_factory=list)  # root pos 3 (m), root exp map 3 (rad), DoFs (rad)
    key_bodies: list[str] = field(default_factory=list)
    contact_bodies: list[str] = field(default_factory=list)
    joint_err_w: list[float] = field(default_factory=list)  # one per non-root body


_CHARACTERS_OWN: Any = II("character.contact_bodies")


@dataclass(frozen=True)
class MotionConfig:
    name: str = MISSING
    character: str = MISSING  # the character the clip was made for
    motion_file: str = MISSING  # clip (.npz, .pkl) or dataset (.yaml)
    contact_bodies: list[str] = _CHARACTERS_OWN  # may touch the ground: no fall


@dataclass(frozen=True)
class MethodConfig:
    name: str = MISSING


# ----------------------------------------------------------------------------------------------------------------- env


@dataclass(frozen=True)
class CharEnvConfig:
    env_name: str = MISSING
    char_file: str = MISSING
    episode_length: float = MISSING  # s
    global_obs: bool = MISSING
    root_height_obs: bool = True
    zero_center_action: bool = False
    init_pose: list[float] = field(default_factory=list)
    key_bodies: list[str] = field(default_factory=list)
    camera_mode: str = "track"  # still | track


@dataclass(frozen=True)
class DeepMimicEnvConfig(CharEnvConfig):
    motion_file: str = MISSING
    enable_early_termination: bool = True
    ref_char_offset: list[float] = field(default_factory=lambda: [2.0, 0.0, 0.0])  # m, only drawn
    enable_phase_obs: bool = True
    num_phase_encoding: int = 0
    enable_tar_obs: bool = False
    tar_obs_steps: list[int] = field(default_factory=lambda: [1])  # control steps
    pose_termination: bool = False
    pose_termination_dist: float = 1.0  # m
    rand_reset: bool = True
    contact_bodies: list[str] = field(default_factory=list)
    joint_err_w: list[float] | None = None
    reward_pose_w: float = MISSING
    reward_vel_w: float = MISSING
    reward_root_pose_w: float = MISSING
    reward_root_vel_w: float = MISSING
    reward_key_pos_w: float = MISSING
    reward_pose_scale: float = MISSING
    reward_vel_scale: float = MISSING
    reward_root_pose_scale: float = MISSING
    reward_root_vel_scale: float = MISSING
    reward_key_pos_scale: float = MISSING
    log_tracking_error: bool = False
    visualize_ref_char: bool = True


# --------------------------------------------------------------------------------------------------------------- agent


@dataclass(frozen=True)
class OptimizerConfig:
    type: str = "SGD"  # SGD (momentum 0.9) | Adam (decoupled weight decay)
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    grad_clip: float = 0.0  # global L2 norm, 0 = off


@dataclass(frozen=True)
class ModelConfig:
    actor_net: str = MISSING  # e.g. fc_2layers_1024units
    critic_net: str = MISSING
    actor_init_output_scale: float = 0.01
    actor_std_type: str = "FIXED"  # FIXED | CONSTANT | VARIABLE
    action_std: float = 0.05  # in normalised action units


@dataclass(frozen=True)
class AgentConfig:
    """Keys every learning method shares. Batch sizes are multiples of the number of environments."""

    agent_name: str = MISSING
    model: ModelConfig = field(default_factory=ModelConfig)
    actor_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    critic_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    discount: float = 0.99
    steps_per_iter: int = 32
    iters_per_output: int = 100
    test_episodes: int = 32
    normalizer_samples: float = float("inf")
    actor_epochs: int = MISSING
    actor_batch_size: float = MISSING
    critic_epochs: int = MISSING
    critic_batch_size: float = MISSING
    critic_eval_batch_size: int = 0
    td_lambda: float = 0.95
    norm_adv_clip: float = 4.0
    action_bound_weight: float = 10.0
    action_entropy_weight: float = 0.0
    action_reg_weight: float = 0.0
    exp_anneal_samples: float = float("inf")
    exp_prob_beg: float = 1.0
    exp_prob_end: float = 1.0


@dataclass(frozen=True)
class PPOAgentConfig(AgentConfig):
    ppo_clip_ratio: float = 0.2


# ------------------------------------------------------------------------------------------------------ run and logging


@dataclass(frozen=True)
class ComputeConfig:
    """What the machine at hand can carry: chosen by the engine, overridable as a group or key by key."""

    num_envs: int = MISSING  # per process
    devices: list[str] = MISSING  # one process per entry
    max_minutes: float = float("inf")  # wall-clock budget of the training loop


@dataclass(frozen=True)
class LoggerConfig:
    txt: bool = True
    tb: bool = True
    wandb: bool = False
    wandb_project: str = "mimickit"


@dataclass(frozen=True)
class RunConfig:
    """The whole run: MimicKit's flags at the top level, its files as groups."""

    mode: str = "train"  # train | test
    num_envs: int = MISSING  # per process
    devices: list[str] = MISSING
    visualize: bool = False
    video: bool = True  # film the policy at the end of training and in test mode
    out_dir: str | None = None  # the run directory
    model_file: str | None = None  # checkpoint or run directory to start from
    resume: str | None = None  # run directory to continue
    test_episodes: int = 32  # in mode=test and at the end of training; 0 = no closing test
    max_samples: float = float("inf")  # environment steps, summed over processes
    max_minutes: float = float("inf")  # wall-clock budget of the training loop
    rand_seed: int | None = None
    save_int_models: bool = False
    data_root: list[str] = field(default_factory=list)  # searched before the bundled data; MIMICKIT_DATA too
    engine: Any = MISSING
    character: Any = MISSING
    motion: Any = MISSING
    method: Any = MISSING
    env: Any = MISSING
    agent: Any = MISSING
    compute: Any = MISSING
    logger: Any = MISSING
