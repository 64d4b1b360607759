"""The states of all environments in MuJoCo Warp, and where every object's numbers are in them.

One model serves all environments, which differ in nothing. Names, limits and gains are those that
:func:`mujoco.model.load_asset` reads, so that every engine tells the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List

import mujoco_warp as mjw
import numpy as np
import warp as wp

from mimickit_hydra.engines.interface import ObjectModel
from mimickit_hydra.engines.warp.converted import Converted
from mimickit_hydra.engines.warp.kernels import Tree
from mimickit_hydra.mj import mujoco


@dataclass
class WarpScene:
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


def populate(one: Converted, models: List[ObjectModel], config: Any, num_envs: int, device: Any) -> WarpScene:
    """``num_envs`` environments of the model ``one`` on ``device``; ``models`` are its objects, body after body."""
    compiled = one.mujoco
    data = mjw.make_data(compiled, nworld=num_envs, nconmax=one.contacts, njmax=one.rows, njmax_nnz=one.nonzeros)
    one.warp.opt.timestep.fill_(1.0 / config.sim_freq)
    one.warp.opt.warn_overflow = 0  # the device would print a line an environment; the engine counts them
    trees, bodies, ctrl, first = [], [], [], 1
    for facts in models:
        rows = _tree_rows(compiled, first, facts)
        columns = _drive_columns(compiled, first, rows, facts)
        rows["force"] = np.append(columns, 0)[rows["dof"]].astype(np.int32) if len(columns) else rows["qvel"]
        trees.append(_tree(rows, int(compiled.body_mocapid[first]), device))
        bodies.append(slice(first - 1, first - 1 + facts.num_bodies))
        ctrl.append(columns)
        first += facts.num_bodies
    grounds = [i for i in range(compiled.ngeom) if compiled.geom_bodyid[i] == 0]
    geom_body = wp.array(compiled.geom_bodyid.astype(np.int32), dtype=wp.int32, device=device)
    return WarpScene(compiled, one.warp, data, models, trees, bodies, ctrl, geom_body, grounds[0])


def _tree_rows(compiled: mujoco.MjModel, first: int, facts: ObjectModel) -> Dict[str, np.ndarray]:
    ids = np.arange(first, first + facts.num_bodies)
    joints = compiled.body_jntadr[ids]
    has = compiled.body_jntnum[ids] > 0
    wxyz = compiled.body_quat[ids]
    return {
        "parent": np.asarray(facts.parents, dtype=np.int32),
        "kind": np.where(has, compiled.jnt_type[joints], -1).astype(np.int32),
        "qpos": np.where(has, compiled.jnt_qposadr[joints], 0).astype(np.int32),
        "qvel": np.where(has, compiled.jnt_dofadr[joints], 0).astype(np.int32),
        "dof": (np.cumsum(facts.dof_dims) - facts.dof_dims).astype(np.int32),
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
