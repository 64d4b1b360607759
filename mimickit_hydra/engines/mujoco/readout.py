"""Copies MuJoCo's float64 arrays into the float32 tensors of the engine interface, one object at a time."""

from __future__ import annotations

from typing import Any, Dict, Optional

import numpy as np

from mimickit_hydra.engines.interface import ObjectState, ResetState
from mimickit_hydra.engines.mujoco.model import ObjectLayout, exp_map_to_quat_wxyz
from mimickit_hydra.engines.mujoco.physics import Physics


def quat_wxyz_to_exp_map(quat: np.ndarray) -> np.ndarray:
    """Unit quaternions ``[..., 4]`` wxyz to exponential maps ``[..., 3]``, angle in [0, pi] (rad)."""
    w, vector = quat[..., :1], quat[..., 1:]
    sine = np.sqrt(np.einsum("...i,...i->...", vector, vector))[..., None]
    half = np.arctan2(sine, np.abs(w))
    tiny = sine < 1e-12
    scale = np.where(tiny, 2.0, 2.0 * half / np.where(tiny, 1.0, sine))
    return np.copysign(scale, w) * vector


class Readout:
    """Keeps one :class:`ObjectState` equal to the physics, and writes new states into the physics.

    The tensors are filled through numpy views of their memory, so they stay the same objects.
    """

    def __init__(self, layout: ObjectLayout, physics: Physics, root_ids: np.ndarray) -> None:
        """``root_ids [nbody]``: MuJoCo's ``body_rootid``, the reference body of each ``cvel``."""
        self.layout = layout
        self._physics = physics
        num_envs = physics.qpos.shape[0]
        model = layout.model
        self.state = ObjectState.zeros(num_envs, model.num_bodies, model.num_dofs)
        self.arrays: Dict[str, np.ndarray] = {name: t.numpy() for name, t in vars(self.state).items()}
        first = int(layout.body_ids[0])
        self._bodies = slice(first, first + model.num_bodies)
        self._root_id = int(root_ids[first])
        count = 3 * len(layout.contact_bodies)
        self._all_sensed = len(layout.contact_bodies) == model.num_bodies
        self._contacts = {
            "contact_forces": slice(layout.contact_adr, layout.contact_adr + count),
            "ground_contact_forces": slice(layout.contact_adr + count, layout.contact_adr + 2 * count),
        }

    def refresh(self, rows: Optional[np.ndarray] = None) -> None:
        """Copy poses, velocities and DoFs of all environments, or of those in ``rows`` (indices)."""
        where: Any = slice(None) if rows is None else rows
        self._read_bodies(where)
        self._read_dofs(where)
        for part in ("pos", "rot", "vel", "ang_vel"):
            self.arrays["root_" + part][where] = self.arrays["body_" + part][where, 0]

    def refresh_contacts(self) -> None:
        """Copy the contact forces of the last substep. MuJoCo reports what the body exerts, so the sign turns."""
        num_envs = self._physics.qpos.shape[0]
        for name, columns in self._contacts.items():
            force = self._physics.sensordata[:, columns].reshape(num_envs, -1, 3)
            if self._all_sensed:
                np.negative(force, out=self.arrays[name], casting="same_kind")
            elif force.size:
                self.arrays[name][:, self.layout.contact_bodies] = -force

    def clear_contacts(self, rows: np.ndarray) -> None:
        for name in self._contacts:
            self.arrays[name][rows] = 0.0

    def invalidate(self, rows: np.ndarray) -> None:
        """Set the states of the environments in ``rows`` (indices) to NaN."""
        for array in self.arrays.values():
            array[rows] = np.nan

    def write(self, rows: np.ndarray, new: ResetState) -> None:
        """Write the rows of a new state into the physics; :meth:`refresh` then reads them back."""
        layout, physics = self.layout, self._physics
        values = {name: _numpy(tensor)[rows] for name, tensor in vars(new).items()}
        quat = values["root_rot"][:, [3, 0, 1, 2]]
        if layout.floating:
            q, v = layout.root_qpos, layout.root_qvel
            physics.qpos[rows, q : q + 3] = values["root_pos"]
            physics.qpos[rows, q + 3 : q + 7] = quat
            physics.qvel[rows, v : v + 3] = values["root_vel"]
            physics.qvel[rows, v + 3 : v + 6] = _rotate_inverse(quat, values["root_ang_vel"])
        else:
            physics.mocap_pos[rows, layout.mocap_id] = values["root_pos"]
            physics.mocap_quat[rows, layout.mocap_id] = quat
        self._write_dofs(rows, values["dof_pos"], values["dof_vel"])

    def exp_maps(self, where: Any = slice(None)) -> np.ndarray:
        """DoF positions ``[n, D]`` of the rows, float64 (rad)."""
        layout = self.layout
        qpos = self._physics.qpos[where]
        out = np.empty((qpos.shape[0], layout.model.num_dofs))
        out[:, layout.hinge_cols] = qpos[:, layout.hinge_qpos]
        if layout.ball_cols.size:
            quat = qpos[:, layout.ball_qpos].reshape(qpos.shape[0], -1, 4)
            out[:, layout.ball_cols] = quat_wxyz_to_exp_map(quat).reshape(qpos.shape[0], -1)
        return out

    def dof_velocities(self, where: Any = slice(None)) -> np.ndarray:
        """DoF velocities ``[n, D]`` (rad/s); MuJoCo's ball velocities are in the child frame already."""
        first = self.layout.dof_qvel
        return self._physics.qvel[where, first : first + self.layout.model.num_dofs]

    def _read_bodies(self, where: Any) -> None:
        physics, out = self._physics, self.arrays
        pos, quat = physics.xpos[where, self._bodies], physics.xquat[where, self._bodies]
        twist = physics.cvel[where, self._bodies]
        omega = twist[..., :3]
        arm = pos - physics.subtree_com[where, self._root_id][:, None]
        out["body_pos"][where] = pos
        out["body_rot"][where, :, :3] = quat[..., 1:]
        out["body_rot"][where, :, 3] = quat[..., 0]
        out["body_ang_vel"][where] = omega
        out["body_vel"][where] = twist[..., 3:] + _cross(omega, arm)

    def _read_dofs(self, where: Any) -> None:
        if self.layout.model.num_dofs:
            self.arrays["dof_pos"][where] = self.exp_maps(where)
            self.arrays["dof_vel"][where] = self.dof_velocities(where)

    def _write_dofs(self, rows: np.ndarray, dof_pos: np.ndarray, dof_vel: np.ndarray) -> None:
        layout, qpos = self.layout, self._physics.qpos
        if layout.model.num_dofs == 0:
            return
        qpos[np.ix_(rows, layout.hinge_qpos)] = dof_pos[:, layout.hinge_cols]
        if layout.ball_cols.size:
            quat = exp_map_to_quat_wxyz(dof_pos[:, layout.ball_cols].reshape(len(rows), -1, 3))
            qpos[np.ix_(rows, layout.ball_qpos)] = quat.reshape(len(rows), -1)
        first = layout.dof_qvel
        self._physics.qvel[rows, first : first + layout.model.num_dofs] = dof_vel


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.empty_like(b)  # np.cross is several times slower on small arrays
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        np.subtract(a[..., j] * b[..., k], a[..., k] * b[..., j], out=out[..., i])
    return out


def _rotate_inverse(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """World vectors ``[n, 3]`` in the frames of quaternions ``[n, 4]`` wxyz (normalised here)."""
    quat = quat.astype(np.float64)
    quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    axis = -quat[:, 1:]
    twice = 2.0 * np.cross(axis, vector)
    return vector + quat[:, :1] * twice + np.cross(axis, twice)
