"""From a scene to the states of all environments in MuJoCo Warp, and where every object's numbers are in them.

Newton imports the scene and converts one environment of it to MuJoCo Warp; the state of all environments is made here
and shares that one model. What the asset says (names, limits, gains) is read by :func:`mujoco_model.read_object`, so
that every engine tells the same.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp

from mimickit_hydra.engines.interface import EngineError, ObjectModel, ObjectSpec, SceneSpec, check_control_mode
from mimickit_hydra.engines.mujoco_model import read_object
from mimickit_hydra.engines.newton_cache import cached
from mimickit_hydra.engines.newton_kernels import Tree


@dataclass
class NewtonScene:
    """The scene once as a model, and ``N`` times as a state; indices are those of the compiled MuJoCo model."""

    mujoco_model: mujoco.MjModel
    warp_model: Any  # mujoco_warp.Model, the same numbers for all environments
    data: Any  # mujoco_warp.Data of all environments
    models: List[ObjectModel]
    trees: List[Any]  # Tree, one an object
    bodies: List[slice]  # of each object, without the world body
    ctrl: List[np.ndarray]  # columns of ctrl in DoF order; empty without drives
    geom_body: Any  # wp int array
    ground_geom: int


def build_scene(config: Any, scene: SceneSpec, num_envs: int, device: Any) -> NewtonScene:
    """Build ``num_envs`` copies of ``scene`` on ``device``. EngineError for what the interface cannot express."""
    check_control_mode(config.control_mode)
    models = [read_object(obj) for obj in scene.objects]
    one = cached(config, scene, device)
    data = mjw.make_data(one.mujoco, nworld=num_envs, nconmax=one.contacts, njmax=one.rows, njmax_nnz=one.nonzeros)
    one.warp.opt.timestep.fill_(1.0 / config.sim_freq)
    one.warp.opt.warn_overflow = 0  # the device would print a line an environment; the engine counts them
    return _located(scene, one.mujoco, one.warp, data, models, device)


# ------------------------------------------------------------------------------------------- reading the result


def _located(
    scene: SceneSpec, compiled: mujoco.MjModel, warp_model: Any, data: Any, models: List[ObjectModel], device: Any
) -> NewtonScene:
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
    return NewtonScene(compiled, warp_model, data, models, trees, bodies, ctrl, geom_body, grounds[0])


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
