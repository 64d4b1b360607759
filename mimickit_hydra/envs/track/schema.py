"""Schemas of the tracking env and of its terms."""

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
from mimickit_hydra.envs.event_schema import UP_TO
from mimickit_hydra.envs.term_schema import read_table

NEEDS_ESTIMATE = ("motion_anchor_pos_b", "base_lin_vel")  # what no sensor of a robot measures


@dataclass(frozen=True)
class TrackingEnvConfig:
    """Follow clips with the whole body: the task of BeyondMimic (Liao et al. 2025)."""

    env_name: str = MISSING
    char_file: str = setting(help="the character's MJCF")
    motion_file: str = setting(help="clip (.npz, .pkl), or a set of them: .yaml, a folder, a pattern")
    motion_split: str | None = setting(
        None, or_null(one_of("train", "held_out", "all")), help="clips of a set; null: train, and all in mode=test"
    )
    held_out: float = setting(0.0, FRACTION, help="of the clips, by the hash of their files, where no list says which")
    init_pose: list[float] = setting([], help="its joints are what actions are offsets from; empty: the zero pose")
    anchor_body: str = setting("", help="the body that the reference is aligned at; empty: the root")
    tracked_bodies: list[str] = setting([], help="the bodies that are compared; empty: all")
    end_effectors: list[str] = setting([], help="hands and feet, by whose height an episode ends")
    imu_pos: list[float] = setting([0.0, 0.0, 0.0], VECTOR, "m", "where velocities are measured, in the root's frame")
    episode_length: float = setting(10.0, POSITIVE, "s")
    rand_reset: bool = setting(True, help="begin anywhere in a clip")
    sampling: str = setting("failure", help="where: by weight, uniform, failure, return, mjlab; see motion_sets.md")
    sampling_params: dict[str, Any] = setting({}, help="of that, by name")
    state_estimation: bool = setting(
        True, help=f"the policy knows where it is and how fast; false: without {', '.join(NEEDS_ESTIMATE)}"
    )
    action_scale: float = setting(
        0.25, POSITIVE, help="of torque limit over stiffness, the angle that an action of 1 is"
    )
    action_about: str = setting(
        "default", one_of("default", "reference"), help="what actions are offsets from; reference: its next frame"
    )
    soft_limits: float = setting(0.9, FRACTION, help="of each joint's range, beyond which it is punished")
    start_pos: list[float] = setting([0.05, 0.05, 0.01], UP_TO, "m", "by up to which the root starts off, x y z")
    start_rot: list[float] = setting([0.1, 0.1, 0.2], UP_TO, "rad", "likewise, roll pitch yaw")
    start_vel: list[float] = setting([0.5, 0.5, 0.2], UP_TO, "m/s", "likewise")
    start_ang_vel: list[float] = setting([0.52, 0.52, 0.78], UP_TO, "rad/s", "likewise")
    start_joints: float = setting(0.1, at_least(0), "rad", "likewise every joint")
    lift_starts: bool | None = setting(
        None, help="where the clip is in the floor, begin as much higher; null: yes, unless compatible says otherwise"
    )
    compatible: str = setting(
        "none", one_of("none", "mjlab"), help="mjlab: its ways where ours differ; see differences.md"
    )
    observations: dict[str, Any] = setting({}, help="of the policy, by name, each with its noise")
    critic_observations: dict[str, Any] = setting({}, help="of the value function")
    rewards: dict[str, Any] = setting({}, help="by name, each with its weight per second and parameters")
    terminations: dict[str, Any] = setting({}, help="by name, each with its parameters")
    events: dict[str, Any] = setting({}, help="what differs between environments and happens to them; randomization.md")
    fuse: bool = setting(
        False, help="compile observations, rewards and restarts into few kernels, for a minute, once", speed_alone=True
    )
    log_tracking_error: bool = setting(True, help="measure the distance to the reference in tests")
    camera_mode: str = setting("track", one_of("still", "track"), help="of the video")
    visualize_ref_char: bool = setting(True, help="the reference stands beside the character in the video")
    ref_char_offset: list[float] = setting([2.0, 0.0, 0.0], VECTOR, "m", "from character to reference in the video")
    objects: list[StaticObjectConfig] = setting([], help="fixed, in the way; not observed")

    @property
    def like_mjlab(self) -> bool:
        return self.compatible == "mjlab"

    @property
    def lifts_starts(self) -> bool:
        return not self.like_mjlab if self.lift_starts is None else self.lift_starts

    @property
    def imitates(self) -> bool:
        return True

    @property
    def enable_early_termination(self) -> bool:
        return any(params is not None for params in self.terminations.values())

    @property
    def shown(self) -> dict[str, Any]:
        """The observations of the policy."""
        left_out = () if self.state_estimation else NEEDS_ESTIMATE
        return {name: params for name, params in self.observations.items() if name not in left_out}

    def check(self) -> None:
        """UserError for the first thing that cannot be built."""
        read_table(self, "critic_observations", "observations")
        for key in ("observations", "critic_observations", "rewards"):
            if not getattr(self, key):
                raise wrong(f"env.{key}", {}, "a table with at least one term")
        if self.terminations.get("ee_body_pos") is not None and not self.end_effectors:
            raise wrong(
                "env.end_effectors", [], "at least one body: env.terminations.ee_body_pos looks at their heights"
            )


@dataclass(frozen=True)
class GoalParams:
    """An observation of the reference's coming frames."""

    steps: list[int] = setting(
        [1, 2, 3, 4, 6, 8, 11, 14, 18, 22], whole_numbers(0), "control steps", "how far these lie beyond the present"
    )


@dataclass(frozen=True)
class EncoderParams:
    encoder: bool = setting(False, help="as encoders measure it that env.events.encoder_bias puts off")


@dataclass(frozen=True)
class ErrorParams:
    """The form of a tracking reward, ``exp(-error^2 / std^2)``."""

    std: float = setting(MISSING, POSITIVE, help="the error that leaves 37 % of the reward, in its own unit")


@dataclass(frozen=True)
class ContactParams:
    force: float = setting(10.0, at_least(0), "N", "above which a contact counts")


@dataclass(frozen=True)
class ThresholdParams:
    threshold: float = setting(MISSING, POSITIVE, help="m, and without unit for anchor_ori")
