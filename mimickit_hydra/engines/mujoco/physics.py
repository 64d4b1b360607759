"""Steps many copies of one MuJoCo model on a thread pool, with plain float64 arrays.

Two classes with the same attributes: :class:`BatchPhysics` on ``mujoco.batch`` and :class:`RolloutPhysics` on
``mujoco.rollout`` for a MuJoCo without it. ``N`` environments, ``nbody`` bodies including the world.
"""

from __future__ import annotations

import copy
from typing import Any, List, Optional, Tuple

import numpy as np

from mimickit_hydra.engines.catalog import available_cores
from mimickit_hydra.engines.mujoco.values import field_of
from mimickit_hydra.mj import mujoco

# isort: split
from mujoco import rollout as mujoco_rollout

try:
    from mujoco import batch as mujoco_batch
except ImportError:  # an older MuJoCo
    mujoco_batch = None  # type: ignore[assignment]

# Counters that mean "this simulation blew up and was restarted, or was given a control that is not a number".
_BAD = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADCTRL) + 1)
_HUGE = 1e10  # what MuJoCo itself calls so, mjMAXVAL


def kinematic_model(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy of the model without contacts and constraints, for body poses and velocities at a tenth of the price."""
    bare = copy.copy(model)
    disable = mujoco.mjtDisableBit
    for bit in (disable.mjDSBL_CONTACT, disable.mjDSBL_CONSTRAINT, disable.mjDSBL_ACTUATION, disable.mjDSBL_SENSOR):
        bare.opt.disableflags |= int(bit)
    return bare


class Physics:
    """What both steppers have in common: the arrays of ``N`` simulations and how they advance.

    Writable: ``qpos [N, nq]``, ``qvel [N, nv]``, ``ctrl [N, nu]``, ``xfrc [N, nbody, 6]``, ``warmstart [N, nv]``,
    ``mocap_pos [N, nmocap, 3]``, ``mocap_quat [N, nmocap, 4]`` (wxyz), ``time [N]``. Read only, current after
    :meth:`kinematics`: ``xpos``, ``xquat`` (wxyz), ``cvel`` (angular, then linear at the
    ``subtree_com`` of the tree's root), ``subtree_com``. ``sensordata`` belongs to the last substep.
    """

    qpos: np.ndarray
    qvel: np.ndarray
    ctrl: np.ndarray
    xfrc: np.ndarray
    warmstart: np.ndarray
    mocap_pos: np.ndarray
    mocap_quat: np.ndarray
    time: np.ndarray
    xpos: np.ndarray
    xquat: np.ndarray
    cvel: np.ndarray
    subtree_com: np.ndarray
    sensordata: np.ndarray

    def step(self, nstep: int, rows: Optional[np.ndarray] = None) -> Optional[np.ndarray]:
        """Advance all, or some rows, by ``nstep`` substeps; a bool ``[N]`` of those that failed, or None."""
        raise NotImplementedError

    def kinematics(self, rows: Optional[np.ndarray] = None) -> None:
        """Make poses and velocities of all bodies current, in all environments or some rows."""
        raise NotImplementedError

    def state(self) -> np.ndarray:
        """A copy ``[N, S]`` of everything that the next step depends on."""
        raise NotImplementedError

    def set_state(self, state: np.ndarray) -> None:
        raise NotImplementedError

    def write(self, field: str, rows: np.ndarray, index: np.ndarray, values: np.ndarray) -> None:
        """Set numbers ``index [K]`` of the flattened field of the model to ``values [n, K]``, in the environments
        ``rows [n]`` alone."""
        raise NotImplementedError

    def derive(self, rows: np.ndarray) -> None:
        """Make what the model derives from masses and inertias follow them, in the environments ``rows``."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop the threads."""


class BatchPhysics(Physics):
    """``mujoco.batch``: one call steps everything. A second, constraint-free batch supplies poses and velocities.

    The second batch exists because asking the first for current poses after a step repeats collision detection and the
    assembly of constraints, which costs ten percent of the step; without them it costs one.
    """

    def __init__(self, model: mujoco.MjModel, num_envs: int, num_threads: int) -> None:
        self._batch: Any = mujoco_batch.Batch(model, num_envs, num_threads)
        for name in ("qpos", "qvel", "ctrl", "mocap_pos", "mocap_quat", "time", "sensordata"):
            setattr(self, name, self._batch.bind(name))
        self.xfrc = self._batch.bind("xfrc_applied")
        self.warmstart = self._batch.bind("qacc_warmstart")
        self._poses: Any = mujoco_batch.Batch(kinematic_model(model), num_envs, num_threads)
        for name in ("xpos", "xquat", "cvel", "subtree_com"):
            setattr(self, name, self._poses.bind(name))
        fields = ["qpos", "qvel"] + (["mocap_pos", "mocap_quat"] if model.nmocap else [])
        self._shared = [(self._poses.bind(name), self._batch.bind(name)) for name in fields]
        self._warnings = self._batch.warning[:, _BAD, 1]

    def step(self, nstep: int, rows: Optional[np.ndarray] = None) -> Optional[np.ndarray]:
        failed = None
        self._warnings[...] = 0  # a restart sets them back itself, so that they do not tell the second from the first
        try:
            self._batch.step(ids=rows, nstep=nstep)
        except mujoco_batch.SimulationError as error:
            failed = np.zeros(self.qpos.shape[0], dtype=bool)
            failed[error.ids] = True
        if self._warnings.any():
            restarted = self._warnings.any(axis=1)
            failed = restarted if failed is None else failed | restarted
        return failed

    def kinematics(self, rows: Optional[np.ndarray] = None) -> None:
        where: Any = slice(None) if rows is None else rows
        for target, source in self._shared:
            target[where] = source[where]
        self._poses.forward(rows, stage=int(mujoco.mjtStage.mjSTAGE_VEL))

    def state(self) -> np.ndarray:
        return self._batch.state.copy()

    def set_state(self, state: np.ndarray) -> None:
        self._batch.state[...] = state

    def write(self, field: str, rows: np.ndarray, index: np.ndarray, values: np.ndarray) -> None:
        array = self._batch.expand(field)
        where: Any = (rows[:, None], *np.unravel_index(index, array.shape[1:]))
        array[where] = values

    def derive(self, rows: np.ndarray) -> None:
        self._batch.set_const(rows)


class RolloutPhysics(Physics):
    """``mujoco.rollout`` with a thread pool of its own; poses come from a loop over environments.

    The solver starts cold in every :meth:`step`, because ``rollout`` does not hand its warm start back.
    """

    _CONTROLS = ("CTRL", "XFRC_APPLIED", "MOCAP_POS", "MOCAP_QUAT")

    def __init__(self, model: mujoco.MjModel, num_envs: int, num_threads: int) -> None:
        self._model = model
        self._data = [mujoco.MjData(model) for _ in range(num_threads)]
        self._pool = mujoco_rollout.Rollout(nthread=num_threads if num_threads > 1 else 0)
        self._pose_model = kinematic_model(model)
        self._pose_data = mujoco.MjData(self._pose_model)
        self._physics = int(mujoco.mjtState.mjSTATE_FULLPHYSICS)
        self._rows, parts = _views(model, num_envs, ("TIME", "QPOS", "QVEL"), self._physics)
        self.time, self.qpos, self.qvel = parts[0][:, 0], parts[1], parts[2]
        self._control_spec = sum(_bit(name) for name in self._CONTROLS)
        self._control, parts = _views(model, num_envs, self._CONTROLS, self._control_spec)
        self.ctrl, xfrc, mocap_pos, mocap_quat = parts
        self.xfrc = xfrc.reshape(num_envs, model.nbody, 6)
        self.mocap_pos = mocap_pos.reshape(num_envs, model.nmocap, 3)
        self.mocap_quat = mocap_quat.reshape(num_envs, model.nmocap, 4)
        self.warmstart = np.zeros((num_envs, model.nv))
        self.xpos = np.zeros((num_envs, model.nbody, 3))
        self.xquat = np.zeros((num_envs, model.nbody, 4))
        self.cvel = np.zeros((num_envs, model.nbody, 6))
        self.subtree_com = np.zeros((num_envs, model.nbody, 3))
        self.sensordata = np.zeros((num_envs, model.nsensordata))
        start = self._data[0]
        self.qpos[...], self.mocap_pos[...], self.mocap_quat[...] = start.qpos, start.mocap_pos, start.mocap_quat
        self._models: List[mujoco.MjModel] = []  # one an environment, once they differ

    def step(self, nstep: int, rows: Optional[np.ndarray] = None) -> Optional[np.ndarray]:
        where: Any = slice(None) if rows is None else rows
        duration = nstep * self._model.opt.timestep
        self.time[where] = duration  # whoever is restarted on the way counts from zero and falls behind twice that
        wanted = (np.abs(self.ctrl[where]) < _HUGE).all(axis=1)
        control = np.repeat(self._control[where][:, None, :], nstep, axis=1)
        models = self._models if rows is None or not self._models else [self._models[row] for row in rows]
        states, sensors = self._pool.rollout(
            models or self._model, self._data, self._rows[where], control, control_spec=self._control_spec, nstep=nstep
        )
        self._rows[where] = states[:, -1]
        self.sensordata[where] = sensors[:, -1]
        in_time = self.time[where] > 2.0 * duration - 0.5 * self._model.opt.timestep
        fine = wanted & in_time & np.isfinite(self._rows[where]).all(axis=1)
        if fine.all():
            return None
        failed = np.zeros(len(self._rows), dtype=bool)
        failed[where] = ~fine
        return failed

    def kinematics(self, rows: Optional[np.ndarray] = None) -> None:
        model, data = self._pose_model, self._pose_data
        for env in range(self.qpos.shape[0]) if rows is None else rows:
            data.qpos[:], data.qvel[:] = self.qpos[env], self.qvel[env]
            data.mocap_pos[:], data.mocap_quat[:] = self.mocap_pos[env], self.mocap_quat[env]
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_comVel(model, data)
            self.xpos[env], self.xquat[env] = data.xpos, data.xquat
            self.cvel[env], self.subtree_com[env] = data.cvel, data.subtree_com

    def state(self) -> np.ndarray:
        return np.concatenate([self._rows, self._control], axis=1)

    def set_state(self, state: np.ndarray) -> None:
        split = self._rows.shape[1]
        self._rows[...], self._control[...] = state[:, :split], state[:, split:]

    def write(self, field: str, rows: np.ndarray, index: np.ndarray, values: np.ndarray) -> None:
        if not self._models:
            self._models = [copy.copy(self._model) for _ in range(len(self._rows))]
        for k, row in enumerate(rows):
            field_of(self._models[row], field).reshape(-1)[index] = values[k]

    def derive(self, rows: np.ndarray) -> None:
        for row in rows:
            mujoco.mj_setConst(self._models[row], mujoco.MjData(self._models[row]))

    def close(self) -> None:
        self._pool.close()


def _bit(name: str) -> int:
    return int(getattr(mujoco.mjtState, "mjSTATE_" + name))


def _views(
    model: mujoco.MjModel, num_envs: int, names: Tuple[str, ...], spec: int
) -> Tuple[np.ndarray, List[np.ndarray]]:
    """A zero array of state rows of kind ``spec``, and views of its leading parts ``names``."""
    rows = np.zeros((num_envs, mujoco.mj_stateSize(model, spec)))
    views, start = [], 0
    for name in names:
        size = mujoco.mj_stateSize(model, _bit(name))
        views.append(rows[:, start : start + size])
        start += size
    return rows, views


def make_physics(model: mujoco.MjModel, num_envs: int, num_threads: int) -> Physics:
    """The fastest stepper this MuJoCo has; ``num_threads`` 0 means all cores of the process."""
    threads = min(num_threads or available_cores(), num_envs)
    if mujoco_batch is not None:
        return BatchPhysics(model, num_envs, threads)
    return RolloutPhysics(model, num_envs, threads)
