"""From a scene to one environment in MuJoCo Warp, by Newton's importer and its MuJoCo solver.

Only this module imports Newton, which takes a second: :mod:`newton_scene` keeps what comes out of it.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import warnings
from typing import Any, Dict, Tuple

import mujoco
import newton
import warp as wp

from mimickit_hydra.engines.interface import EngineError, ObjectSpec, SceneSpec
from mimickit_hydra.engines.mujoco_model import load_asset
from mimickit_hydra.engines.newton_cache import Converted

GROUND = "ground"
OLDEST = (1, 6)  # what came before has other names for nearly everything here
_ACTUATORS = re.compile(r"<(actuator|sensor|keyframe)\b[^>]*?(/>|>.*?</\1\s*>)", re.DOTALL)


def convert(config: Any, scene: SceneSpec, device: Any) -> Converted:
    """One environment of ``scene`` on ``device``. EngineError for what Newton cannot read."""
    _check_version(newton.__version__)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about MJCF attributes that the importer does not need
        model = _one_world(_template(scene, config.control_mode), device)
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
    """Those of the solver's options that this version of Newton has."""
    known = inspect.signature(newton.solvers.SolverMuJoCo.__init__).parameters
    return {name: value for name, value in options.items() if name in known}


def _template(scene: SceneSpec, control_mode: str) -> Any:
    template = _builder()
    for obj in scene.objects:
        first_shape, first_dof = len(template.shape_flags), len(template.joint_damping)
        _import(template, obj)
        _set_drives(template, first_dof + (0 if obj.fix_root else 6), "none" if obj.disable_motors else control_mode)
        for shape in range(first_shape, len(template.shape_flags)):
            # An object is its one body: what its file puts around it, as a floor of its own, is not part of the scene.
            if obj.is_visual or template.shape_body[shape] < 0:
                template.shape_flags[shape] &= ~int(newton.ShapeFlags.COLLIDE_SHAPES)
    return template


def _import(template: Any, obj: ObjectSpec) -> None:
    text, folder = _asset_text(obj)
    try:
        template.add_mjcf(
            text,
            floating=not obj.fix_root,
            xform=wp.transform(obj.start_pos, wp.quat(*obj.start_rot)),
            override_root_xform=True,
            enable_self_collisions=obj.enable_self_collisions,
            convert_3d_hinge_to_ball_joints=True,
            parse_visuals=False,
            parse_meshes="<mesh" in text and _has_colliding_meshes(obj),
            path_resolver=lambda base, path: os.path.join(base or folder, path),
        )
    except ImportError as error:  # Newton asks for it when it meets the first mesh
        raise EngineError(
            "{}: its meshes collide, and to read them Newton needs the Python package {}: pip install {}".format(
                obj.asset_file, error.name, error.name
            )
        ) from error


def _has_colliding_meshes(obj: ObjectSpec) -> bool:
    """Meshes that are only seen are left out: Newton would read them, and need a package for it."""
    source = load_asset(obj).source
    meshes = source.geom_type == mujoco.mjtGeom.mjGEOM_MESH
    colliding = ((source.geom_contype | source.geom_conaffinity) != 0) & (source.geom_bodyid > 0)
    return bool((meshes & colliding).any())


def _builder() -> Any:
    builder = newton.ModelBuilder()
    newton.solvers.SolverMuJoCo.register_custom_attributes(builder)
    builder.default_shape_cfg.mu = 1.0
    builder.rigid_gap = 0.0  # contacts are wanted where bodies touch, not where they may soon
    return builder


def _asset_text(obj: ObjectSpec) -> Tuple[str, str]:
    """The MJCF without motors, sensors and key frames, which Newton would carry along, and its folder."""
    with open(obj.asset_file, encoding="utf-8") as file:
        return _ACTUATORS.sub("", file.read()), os.path.dirname(os.path.abspath(obj.asset_file))


def _set_drives(builder: Any, first: int, control_mode: str) -> None:
    """Stiffness and damping of the asset become the gains of its drives; passive springs there are none."""
    kinds = newton.JointTargetMode
    kind = {"pos": kinds.POSITION, "vel": kinds.VELOCITY}.get(control_mode, kinds.NONE)
    stiffness = _stiffness(builder)
    for dof in range(first, len(builder.joint_damping)):
        builder.joint_target_ke[dof] = stiffness[dof] if control_mode == "pos" else 0.0
        builder.joint_target_kd[dof] = builder.joint_damping[dof] if kind != kinds.NONE else 0.0
        stiffness[dof] = 0.0
        builder.joint_damping[dof] = 0.0
        builder.joint_target_mode[dof] = int(kind)


def _stiffness(builder: Any) -> Any:
    """The joints' passive stiffness by DoF, to be edited: before Newton 1.8 it is one of MuJoCo's own attributes."""
    if hasattr(builder, "joint_stiffness"):
        return builder.joint_stiffness
    attribute = builder.custom_attributes["mujoco:dof_passive_stiffness"]
    if attribute.values is None:
        attribute.values = {}
    for dof in range(len(builder.joint_damping)):
        attribute.values.setdefault(dof, attribute.default)
    return attribute.values


def _one_world(template: Any, device: Any) -> Any:
    """The template on its ground. Environments differ in nothing, so one world stands for all."""
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
