"""Schemas of the envs that imitate, and of the plain character."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from mimickit_hydra.config.fields import (
    FRACTION,
    POSITIVE,
    VECTOR,
    at_least,
    one_of,
    or_null,
    setting,
    whole_numbers,
    wrong,
)
from mimickit_hydra.config.schema import StaticObjectConfig
from mimickit_hydra.envs.term_schema import read_table, read_terms

_REWARD: Any = or_null(at_least(0))  # what computes another reward may leave them out


@dataclass(frozen=True)
class CharEnvConfig:
    """A character alone."""

    env_name: str = MISSING
    char_file: str = setting(help="the character's MJCF")
    episode_length: float = setting(MISSING, POSITIVE, "s")
    global_obs: bool = setting(help="observe in world axes instead of the character's heading")
    root_height_obs: bool = setting(True, help="observe the root's height")
    zero_center_action: bool = setting(False, help="actions are offsets from the zero pose")
    init_pose: list[float] = setting([], help="where an episode begins without a reference; empty: the zero pose")
    key_bodies: list[str] = setting([], help="bodies whose positions are observed and compared")
    observations: dict[str, Any] = setting({}, help="further ones by name, each with its parameters")
    rewards: dict[str, Any] = setting({}, help="further ones by name, each with its weight and parameters")
    terminations: dict[str, Any] = setting({}, help="further ones by name, each with its parameters")
    events: dict[str, Any] = setting({}, help="what differs between environments and happens to them; randomization.md")
    critic_observations: dict[str, Any] = setting({}, help="what the value function sees beside what the policy sees")
    state_estimation: bool = setting(
        True, help="the policy sees the character's whole state; false: env.observations, and the value function all"
    )
    camera_mode: str = setting("track", one_of("still", "track"), help="of the video")
    fuse: bool = setting(
        False, help="compile observations, rewards and restarts into few kernels, for a minute, once", speed_alone=True
    )

    def check(self) -> None:
        """UserError where the policy would see nothing of the character, or in axes that it does not know."""
        read_table(self, "critic_observations", "observations")
        if self.state_estimation:
            return
        if not any(term.entry.facts.get("measured") for term in read_terms(self, "observations")):
            raise wrong(
                "env.observations", dict(self.observations),
                "a table with what a robot measures where env.state_estimation=false, as observe=robot has it",
            )  # fmt: skip
        if self.global_obs:
            raise wrong(
                "env.global_obs", True, "false where env.state_estimation=false: the policy does not know where it is"
            )


@dataclass(frozen=True)
class DeepMimicEnvConfig(CharEnvConfig):
    """Follow a reference motion frame by frame."""

    motion_file: str = setting(help="clip (.npz, .pkl), or a set of them: .yaml, a folder, a pattern")
    motion_split: str | None = setting(
        None, or_null(one_of("train", "held_out", "all")), help="clips of a set; null: train, and all in mode=test"
    )
    held_out: float = setting(0.0, FRACTION, help="of the clips, by the hash of their files, where no list says which")
    enable_early_termination: bool = True
    ref_char_offset: list[float] = setting([2.0, 0.0, 0.0], VECTOR, "m", "from character to reference in the video")
    enable_phase_obs: bool = setting(True, help="observe how far the clip is")
    num_phase_encoding: int = setting(0, at_least(0), help="frequencies the phase is encoded in")
    enable_tar_obs: bool = setting(False, help="observe coming frames of the reference")
    tar_obs_steps: list[int] = setting([1], whole_numbers(1), "control steps", "how far ahead these are")
    pose_termination: bool = setting(False, help="end where the reference is lost")
    pose_termination_dist: float = setting(1.0, POSITIVE, "m")
    rand_reset: bool = setting(True, help="begin anywhere in a clip")
    sampling: str = setting("weight", help="where: by weight, uniform, failure, return, mjlab; see motion_sets.md")
    sampling_params: dict[str, Any] = setting({}, help="of that, by name")
    lift_starts: bool = setting(False, help="where the clip is in the floor, begin as much higher")
    action_about: str = setting(
        "default", one_of("default", "reference"), help="what angles are offsets from; reference: its next frame"
    )
    contact_bodies: list[str] = setting([], help="may touch the ground: no fall")
    joint_err_w: list[float] | None = setting(None, help="weight of each body but the root; null: all the same")
    reward_pose_w: float | None = setting(None, _REWARD)
    reward_vel_w: float | None = setting(None, _REWARD)
    reward_root_pose_w: float | None = setting(None, _REWARD)
    reward_root_vel_w: float | None = setting(None, _REWARD)
    reward_key_pos_w: float | None = setting(None, _REWARD)
    reward_pose_scale: float | None = setting(None, _REWARD)
    reward_vel_scale: float | None = setting(None, _REWARD)
    reward_root_pose_scale: float | None = setting(None, _REWARD)
    reward_root_vel_scale: float | None = setting(None, _REWARD)
    reward_key_pos_scale: float | None = setting(None, _REWARD)
    log_tracking_error: bool = setting(False, help="measure the distance to the reference")
    visualize_ref_char: bool = setting(True, help="the reference stands beside the character in the video")
    objects: list[StaticObjectConfig] = setting([], help="fixed, in the way; not observed")

    @property
    def imitates(self) -> bool:
        """Whether the env pays DeepMimic's reward; elsewhere imitation is rewarded by the agent, or not at all."""
        return self.env_name in ("deepmimic", "static_objects")

    def check(self) -> None:
        """UserError where a number of DeepMimic's reward is missing that the env needs."""
        super().check()
        if not self.imitates:
            return
        for key, value in vars(self).items():
            if key.startswith("reward_") and value is None:
                raise wrong(f"env.{key}", None, f"a number: env={self.env_name} is rewarded with it")
        if not self.key_bodies:
            raise wrong("env.key_bodies", [], f"at least one body: env={self.env_name} is rewarded for their positions")


@dataclass(frozen=True)
class StaticObjectsEnvConfig(DeepMimicEnvConfig):
    """DeepMimic among fixed objects."""

    objects: list[StaticObjectConfig] = setting(help="fixed, in the way; not observed")


@dataclass(frozen=True)
class AMPEnvConfig(DeepMimicEnvConfig):
    """Move like the reference: a discriminator sees the last steps. Also the keys of ADD and SMP."""

    num_disc_obs_steps: int = setting(MISSING, at_least(1), "control steps", "that a discriminator observation spans")
    disc_dof_vel_obs: bool = setting(True, help="it sees joint velocities")


@dataclass(frozen=True)
class ASEEnvConfig(AMPEnvConfig):
    """AMP, with some episodes that begin in a default pose."""

    default_reset_prob: float = setting(MISSING, FRACTION, help="of starts in init_pose instead of the reference")
    default_pose_history: bool = setting(
        False, help="after such a start the discriminator sees init_pose at rest, not the clip"
    )
