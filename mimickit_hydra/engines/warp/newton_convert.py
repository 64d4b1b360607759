"""Converts a scene into one environment of MuJoCo Warp, by Newton's importer and its MuJoCo solver.

Only this module imports Newton, which takes a second: :mod:`newton_scene` keeps what comes out of it.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

import inspect
import math
import re
import warnings
from typing import Any, Dict, List, Tuple

import newton
import warp as wp

from mimickit_hydra.engines.interface import EngineError, ObjectSpec, SceneSpec
from mimickit_hydra.engines.mujoco.model import Asset
from mimickit_hydra.engines.warp.converted import Converted
from mimickit_hydra.motion.plain import plain_mjcf
from mimickit_hydra.motion.robot import Robot

GROUND = "ground"
OLDEST = (1, 6)  # what came before has other names for nearly everything here


def convert(config: Any, scene: SceneSpec, assets: List[Asset], device: Any) -> Converted:
    """One environment of ``scene`` on ``device``. EngineError for what Newton cannot read."""
    _check_version(newton.__version__)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about MJCF attributes that the importer does not need
        model = _one_world(_template(scene, assets, config.control_mode), device)
        contacts, rows = _capacity(config, model)
        solver = newton.solvers.SolverMuJoCo(
            model, solver="newton", integrator="implicitfast", cone="pyramidal", impratio=config.impratio,
            iterations=config.iterations, ls_iterations=config.ls_iterations,
            tolerance=getattr(config, "tolerance", 1e-6), ls_tolerance=getattr(config, "ls_tolerance", 0.01),
            jacobian=getattr(config, "jacobian", "auto"), njmax=rows, nconmax=contacts,
            separate_worlds=True, **_newer(kinematic_switchable_roots=False),
        )  # fmt: skip
    return Converted(solver.mj_model, solver.mjw_model, contacts, rows, int(solver.mjw_data.njmax_nnz))


def _check_version(found: str) -> None:
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < OLDEST:
        raise EngineError(
            'engine=newton needs Newton {}.{} or newer, found {}: pip install "mimickit-hydra[newton]"'.format(
                *OLDEST, found
            )
        )


def _newer(**options: Any) -> Dict[str, Any]:
    """The solver options that this version of Newton has."""
    known = inspect.signature(newton.solvers.SolverMuJoCo.__init__).parameters
    return {name: value for name, value in options.items() if name in known}


def _template(scene: SceneSpec, assets: List[Asset], control_mode: str) -> Any:
    template = _builder()
    for obj, asset in zip(scene.objects, assets):
        first_shape, first_dof = len(template.shape_flags), len(template.joint_damping)
        _import(template, obj, asset)
        mode = "none" if obj.disable_motors else control_mode
        _set_drives(template, first_dof + (0 if obj.fix_root else 6), asset.robot, mode)
        if obj.is_visual:
            for shape in range(first_shape, len(template.shape_flags)):
                template.shape_flags[shape] &= ~int(newton.ShapeFlags.COLLIDE_SHAPES)
    return template


def _import(template: Any, obj: ObjectSpec, asset: Asset) -> None:
    template.add_mjcf(
        plain_mjcf(asset.source, asset.robot),
        floating=not obj.fix_root,
        xform=wp.transform(obj.start_pos, wp.quat(*obj.start_rot)),
        override_root_xform=True,
        enable_self_collisions=obj.enable_self_collisions,
        convert_3d_hinge_to_ball_joints=True,
        parse_visuals=False,
    )


def _builder() -> Any:
    builder = newton.ModelBuilder()
    newton.solvers.SolverMuJoCo.register_custom_attributes(builder)
    builder.default_shape_cfg.mu = 1.0
    builder.rigid_gap = 0.0  # contacts are wanted where bodies touch, not where they may soon
    return builder


def _set_drives(builder: Any, first: int, robot: Robot, control_mode: str) -> None:
    """Give the drives of a robot, from the builder's DoF ``first`` on, its gains; springs and dampers stay passive."""
    kinds = newton.JointTargetMode
    kind = {"pos": kinds.POSITION, "vel": kinds.VELOCITY}.get(control_mode, kinds.NONE)
    for k, dof in enumerate(range(first, first + robot.num_dofs)):
        builder.joint_target_ke[dof] = float(robot.kp[k]) if control_mode == "pos" else 0.0
        builder.joint_target_kd[dof] = float(robot.kd[k]) if kind != kinds.NONE else 0.0
        builder.joint_target_mode[dof] = int(kind)


def _one_world(template: Any, device: Any) -> Any:
    """The template on its ground, as one world; all environments are alike, so one stands for all."""
    scene = _builder()
    shape = newton.ModelBuilder.ShapeConfig(mu=1.0, restitution=0.0, gap=0.0)
    scene.add_ground_plane(cfg=shape, label=GROUND)
    scene.replicate(template, 1)
    return scene.finalize(device=device)


def _capacity(config: Any, model: Any) -> Tuple[int, int]:
    """Contacts and constraint rows of one environment: the configured ones, or by the number of colliding shapes.

    Thrown about at random, the humanoid's 19 shapes made 11 contacts and 42 rows at most; the rule gives it 40 and 128.
    """
    colliding = int((model.shape_flags.numpy() & int(newton.ShapeFlags.COLLIDE_SHAPES) > 0).sum()) - 1
    contacts = int(config.nconmax) or 16 + math.ceil(1.25 * max(colliding, 1))
    rows = int(config.njmax) or 32 + math.ceil(2.4 * contacts)
    return contacts, rows
