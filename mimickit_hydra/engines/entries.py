"""Registers the engines of this package."""

from __future__ import annotations

from mimickit_hydra.plugins import Plugin

_ROOM = "mimickit_hydra.engines"
_VARIES = ("friction", "mass", "com", "armature", "damping", "frictionloss", "kp", "kd", "torque_limit", "gravity")
_AT_START = ("mass", "com", "armature")  # what follows from them is worked out on the host, which no CUDA graph does


def register(plugin: Plugin) -> None:
    plugin.schema("engine", "base_engine", f"{_ROOM}.schema:EngineConfig")
    plugin.engine(
        "mujoco", f"{_ROOM}.mujoco.engine:MujocoEngine", schema=f"{_ROOM}.schema:MujocoEngineConfig",
        packages=("mujoco",), install='pip install "mimickit-hydra"', devices=("cpu",), varies=_VARIES,
    )  # fmt: skip
    plugin.engine(
        "newton", f"{_ROOM}.warp.newton_engine:NewtonEngine", schema=f"{_ROOM}.schema:NewtonEngineConfig",
        packages=("newton", "warp", "mujoco_warp"), install='pip install "mimickit-hydra[newton]"', varies=_VARIES,
        varies_at_start=_AT_START,
    )  # fmt: skip
    plugin.engine(
        "mjwarp", f"{_ROOM}.warp.mjwarp_engine:MjwarpEngine", schema=f"{_ROOM}.schema:MjwarpEngineConfig",
        packages=("warp", "mujoco_warp"), install='pip install "mimickit-hydra[mjwarp]"', varies=_VARIES,
        varies_at_start=_AT_START,
    )  # fmt: skip
    plugin.engine(
        "isaac_lab", f"{_ROOM}.isaac_lab.engine:IsaacLabEngine",
        schema=f"{_ROOM}.schema:IsaacLabEngineConfig", packages=("isaaclab", "mujoco"),
        install="docs/engines/isaac_lab.md and https://isaac-sim.github.io/IsaacLab for Isaac Lab 3.0 (Python 3.12)",
    )  # fmt: skip
    plugin.engine(
        "isaac_gym", f"{_ROOM}.isaac_gym.engine:IsaacGymEngine",
        schema=f"{_ROOM}.schema:IsaacGymEngineConfig", packages=("isaacgym",),
        install="see https://developer.nvidia.com/isaac-gym for how to get it (Python 3.8)",
        import_first=("isaacgym",), links_python=True, takes_values=True,
    )  # fmt: skip
