"""From a scene to a Newton model and its MuJoCo solver, and where every object's numbers are in it.

Newton imports the scene and converts one environment of it to MuJoCo Warp; the state of all environments is made there
and shares that one model. What the asset says (names, limits, gains) is read by :func:`mujoco_model.read_object`, so
that every engine tells the same.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

import inspect
import math
import os
import re
import warnings
from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

import mujoco
import mujoco_warp as mjw
import newton
import numpy as np
import warp as wp

from mimickit_hydra.engines.interface import CONTROL_MODES, EngineError, ObjectModel, ObjectSpec, SceneSpec
from mimickit_hydra.engines.mujoco_model import load_asset, read_object
from mimickit_hydra.engines.newton_kernels import Tree

GROUND = "ground"
OLDEST = (1, 6)  # what came before has other names for nearly everything here
_ACTUATORS = re.compile(r"<(actuator|sensor|keyframe)\b[^>]*?(/>|>.*?</\1\s*>)", re.DOTALL)


@dataclass
class NewtonScene:
    """The scene once as a model, and ``N`` times as a state; indices are those of the compiled MuJoCo model."""

    solver: Any  # newton.solvers.SolverMuJoCo of one environment: its models are used, its state is not
    data: Any  # mujoco_warp.Data of all environments
    models: List[ObjectModel]
    trees: List[Any]  # Tree, one an object
    bodies: List[slice]  # of each object, without the world body
    ctrl: List[np.ndarray]  # columns of ctrl in DoF order; empty without drives
    geom_body: Any  # wp int array
    ground_geom: int

    @property
    def mujoco_model(self) -> mujoco.MjModel:
        return self.solver.mj_model


def build_scene(config: Any, scene: SceneSpec, num_envs: int, device: Any) -> NewtonScene:
    """Build ``num_envs`` copies of ``scene`` on ``device``. EngineError for what the interface cannot express."""
    if config.control_mode not in CONTROL_MODES:
        raise EngineError(
            "engine.control_mode={!r} is unknown; allowed: {}".format(config.control_mode, ", ".join(CONTROL_MODES))
        )
    _check_version(newton.__version__)
    models = [read_object(obj) for obj in scene.objects]
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
        data = mjw.make_data(
            solver.mj_model, nworld=num_envs, nconmax=contacts, njmax=rows, njmax_nnz=solver.mjw_data.njmax_nnz
        )
    solver.mjw_model.opt.timestep.fill_(1.0 / config.sim_freq)
    solver.mjw_model.opt.warn_overflow = 0  # the device would print a line an environment; the engine counts them
    return _located(scene, solver, data, models, device)


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
        if obj.is_visual:
            for shape in range(first_shape, len(template.shape_flags)):
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
    return bool((meshes & ((source.geom_contype | source.geom_conaffinity) != 0)).any())


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


# ------------------------------------------------------------------------------------------- reading the result


def _located(scene: SceneSpec, solver: Any, data: Any, models: List[ObjectModel], device: Any) -> NewtonScene:
    compiled = solver.mj_model
    counts = [facts.num_bodies for facts in models]
    if compiled.nbody != 1 + sum(counts):
        raise EngineError(
            "{}: Newton made {} bodies of it, MuJoCo {}; it cannot be used with engine=newton".format(
                scene.objects[0].asset_file, compiled.nbody - 1, sum(counts)
            )
        )
    trees, bodies, ctrl, first = [], [], [], 1
    for count, facts, obj in zip(counts, models, scene.objects):
        rows = _tree_rows(compiled, first, facts, obj)
        trees.append(_tree(rows, int(compiled.body_mocapid[first]), device))
        bodies.append(slice(first - 1, first - 1 + count))
        ctrl.append(_drive_columns(compiled, first, rows, facts))
        first += count
    grounds = [i for i in range(compiled.ngeom) if compiled.geom_bodyid[i] == 0]
    geom_body = wp.array(compiled.geom_bodyid.astype(np.int32), dtype=wp.int32, device=device)
    return NewtonScene(solver, data, models, trees, bodies, ctrl, geom_body, grounds[0])


def _tree_rows(compiled: mujoco.MjModel, first: int, facts: ObjectModel, obj: ObjectSpec) -> Dict[str, np.ndarray]:
    ids = np.arange(first, first + facts.num_bodies)
    joints = compiled.body_jntadr[ids]
    has = compiled.body_jntnum[ids] > 0
    parents = np.where(compiled.body_parentid[ids] > 0, compiled.body_parentid[ids] - first, -1)
    dims = np.where(has, np.array([6, 3, 1, 1])[compiled.jnt_type[joints]], 0)
    dims[0] = 0
    masses = compiled.body_mass[ids]
    if not (np.array_equal(parents, facts.parents) and np.array_equal(dims, facts.dof_dims)):
        raise EngineError("{}: Newton reads its bodies or joints otherwise than MuJoCo".format(obj.asset_file))
    if not np.allclose(masses, facts.body_masses, rtol=1e-4, atol=1e-6):
        raise EngineError("{}: Newton reads other body masses from it than MuJoCo".format(obj.asset_file))
    wxyz = compiled.body_quat[ids]
    return {
        "parent": parents.astype(np.int32),
        "kind": np.where(has, compiled.jnt_type[joints], -1).astype(np.int32),
        "qpos": np.where(has, compiled.jnt_qposadr[joints], 0).astype(np.int32),
        "qvel": np.where(has, compiled.jnt_dofadr[joints], 0).astype(np.int32),
        "dof": (np.cumsum(dims) - dims).astype(np.int32),
        "pos": compiled.body_pos[ids].astype(np.float32),
        "rot": wxyz[:, [1, 2, 3, 0]].astype(np.float32),
        "axis": np.where(has[:, None], compiled.jnt_axis[joints], 0.0).astype(np.float32),
        "anchor": np.where(has[:, None], compiled.jnt_pos[joints], 0.0).astype(np.float32),
    }


def _tree(rows: Dict[str, np.ndarray], mocap: int, device: Any) -> Any:
    tree = Tree()
    kinds = {"pos": wp.vec3, "rot": wp.quat, "axis": wp.vec3, "anchor": wp.vec3}
    for name, values in rows.items():
        setattr(tree, name, wp.array(values, dtype=kinds.get(name, wp.int32), device=device))
    tree.mocap = mocap
    return tree


def _drive_columns(compiled: mujoco.MjModel, first: int, rows: Dict[str, np.ndarray], facts: ObjectModel) -> np.ndarray:
    """Which control drives each DoF of the object, ``[D]``, or an empty array if nothing does."""
    columns = np.full(facts.num_dofs, -1, dtype=np.int64)
    for actuator in range(compiled.nu):
        joint = int(compiled.actuator_trnid[actuator, 0])
        body = int(compiled.jnt_bodyid[joint]) - first
        if 0 <= body < facts.num_bodies:
            axis = int(np.argmax(np.abs(compiled.actuator_gear[actuator, :3])))
            columns[int(rows["dof"][body]) + axis] = actuator
    return columns if (columns >= 0).any() else np.zeros(0, dtype=np.int64)
