"""Schema of env=location."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from mimickit_hydra.config.fields import at_least, setting
from mimickit_hydra.envs.tasks.schema import TaskEnvConfig


@dataclass(frozen=True)
class LocationEnvConfig(TaskEnvConfig):
    """Walk to a point on the ground."""

    tar_speed: float = setting(MISSING, at_least(0), "m/s")
    tar_change_time_min: float = setting(MISSING, at_least(0), "s", up_to="tar_change_time_max")
    tar_change_time_max: float = setting(MISSING, at_least(0), "s")
    tar_dist_max: float = setting(MISSING, at_least(0), "m")
    tar_dist_min: float = setting(0.0, at_least(0), "m", up_to="tar_dist_max")
    dist_threshold: float = setting(0.5, at_least(0), "m^2", "compared with the squared distance")
    pos_err_scale: float = setting(0.5, at_least(0), "1/m^2")
    vel_err_scale: float = setting(4.0, at_least(0), "s^2/m^2")
    pos_reward_w: float = 0.5
    vel_reward_w: float = 0.4
    face_reward_w: float = 0.1
