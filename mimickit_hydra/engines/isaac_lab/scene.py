"""Configures a scene for Isaac Lab: ground, one asset for each object, and contact sensors."""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Dict, List

import numpy as np
from isaaclab.actuators import ImplicitActuatorCfg
from isaaclab.assets import ArticulationCfg, AssetBaseCfg, RigidObjectCfg
from isaaclab.scene import InteractiveSceneCfg
from isaaclab.sensors import ContactSensorCfg
from isaaclab.sim import SimulationCfg, UsdFileCfg

from mimickit_hydra.engines.interface import ObjectSpec, SceneSpec
from mimickit_hydra.engines.isaac_lab.mjcf_usd import UsdAsset, default_cache_dir, ground_file, usd_asset
from mimickit_hydra.engines.isaac_lab.physics import GROUND_PATH, Physics

_ENVIRONMENT = "{ENV_REGEX_NS}"  # Isaac Lab puts the environments' paths in its place


@dataclass(frozen=True)
class ScenePlan:
    """The configuration of a simulation and the assets in it."""

    sim: Any  # SimulationCfg
    scene: Any  # InteractiveSceneCfg with one attribute an entity
    assets: List[UsdAsset]


def plan_scene(
    config: Any, scene: SceneSpec, num_envs: int, device: str, physics: Physics, at_once: int = 1
) -> ScenePlan:
    """Configure ``num_envs`` copies of ``scene``, with ``at_once`` substeps in a call of the simulator.

    Needs no simulator running; EngineError for a bad value.
    """
    assets = [_asset(obj, physics) for obj in scene.objects]
    colliding = sum(asset.colliders for asset in assets)
    simulation = SimulationCfg(
        device=device, dt=at_once / config.sim_freq, gravity=(0.0, 0.0, -9.81),
        physics=physics.cfg(config, colliding, at_once), save_logs_to_file=False,
    )  # fmt: skip
    spacing = 0.0 if physics.overlapping else float(config.env_spacing)
    entities: Any = InteractiveSceneCfg(num_envs=num_envs, env_spacing=spacing, lazy_sensor_update=True)
    entities.ground = AssetBaseCfg(prim_path=GROUND_PATH, spawn=UsdFileCfg(usd_path=ground_file(default_cache_dir())))
    for k, (obj, asset) in enumerate(zip(scene.objects, assets)):
        setattr(entities, object_name(k), _entity(k, obj, asset, config.control_mode, physics))
        if asset.colliders:
            setattr(entities, sensor_name(k), _sensor(k, asset, physics))
    return ScenePlan(simulation, entities, assets)


def object_name(k: int) -> str:
    return "object_{}".format(k)


def sensor_name(k: int) -> str:
    return "contact_{}".format(k)


def _path(k: int) -> str:
    return "{}/{}".format(_ENVIRONMENT, object_name(k))


def _asset(obj: ObjectSpec, physics: Physics) -> UsdAsset:
    asset = usd_asset(obj, ball_joints=physics.ball_joints)
    if physics.joins_world or not asset.articulated or not obj.fix_root:
        return asset
    return usd_asset(replace(obj, fix_root=False), ball_joints=physics.ball_joints)


def _entity(k: int, obj: ObjectSpec, asset: UsdAsset, control_mode: str, physics: Physics) -> Any:
    fixed_here = True if obj.fix_root and asset.articulated and not physics.joins_world else None
    spawn = UsdFileCfg(
        usd_path=os.fspath(asset.path), activate_contact_sensors=bool(asset.colliders), fix_root_link=fixed_here
    )
    if not asset.articulated:
        state = RigidObjectCfg.InitialStateCfg(pos=tuple(obj.start_pos), rot=tuple(obj.start_rot))
        return RigidObjectCfg(prim_path=_path(k), spawn=spawn, init_state=state)
    return ArticulationCfg(
        prim_path=_path(k),
        spawn=spawn,
        init_state=ArticulationCfg.InitialStateCfg(
            pos=tuple(obj.start_pos), rot=tuple(obj.start_rot), joint_pos={".*": 0.0}, joint_vel={".*": 0.0}
        ),
        body_ordering=list(asset.body_names),
        joint_ordering=list(asset.dof_names),
        actuators={"all": _drives(asset, control_mode)},
    )


def _drives(asset: UsdAsset, control_mode: str) -> Any:
    """Gains of the simulator's own drives. Torques of ``torque`` and ``pd_explicit`` are computed here, not there."""
    model = asset.model
    stiffness = model.kp if control_mode == "pos" else np.zeros_like(model.kp)
    damping = asset.damping + (model.kd if control_mode in ("pos", "vel") else 0.0)

    def named(values: np.ndarray) -> Dict[str, float]:
        return {name: float(value) for name, value in zip(asset.dof_names, values)}

    return ImplicitActuatorCfg(
        joint_names_expr=[".*"], stiffness=named(stiffness), damping=named(damping), armature=named(asset.armature),
        joint_effort_limit=named(model.torque_limits),
    )  # fmt: skip


def _sensor(k: int, asset: UsdAsset, physics: Physics) -> Any:
    path = _path(k) + ("/bodies/.*" if asset.articulated else "")
    return ContactSensorCfg(prim_path=path, **physics.ground_filter())
