"""Forward kinematics of an asset, for the states after a reset, which Isaac Gym shows only after the next step.

Isaac Gym computes body states in its next step only, while the engine interface wants them at once. Torch, batched
over ``n`` environments, quaternions xyzw, three-DoF joints as exponential maps with velocities in the child's frame.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

from typing import Any, List, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.engines.isaac_gym.asset import Asset


class Motion(NamedTuple):
    """Poses and velocities of link origins in world axes."""

    pos: Tensor  # [n, B, 3] m
    rot: Tensor  # [n, B, 4]
    vel: Tensor  # [n, B, 3] m/s
    ang_vel: Tensor  # [n, B, 3] rad/s


class Kinematics:
    """Forward kinematics of one asset."""

    def __init__(self, asset: Asset, device: Any = "cpu") -> None:
        dims = asset.dof_dims
        first = np.cumsum(dims) - dims
        index = np.full((asset.num_bodies, 3), asset.num_dofs, dtype=np.int64)  # the column of zeros behind the DoFs
        scale = np.zeros((asset.num_bodies, 3))
        index[dims == 1], scale[dims == 1] = first[dims == 1, None], asset.axes[dims == 1]
        index[dims == 3], scale[dims == 3] = first[dims == 3, None] + np.arange(3), 1.0
        self._balls = torch.as_tensor(np.concatenate([index[dims == 3].reshape(-1), np.zeros(0, np.int64)]))
        self._balls = self._balls.to(device)

        def floats(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=device)

        self._index = torch.as_tensor(index.reshape(-1), device=device)
        self._scale = floats(scale)
        self._local_rot = floats(asset.local_rot)
        self._anchors = floats(asset.anchors)
        self._offsets = floats(asset.local_pos) + quat_rotate(self._local_rot, self._anchors)
        self._levels = [
            (torch.as_tensor(level, device=device), torch.as_tensor(asset.parents[level], device=device))
            for level in _levels(asset.parents)
        ]

    def __call__(
        self, root_pos: Tensor, root_rot: Tensor, root_vel: Tensor, root_ang_vel: Tensor, dof_pos: Tensor,
        dof_vel: Tensor,
    ) -> Motion:  # fmt: skip
        """Poses and velocities of all bodies, from the root ``[n, 3 or 4]`` and the DoFs ``[n, D]``."""
        n, bodies = root_pos.shape[0], self._scale.shape[0]
        turn = quat_mul(self._local_rot.expand(n, -1, -1), exp_map_to_quat(self._joints(dof_pos)))
        spin = self._joints(dof_vel)
        shapes = ((bodies, 3), (bodies, 4), (bodies, 3), (bodies, 3))
        out = Motion(*(root_pos.new_zeros((n, *shape)) for shape in shapes))
        for target, value in zip(out, (root_pos, normalized(root_rot), root_vel, root_ang_vel)):
            target[:, 0] = value
        for child, parent in self._levels:
            rot, ang_vel = out.rot[:, parent], out.ang_vel[:, parent]
            arm = quat_rotate(rot, self._offsets[child].expand(n, -1, -1))
            rot = quat_mul(rot, turn[:, child])
            back = quat_rotate(rot, self._anchors[child].expand(n, -1, -1))
            vel = out.vel[:, parent] + torch.cross(ang_vel, arm, dim=-1)
            ang_vel = ang_vel + quat_rotate(rot, spin[:, child])
            out.pos[:, child] = out.pos[:, parent] + arm - back
            out.rot[:, child] = rot
            out.vel[:, child] = vel - torch.cross(ang_vel, back, dim=-1)
            out.ang_vel[:, child] = ang_vel
        return out

    def shortest(self, dof_pos: Tensor) -> Tensor:
        """DoFs ``[n, D]`` with every exponential map at an angle in [0, pi]."""
        if self._balls.numel() == 0:
            return dof_pos.clone()
        maps = dof_pos[:, self._balls].reshape(dof_pos.shape[0], -1, 3)
        out = dof_pos.clone()
        out[:, self._balls] = quat_to_exp_map(exp_map_to_quat(maps)).reshape(dof_pos.shape[0], -1)
        return out

    def _joints(self, dofs: Tensor) -> Tensor:
        """DoFs ``[n, D]`` as rotation vectors or angular velocities ``[n, B, 3]`` of every joint, child frame."""
        padded = torch.cat([dofs, dofs.new_zeros((dofs.shape[0], 1))], dim=1)
        return padded[:, self._index].reshape(dofs.shape[0], -1, 3) * self._scale


def _levels(parents: np.ndarray) -> List[np.ndarray]:
    """Bodies below the root, grouped by depth."""
    depth = np.zeros(len(parents), dtype=np.int64)
    for body in range(1, len(parents)):
        depth[body] = depth[parents[body]] + 1
    return [np.flatnonzero(depth == d) for d in range(1, int(depth.max(initial=0)) + 1)]


def normalized(quat: Tensor) -> Tensor:
    """Unit quaternions ``[..., 4]`` in the direction of ``quat``."""
    return quat / quat.norm(dim=-1, keepdim=True).clamp_min(1e-9)


def quat_mul(a: Tensor, b: Tensor) -> Tensor:
    """The product ``[..., 4]`` of quaternions: rotation ``b`` first, then ``a``."""
    ax, ay, az, aw = a.unbind(-1)
    bx, by, bz, bw = b.unbind(-1)
    return torch.stack(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ],
        dim=-1,
    )


def quat_rotate(quat: Tensor, vector: Tensor) -> Tensor:
    """Vectors ``[..., 3]`` turned by unit quaternions."""
    axis = quat[..., :3]
    twice = 2.0 * torch.cross(axis, vector, dim=-1)
    return vector + quat[..., 3:] * twice + torch.cross(axis, twice, dim=-1)


def exp_map_to_quat(exp_map: Tensor) -> Tensor:
    """Rotation vectors ``[..., 3]`` rad to unit quaternions."""
    angle = exp_map.norm(dim=-1, keepdim=True)
    # torch.sinc(x) is sin(pi x) / (pi x): right at zero too.
    scale = 0.5 * torch.sinc(angle / (2.0 * np.pi))
    return torch.cat([scale * exp_map, torch.cos(0.5 * angle)], dim=-1)


def quat_to_exp_map(quat: Tensor) -> Tensor:
    """Unit quaternions to rotation vectors with an angle in [0, pi]."""
    vector, w = quat[..., :3], quat[..., 3:]
    vector = torch.where(w < 0, -vector, vector)
    sine = vector.norm(dim=-1, keepdim=True)
    half = torch.atan2(sine, w.abs())
    scale = torch.where(sine < 1e-7, torch.full_like(sine, 2.0), 2.0 * half / sine.clamp_min(1e-7))
    return scale * vector
