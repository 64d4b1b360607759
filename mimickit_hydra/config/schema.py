"""The typed configuration: one frozen dataclass per config group, consumed as it is by the rooms to the right.

Keys inside ``engine``, ``env`` and ``agent`` keep MimicKit's names and units, so that what its users know still holds.
Every YAML in ``conf/`` extends exactly one of these by name (``- base_ppo``), so an unknown key or a wrong type is an
error while the config is composed. This module imports neither torch nor a simulator.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from omegaconf import II, MISSING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from mimickit_hydra.config.lean import dataclass  # the same, sooner

# -------------------------------------------------------------------------------------------------------------- engine


@dataclass(frozen=True)
class EngineConfig:
    """Keys every simulator understands. Frequencies in Hz, lengths in metres."""

    engine_name: str = MISSING
    control_mode: str = "pos"  # none | pos | vel | torque | pd_explicit
    control_freq: int = 30
    sim_freq: int = 120
    env_spacing: float = 5.0
    python: str | None = None  # interpreter the engine runs in, if not this one; also MIMICKIT_<ENGINE>_PYTHON
    worker_timeout: float = 300.0  # s such an engine may take to answer
    worker_start_timeout: float = 1800.0  # s to start, and to build the scene


@dataclass(frozen=True)
class MujocoEngineConfig(EngineConfig):
    """MuJoCo's C library, all environments stepped on a thread pool."""

    num_threads: int = 0  # physics threads; 0 = all cores this process may use
    iterations: int = 100  # constraint solver iterations
    ls_iterations: int = 50
    impratio: float = 10.0


@dataclass(frozen=True)
class NewtonEngineConfig(EngineConfig):
    """MuJoCo Warp through Newton; sizes are per environment."""

    sim_freq: int = 240
    iterations: int = 100  # constraint solver iterations, at most
    ls_iterations: int = 50  # line search steps in each of them, at most
    tolerance: float = 1e-6  # it stops sooner, at so small a scaled gain
    ls_tolerance: float = 0.01
    jacobian: str = "auto"  # auto | dense | sparse; auto is sparse beyond 32 DoFs
    impratio: float = 10.0
    njmax: int = 0  # constraint rows; 0 = by the number of colliding shapes
    nconmax: int = 0  # contacts; likewise


@dataclass(frozen=True)
class IsaacLabEngineConfig(EngineConfig):
    """Isaac Lab 3.0; what follows ``physics`` is Newton's and does nothing with PhysX."""

    physics: str = "newton"  # newton | ovphysx | isaacsim
    iterations: int = 100  # constraint solver iterations, at most
    ls_iterations: int = 50
    impratio: float = 10.0
    njmax: int = 0  # constraint rows of an environment; 0 = by the number of colliding shapes
    nconmax: int = 0  # contacts; likewise


@dataclass(frozen=True)
class IsaacGymEngineConfig(EngineConfig):
    ground_contact_height: float = 0.3


# ---------------------------------------------------------------------------------------------------- character, motion


@dataclass(frozen=True)
class StaticObjectConfig:
    """One fixed rigid body of the scene: where its origin stands, and its shape."""

    pos: list[float] = MISSING  # m
    file: str = MISSING
    rot: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 1.0])  # quaternion, xyzw


@dataclass(frozen=True)
class CharacterConfig:
    """What an env needs to know about one character. Lists over bodies follow the depth-first order of the asset."""

    name: str = MISSING
    char_file: str = MISSING
    init_pose: list[float] = field(default_factory=list)  # root pos 3 (m), root exp map 3 (rad), DoFs (rad)
    key_bodies: list[str] = field(default_factory=list)
    contact_bodies: list[str] = field(default_factory=list)
    joint_err_w: list[float] = field(default_factory=list)  # one per non-root body
    pose_termination_dist: float = 1.0  # m, by the size of the body
    zero_center_action: bool = False


_CHARACTERS_OWN: Any = II("character.contact_bodies")


@dataclass(frozen=True)
class MotionConfig:
    name: str = MISSING
    character: str = MISSING  # the character the clip was made for
    motion_file: str = MISSING  # clip (.npz, .pkl) or dataset (.yaml)
    contact_bodies: list[str] = _CHARACTERS_OWN  # may touch the ground: no fall
    objects: list[StaticObjectConfig] = field(default_factory=list)  # what the recorded person climbed over


_COMPUTES_OWN: Any = II("compute.num_envs")


@dataclass(frozen=True)
class MethodConfig:
    name: str = MISSING
    mode: str = "train"  # what a run of it does unless told otherwise: train | test
    num_envs: int = _COMPUTES_OWN  # as many as the machine carries


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
    # The imitation reward: what computes another reward may leave them out.
    reward_pose_w: float | None = None
    reward_vel_w: float | None = None
    reward_root_pose_w: float | None = None
    reward_root_vel_w: float | None = None
    reward_key_pos_w: float | None = None
    reward_pose_scale: float | None = None
    reward_vel_scale: float | None = None
    reward_root_pose_scale: float | None = None
    reward_root_vel_scale: float | None = None
    reward_key_pos_scale: float | None = None
    log_tracking_error: bool = False
    visualize_ref_char: bool = True
    objects: list[StaticObjectConfig] = field(default_factory=list)  # fixed, in the way; not observed


@dataclass(frozen=True)
class StaticObjectsEnvConfig(DeepMimicEnvConfig):
    objects: list[StaticObjectConfig] = MISSING


@dataclass(frozen=True)
class AMPEnvConfig(DeepMimicEnvConfig):
    num_disc_obs_steps: int = MISSING  # control steps a discriminator observation spans
    disc_dof_vel_obs: bool = True


@dataclass(frozen=True)
class ASEEnvConfig(AMPEnvConfig):
    default_reset_prob: float = MISSING  # resets to init_pose instead of the reference
    default_pose_history: bool = False  # after such a reset the discriminator sees init_pose at rest, not the clip


@dataclass(frozen=True)
class ADDEnvConfig(AMPEnvConfig):
    pass


@dataclass(frozen=True)
class SMPEnvConfig(AMPEnvConfig):
    pass


@dataclass(frozen=True)
class TaskEnvConfig(SMPEnvConfig):
    """A task on top of the imitation that a method needs."""

    base_env: str = "smp"  # deepmimic | amp | ase | add | smp
    default_reset_prob: float = 0.0  # base_env=ase
    default_pose_history: bool = False  # base_env=ase
    imitation_reward_w: float = 0.7  # base_env=deepmimic: weights of its reward and of the task's
    task_reward_w: float = 0.3


@dataclass(frozen=True)
class LocationEnvConfig(TaskEnvConfig):
    """Walk to a point on the ground."""

    tar_speed: float = MISSING  # m/s
    tar_change_time_min: float = MISSING  # s
    tar_change_time_max: float = MISSING
    tar_dist_max: float = MISSING  # m
    tar_dist_min: float = 0.0
    dist_threshold: float = 0.5  # m^2: compared with the squared distance
    pos_err_scale: float = 0.5  # 1/m^2
    vel_err_scale: float = 4.0  # s^2/m^2
    pos_reward_w: float = 0.5
    vel_reward_w: float = 0.4
    face_reward_w: float = 0.1


@dataclass(frozen=True)
class SteeringEnvConfig(TaskEnvConfig):
    """Walk in one direction at one speed while facing another direction."""

    rand_tar_dir: bool = True
    rand_face_dir: bool = True
    tar_speed_min: float = MISSING  # m/s
    tar_speed_max: float = MISSING
    tar_change_time_min: float = MISSING  # s
    tar_change_time_max: float = MISSING
    reward_steering_tar_w: float = MISSING
    reward_steering_face_w: float = MISSING
    reward_steering_vel_scale: float = MISSING  # s^2/m^2


@dataclass(frozen=True)
class DodgeballEnvConfig(TaskEnvConfig):
    """Do not be hit by balls thrown from all sides."""

    proj_target_body: str = MISSING
    num_projectiles: int = 1
    hit_dist: float = 0.8  # m
    hit_force_threshold: float = 0.1  # N
    hit_delta_v_threshold: float = 1.5  # m/s
    proj_aim_noise_scale: float = 0.1  # m
    proj_dist_min: float = 8.0  # m
    proj_dist_max: float = 10.0
    proj_h_min: float = 0.5  # m
    proj_h_max: float = 2.5
    proj_speed_min: float = 12.0  # m/s
    proj_speed_max: float = 15.0
    proj_trigger_time_min: float = 1.0  # s
    proj_trigger_time_max: float = 4.0


@dataclass(frozen=True)
class ViewMotionEnvConfig(CharEnvConfig):
    """Plays the reference motion, with no physics in it."""

    motion_file: str = MISSING


@dataclass(frozen=True)
class DofTestEnvConfig(CharEnvConfig):
    """Drives one degree of freedom after the other, with the root held."""


# --------------------------------------------------------------------------------------------------------------- agent


@dataclass(frozen=True)
class OptimizerConfig:
    type: str = "SGD"  # SGD (momentum 0.9) | Adam or AdamW (the same: decoupled weight decay)
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
    action_bound_weight: float = 10.0
    action_entropy_weight: float = 0.0
    action_reg_weight: float = 0.0
    exp_anneal_samples: float = float("inf")
    exp_prob_beg: float = 1.0
    exp_prob_end: float = 1.0


@dataclass(frozen=True)
class PPOAgentConfig(AgentConfig):
    ppo_clip_ratio: float = 0.2
    norm_adv_clip: float = 4.0


@dataclass(frozen=True)
class LCPAgentConfig(PPOAgentConfig):
    lcp_weight: float = MISSING


@dataclass(frozen=True)
class AWRAgentConfig(AgentConfig):
    awr_temp: float = MISSING
    a_weight_clip: float = MISSING


@dataclass(frozen=True)
class AMPModelConfig(ModelConfig):
    disc_net: str = MISSING


@dataclass(frozen=True)
class AMPAgentConfig(PPOAgentConfig):
    model: AMPModelConfig = field(default_factory=AMPModelConfig)
    disc_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    disc_epochs: int = MISSING
    disc_batch_size: float = MISSING
    disc_buffer_size: int = MISSING  # samples, per process
    disc_replay_samples: int = MISSING  # samples kept of an iteration once the buffer is full
    disc_logit_reg: float = MISSING
    disc_grad_penalty: float = MISSING
    disc_reward_scale: float = MISSING
    disc_eval_batch_size: int = 0  # samples, 0 = all at once
    task_reward_weight: float = MISSING
    disc_reward_weight: float = MISSING


@dataclass(frozen=True)
class ADDAgentConfig(AMPAgentConfig):
    pass


@dataclass(frozen=True)
class ASEModelConfig(AMPModelConfig):
    enc_net: str = MISSING
    latent_dim: int = MISSING


@dataclass(frozen=True)
class ASEAgentConfig(AMPAgentConfig):
    model: ASEModelConfig = field(default_factory=ASEModelConfig)
    enc_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    enc_epochs: int = MISSING
    enc_batch_size: float = MISSING
    enc_eval_batch_size: int = 0  # samples, 0 = all at once
    latent_time_min: float = MISSING  # s of env time
    latent_time_max: float = MISSING
    diversity_weight: float = MISSING
    diversity_tar: float = MISSING
    enc_reward_weight: float = MISSING


@dataclass(frozen=True)
class SMPAgentConfig(PPOAgentConfig):
    critic_loss_weight: float = 1.0  # stands in MimicKit's files, which never read it: 1 is what happens
    smp_prior_cfg: str = MISSING
    smp_prior_model: str = MISSING
    smp_eval_batch_size: int = MISSING  # samples
    smp_reward_scale: float = 1.0
    smp_reward_weight: float = MISSING
    task_reward_weight: float = MISSING
    sds_loss_scale: float = MISSING
    sds_normalizer_samples: float = float("inf")
    diffusion_steps: list[int] = MISSING  # diffusion times the score loss is averaged over
    enable_gsi: bool = False  # start states from the prior instead of the clips
    gsi_iters: int = 50
    gsi_sampler: str = "ddpm"  # ddpm | ddim
    gsi_inference_steps: int = 10  # ddim only
    gsi_buffer_size: int = 4096
    gsi_regen_num_motions: int = 1024
    gsi_batch_size: int = 256


@dataclass(frozen=True)
class DummyAgentConfig:
    """Acts with zeros and learns nothing: for envs that move the character themselves."""

    agent_name: str = MISSING
    discount: float = 0.99
    steps_per_iter: int = 32
    iters_per_output: int = 100
    test_episodes: int = 10
    normalizer_samples: float = 10000


# ------------------------------------------------------------------------------------------------------ run and logging


@dataclass(frozen=True)
class ComputeConfig:
    """What the machine at hand can carry: chosen by the engine, overridable as a group or key by key."""

    num_envs: int = MISSING  # per process
    devices: list[str] = MISSING  # one process per entry
    max_minutes: float = float("inf")  # wall-clock budget of the training loop


@dataclass(frozen=True)
class CoreConfig:
    """Whose code runs: ours, or a MimicKit checkout of the user's."""

    name: str = MISSING  # native | mimickit
    video: bool = True  # what video is by default


@dataclass(frozen=True)
class MimickitCoreConfig(CoreConfig):
    """A checkout that the composed config is handed to. Keys its code has and ours lacks go into the open tables."""

    root: str | None = None  # the checkout
    python: str | None = None  # interpreter or virtual environment that has its packages; null = this one
    entry: str = "mimickit/run.py"  # the script that reads its flags, from the root
    engine: dict[str, Any] = field(default_factory=dict)  # laid over the composed engine; null takes a key out
    env: dict[str, Any] = field(default_factory=dict)  # likewise
    agent: dict[str, Any] = field(default_factory=dict)  # likewise
    args: dict[str, Any] = field(default_factory=dict)  # flags of its command line, without the dashes


@dataclass(frozen=True)
class LoggerConfig:
    txt: bool = True
    tb: bool = True
    wandb: bool = False
    wandb_project: str = "mimickit"


@dataclass(frozen=True)
class LaunchConfig:
    """Where a run starts. The same word works for one run and for a sweep; anything but local returns at once."""

    launcher: str = MISSING  # local | packed | tmux | slurm


@dataclass(frozen=True)
class LocalLaunchConfig(LaunchConfig):
    pass


@dataclass(frozen=True)
class PackedLaunchConfig(LaunchConfig):
    parallel: int = 2  # runs at the same time


@dataclass(frozen=True)
class TmuxLaunchConfig(LaunchConfig):
    monitor: str = "top"  # command of the second pane; empty for none


@dataclass(frozen=True)
class SlurmLaunchConfig(LaunchConfig):
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: int = 1440  # minutes
    max_timeouts: int = 20  # times that a run may reach the time limit and go on
    requeue: bool = True  # queue again after a preemption or the time limit
    signal_delay: int = 120  # seconds between the signal and the time limit
    nodes: int = 1
    gpus: int = 0  # of each node
    gpu_type: str | None = None  # the cluster's name for it, e.g. a100
    tasks: int | None = None  # processes on each node; null: one per GPU, or one without GPUs
    cpus: int = 4  # of each process
    mem: str = "16GB"  # of each node
    array_parallelism: int = 100  # jobs of one array at the same time
    setup: list[str] = field(default_factory=list)  # shell lines before the run
    sbatch: dict[str, str] = field(default_factory=dict)  # further options of sbatch


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
    core: Any = MISSING
    engine: Any = MISSING
    character: Any = MISSING
    motion: Any = MISSING
    method: Any = MISSING
    env: Any = MISSING
    agent: Any = MISSING
    compute: Any = MISSING
    logger: Any = MISSING
    launch: Any = MISSING
