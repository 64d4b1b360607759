"""The keys of a run that belong to no engine, env or agent: MimicKit's flags at the top level, and the other groups.

Every YAML of ``conf/`` extends one registered dataclass by name (``- base_ppo``), so an unknown key or a wrong type is
an error while the config is composed. The dataclasses of engines, envs and agents stand beside what consumes them, in
files that import neither torch nor a simulator. Keys inside ``engine``, ``env`` and ``agent`` keep MimicKit's names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from omegaconf import II, MISSING

from mimickit_hydra.config.fields import PATH, POSITIVE, SEED, VECTOR, Rule, at_least, one_of, setting

GAINS_FROM = ("from_armature", "from_inertia")
GAINS = Rule(
    lambda value: value is None or value in GAINS_FROM or (type(value) in (int, float) and 0 < value < math.inf),
    f"{', '.join(GAINS_FROM)}, a number more than 0 (N m/rad), or null",
    GAINS_FROM,
)


@dataclass(frozen=True)
class StaticObjectConfig:
    """A fixed rigid body of the scene: its shape, and the place of its origin."""

    pos: list[float] = setting(MISSING, unit="m")
    file: str = setting(help="its MJCF")
    rot: list[float] = setting([0.0, 0.0, 0.0, 1.0], help="quaternion, xyzw")


_KEY_BODIES: Any = II("character.key_bodies")


@dataclass(frozen=True)
class CharacterConfig:
    """What an env needs to know about one character. Lists over bodies follow the depth-first order of the asset."""

    name: str = MISSING
    char_file: str = setting(help="its MJCF")
    init_pose: list[float] = setting([], help="root position 3 (m), root exponential map 3 (rad), DoFs (rad)")
    key_bodies: list[str] = setting([], help="bodies whose positions are compared")
    contact_bodies: list[str] = setting([], help="bodies that may touch the ground")
    anchor_body: str = setting("", help="the body that a reference is aligned at, such as the torso; empty: the root")
    tracked_bodies: list[str] = setting([], help="bodies that env=tracking compares; empty: all")
    end_effectors: list[str] = setting(_KEY_BODIES, help="hands and feet, by whose height env=tracking ends an episode")
    symmetry: dict[str, str] = setting({}, help="bodies on the left and their partners on the right; empty: by names")
    imu_pos: list[float] = setting([0.0, 0.0, 0.0], VECTOR, "m", "place of its gyroscope in the root's frame")
    clips_of: str = setting("", help="a character whose clips fit as well: the same joints in the same order")
    joint_err_w: list[float] = setting([], help="weight of each body but the root in the pose reward")
    pose_termination_dist: float = setting(1.0, unit="m", help="by the size of the body")
    zero_center_action: bool = setting(False, help="actions are offsets from the zero pose")
    gains: Any = setting(None, GAINS, "N m/rad", "of joints whose gains the file does not state; null: none")
    action_std: float = setting(0.05, POSITIVE, help="of an agent's exploration, in normalised action units")
    actor_learning_rate: float = setting(1e-4, POSITIVE, help="that suits it with recipe=mimickit")


_CHARACTERS_OWN: Any = II("character.contact_bodies")


@dataclass(frozen=True)
class MotionConfig:
    """A clip, or a dataset of clips."""

    name: str = MISSING
    character: str = setting(help="the character it was made for")
    motion_file: str = setting(help="clip (.npz, .pkl), or a set of them: .yaml, a folder, a pattern")
    contact_bodies: list[str] = setting(_CHARACTERS_OWN, help="may touch the ground: no fall")
    objects: list[StaticObjectConfig] = setting([], help="what the recorded person climbed over")


_COMPUTES_OWN: Any = II("compute.num_envs")


@dataclass(frozen=True)
class MethodConfig:
    """A learning method; its YAML chooses the env and the agent that belong together."""

    name: str = MISSING
    mode: str = setting("train", one_of("train", "test"), help="what a run of it does unless told otherwise")
    num_envs: int = setting(_COMPUTES_OWN, help="as many as the machine carries")
    base_env: str = setting("deepmimic", help="the imitation under a task of this method")


@dataclass(frozen=True)
class ComputeConfig:
    """What the machine can carry; chosen by the engine, and overridable as a group or key by key."""

    num_envs: int = setting(MISSING, at_least(1), help="per process")
    devices: list[str] = setting(help="one process per entry")
    max_minutes: float = setting(math.inf, POSITIVE, unit="min", help="wall-clock budget of the training loop")


@dataclass(frozen=True)
class CoreConfig:
    """The code that runs: this package's own, or a MimicKit checkout of the user's."""

    name: str = setting(rule=one_of("native", "mimickit"))
    video: bool = setting(True, help="what video is by default")


_WANDB_PROJECT: Any = II("oc.env:WANDB_PROJECT,mimickit")


@dataclass(frozen=True)
class LoggerConfig:
    """The loggers that the numbers of a run go to."""

    txt: bool = True
    tb: bool = True
    wandb: bool = False
    wandb_project: str = setting(_WANDB_PROJECT, help="WANDB_PROJECT of the environment, or mimickit")


@dataclass(frozen=True)
class LaunchConfig:
    """The place where a run starts. The word is the same for a run and a sweep; all but local return at once."""

    launcher: str = setting(rule=one_of("local", "packed", "tmux", "slurm"))


@dataclass(frozen=True)
class RunConfig:
    """The whole run: MimicKit's flags at the top level, its files as groups."""

    mode: str = setting("train", one_of("train", "test"))
    num_envs: int = setting(MISSING, at_least(1), help="environments per process")
    devices: list[str] = setting(help="one process per entry: [cpu], [cuda:0,cuda:1]")
    visualize: bool = setting(False, help="show the first environment in the browser, at an address that is printed")
    video: bool = setting(True, help="film the policy at the end of training and in test mode")
    out_dir: str | None = setting(None, PATH, help="the run directory")
    model_file: str | None = setting(None, PATH, help="checkpoint or run directory to start from")
    resume: str | None = setting(None, PATH, help="run directory to continue")
    test_episodes: int = setting(32, at_least(0), help="in mode=test and at the end of training; 0 = no closing test")
    max_samples: float = setting(math.inf, POSITIVE, help="environment steps, summed over processes")
    max_minutes: float = setting(math.inf, POSITIVE, unit="min", help="wall-clock budget of the training loop")
    rand_seed: int | None = setting(None, SEED, help="same seed, same numbers")
    save_int_models: bool = setting(False, help="keep the weights of every output, not only the last")
    data_root: list[str] = setting([], help="searched before the bundled data; MIMICKIT_DATA too")
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
