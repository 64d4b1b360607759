"""Stepping many copies of one MuJoCo model on a thread pool, as plain float64 arrays.

Two classes with the same attributes: :class:`BatchPhysics` on ``mujoco.batch`` and :class:`RolloutPhysics` on
``mujoco.rollout`` for a MuJoCo without it. ``N`` environments, ``nbody`` bodies including the world.
"""

from __future__ import annotations

import copy
import os
from typing import Any, List, Optional, Tuple

import mujoco
import numpy as np
from mujoco import rollout as mujoco_rollout

try:
    from mujoco import batch as mujoco_batch
except ImportError:  # an older MuJoCo
    mujoco_batch = None  # type: ignore[assignment]

# Counters that mean "this simulation blew up and was restarted, or was given a control that is not a number".
_BAD = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADCTRL) + 1)


def default_threads() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def kinematic_model(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy that knows no contacts and no constraints, for body poses and velocities at a tenth of the price."""
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

    def step(self, nstep: int) -> Optional[np.ndarray]:
        """Advance all by ``nstep`` substeps; a bool ``[N]`` of those that failed, or None."""
        raise NotImplementedError

    def kinematics(self, rows: Optional[np.ndarray] = None) -> None:
        """Make poses and velocities of all bodies current, in all environments or some rows."""
        raise NotImplementedError

    def state(self) -> np.ndarray:
        """Everything the next step depends on, ``[N, S]``, a copy."""
        raise NotImplementedError

    def set_state(self, state: np.ndarray) -> None:
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
        self._seen = self._warnings.copy()

    def step(self, nstep: int) -> Optional[np.ndarray]:
        failed = None
        try:
            self._batch.step(nstep=nstep)
        except mujoco_batch.SimulationError as error:
            failed = np.zeros(self.qpos.shape[0], dtype=bool)
            failed[error.ids] = True
        if not np.array_equal(self._warnings, self._seen):
            restarted = (self._warnings != self._seen).any(axis=1)
            failed = restarted if failed is None else failed | restarted
            self._seen[...] = self._warnings
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

    def step(self, nstep: int) -> Optional[np.ndarray]:
        expected = self.time + nstep * self._model.opt.timestep
        control = np.repeat(self._control[:, None, :], nstep, axis=1)
        states, sensors = self._pool.rollout(
            self._model, self._data, self._rows, control, control_spec=self._control_spec, nstep=nstep
        )
        self._rows[...] = states[:, -1]
        self.sensordata[...] = sensors[:, -1]
        # A simulation that blew up was restarted and stopped, so that its clock is wrong.
        fine = np.isfinite(self._rows).all(axis=1) & (np.abs(self.time - expected) < 0.5 * self._model.opt.timestep)
        return None if fine.all() else ~fine

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
    threads = min(num_threads or default_threads(), num_envs)
    if mujoco_batch is not None:
        return BatchPhysics(model, num_envs, threads)
    return RolloutPhysics(model, num_envs, threads)
