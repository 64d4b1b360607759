"""Schema of env=dodgeball."""

from __future__ import annotations

from dataclasses import dataclass

from mimickit_hydra.config.fields import POSITIVE, at_least, setting
from mimickit_hydra.envs.tasks.schema import TaskEnvConfig


@dataclass(frozen=True)
class DodgeballEnvConfig(TaskEnvConfig):
    """Do not be hit by balls thrown from all sides."""

    proj_target_body: str = setting(help="what the balls are aimed at")
    num_projectiles: int = setting(1, at_least(1))
    hit_dist: float = setting(0.8, POSITIVE, "m")
    hit_force_threshold: float = setting(0.1, at_least(0), "N")
    hit_delta_v_threshold: float = setting(1.5, at_least(0), "m/s")
    proj_aim_noise_scale: float = setting(0.1, at_least(0), "m")
    proj_dist_min: float = setting(8.0, POSITIVE, "m", up_to="proj_dist_max")
    proj_dist_max: float = setting(10.0, unit="m")
    proj_h_min: float = setting(0.5, at_least(0), "m", up_to="proj_h_max")
    proj_h_max: float = setting(2.5, at_least(0.1), "m", "above the radius of a ball")
    proj_speed_min: float = setting(12.0, POSITIVE, "m/s", up_to="proj_speed_max")
    proj_speed_max: float = setting(15.0, unit="m/s")
    proj_trigger_time_min: float = setting(1.0, at_least(0), "s", up_to="proj_trigger_time_max")
    proj_trigger_time_max: float = setting(4.0, unit="s")
