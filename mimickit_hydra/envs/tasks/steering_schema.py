"""Schema of env=steering."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from mimickit_hydra.config.fields import at_least, setting
from mimickit_hydra.envs.tasks.schema import TaskEnvConfig


@dataclass(frozen=True)
class SteeringEnvConfig(TaskEnvConfig):
    """Walk in one direction at one speed while facing another direction."""

    rand_tar_dir: bool = True
    rand_face_dir: bool = True
    tar_speed_min: float = setting(MISSING, at_least(0), "m/s", up_to="tar_speed_max")
    tar_speed_max: float = setting(MISSING, at_least(0), "m/s")
    tar_change_time_min: float = setting(MISSING, at_least(0), "s", up_to="tar_change_time_max")
    tar_change_time_max: float = setting(MISSING, at_least(0), "s")
    reward_steering_tar_w: float = MISSING
    reward_steering_face_w: float = MISSING
    reward_steering_vel_scale: float = setting(MISSING, at_least(0), "s^2/m^2")
