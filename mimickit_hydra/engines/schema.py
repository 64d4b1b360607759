"""Schemas of all engines."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from mimickit_hydra.config.fields import POSITIVE, at_least, one_of, setting
from mimickit_hydra.engines.catalog import CONTROL_MODES


@dataclass(frozen=True)
class EngineConfig:
    """Keys that every engine understands."""

    engine_name: str = MISSING
    control_mode: str = setting("pos", one_of(*CONTROL_MODES), help="what an action is")
    control_freq: int = setting(30, at_least(1), "Hz", "control steps")
    sim_freq: int = setting(120, at_least(1), "Hz", "physics steps, a multiple of control_freq")
    env_spacing: float = setting(5.0, POSITIVE, "m", "between environments that share a scene")
    python: str | None = setting(
        None, help="interpreter the engine runs in, if not this one; also MIMICKIT_<ENGINE>_PYTHON"
    )
    worker_timeout: float = setting(300.0, POSITIVE, "s", "that such an engine may take to answer")
    worker_start_timeout: float = setting(1800.0, POSITIVE, "s", "to start, and to build the scene")


@dataclass(frozen=True)
class MujocoEngineConfig(EngineConfig):
    """MuJoCo's C library, all environments stepped on a thread pool."""

    sim_freq: int = setting(240, at_least(1), "Hz", "physics steps, a multiple of control_freq")
    num_threads: int = setting(0, at_least(0), help="physics threads; 0 = all cores this process may use")
    iterations: int = setting(100, at_least(1), help="constraint solver iterations")
    ls_iterations: int = setting(50, at_least(1), help="line search steps in each of them")
    impratio: float = setting(10.0, POSITIVE, help="how much stiffer friction is than the normal force")


@dataclass(frozen=True)
class MjwarpEngineConfig(EngineConfig):
    """MuJoCo Warp; sizes are per environment."""

    sim_freq: int = setting(240, at_least(1), "Hz", "physics steps, a multiple of control_freq")
    iterations: int = setting(100, at_least(1), help="constraint solver iterations, at most")
    ls_iterations: int = setting(50, at_least(1), help="line search steps in each of them, at most")
    tolerance: float = setting(1e-6, POSITIVE, help="it stops sooner, at so small a scaled gain")
    ls_tolerance: float = setting(0.01, POSITIVE, help="likewise for a line search")
    jacobian: str = setting("auto", one_of("auto", "dense", "sparse"), help="auto is sparse beyond 32 DoFs")
    impratio: float = setting(10.0, POSITIVE, help="how much stiffer friction is than the normal force")
    njmax: int = setting(0, at_least(0), help="constraint rows; 0 = by the number of colliding shapes")
    nconmax: int = setting(0, at_least(0), help="contacts; likewise")


@dataclass(frozen=True)
class NewtonEngineConfig(MjwarpEngineConfig):
    """MuJoCo Warp through Newton; sizes are per environment."""


@dataclass(frozen=True)
class IsaacLabEngineConfig(EngineConfig):
    """Isaac Lab 3.0; what follows ``physics`` is Newton's and does nothing with PhysX."""

    physics: str = setting("newton", one_of("newton", "ovphysx", "isaacsim"))
    iterations: int = setting(100, at_least(1), help="constraint solver iterations, at most")
    ls_iterations: int = setting(50, at_least(1), help="line search steps in each of them, at most")
    impratio: float = setting(10.0, POSITIVE, help="how much stiffer friction is than the normal force")
    njmax: int = setting(0, at_least(0), help="constraint rows; 0 = by the number of colliding shapes")
    nconmax: int = setting(0, at_least(0), help="contacts; likewise")


@dataclass(frozen=True)
class IsaacGymEngineConfig(EngineConfig):
    """Isaac Gym Preview 4, PhysX on the GPU."""

    ground_contact_height: float = setting(
        0.3, POSITIVE, "m", "a body whose origin is higher does not touch the ground"
    )
