"""Motions of people, as motion capture gives them: a skeleton of joints and how each turns over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.motion import rotations as rot

_TOP = ("head", "neck", "chest", "spine")  # a body part above the hips, the first that a skeleton has
_GROUND = 0.2  # of a body's reach, within which its lowest joint mostly is of height 0


@dataclass
class HumanMotion:
    """``T`` frames of a skeleton of ``J`` joints, each behind its parent; the root is joint 0. World: z up, m, rad.

    ``offsets [J, 3]`` lead from the parent to the joint, in the parent's frame; the root's are zero. ``rotations
    [T, J, 4]`` xyzw are relative to the parent, the root's to the world. ``kind`` is ``smpl`` for the joints of that
    body model (their names and order: :data:`mimickit_hydra.motion.importers.amass.JOINTS`), ``bvh`` for a file's own,
    ``bodies`` for those of a simulated humanoid.
    ``assumed`` are lines for the user: what the file does not say and how it was taken.
    """

    joint_names: list[str]
    parents: list[int]
    offsets: np.ndarray
    root_pos: np.ndarray  # [T, 3]
    rotations: np.ndarray
    fps: float
    name: str
    kind: str
    meta: dict[str, str] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)

    @property
    def num_frames(self) -> int:
        return len(self.root_pos)

    def world(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions ``[T, J, 3]`` m and rotations ``[T, J, 4]`` xyzw of all joints in the world, float64."""
        return skeleton_kinematics(self.parents, self.offsets, self.root_pos, self.rotations)


def skeleton_kinematics(
    parents: Sequence[int], offsets: np.ndarray, root_pos: np.ndarray, rotations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """World positions ``[T, J, 3]`` and rotations ``[T, J, 4]`` of a skeleton, as :class:`HumanMotion` describes it."""
    local, offset = torch.as_tensor(rotations).double(), torch.as_tensor(offsets).double()
    pos: list[Tensor] = [torch.as_tensor(root_pos).double()]
    quat: list[Tensor] = [local[:, 0]]
    for joint, parent in enumerate(parents[1:], start=1):
        pos.append(pos[parent] + rot.quat_rotate(quat[parent], offset[joint]))
        quat.append(rot.quat_mul(quat[parent], local[:, joint]))
    return torch.stack(pos, 1).numpy(), torch.stack(quat, 1).numpy()


def vertical_axis(names: Sequence[str], positions: np.ndarray, usual: int) -> tuple[int, str]:
    """The axis that points up, and by what that is known: the ``usual`` 1 or 2, unless head and ground say the other.

    ``positions [T, J, 3]`` in any unit. Of a person who lies, the head says nothing: the ground has to say the same.
    """
    other = 3 - usual
    low = np.abs(np.median(positions.min(axis=1), axis=0))
    near = _GROUND * float(np.ptp(positions, axis=1).max())
    head = _head_axis(names, positions)
    if head == other and low[other] < near <= low[usual]:
        return other, "where head and ground are"
    return usual, "where the head is" if head == usual else "as is usual"


def _head_axis(names: Sequence[str], positions: np.ndarray) -> int | None:
    """The axis along which the upper body mostly is from the root; None if its joints have unknown names."""
    for part in _TOP:
        found = [joint for joint, name in enumerate(names) if part in name.lower()]
        if found:
            way = np.abs((positions[:, found].mean(1) - positions[:, 0]).mean(0))
            return int(way.argmax()) if way.max() > 0 else None
    return None


def y_up_to_z_up(root_pos: np.ndarray, root_rot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions ``[T, 3]`` and rotations ``[T, 4]`` of a root with y up in our world: (x, y, z) -> (x, -z, y)."""
    quarter = torch.tensor([0.5**0.5, 0.0, 0.0, 0.5**0.5], dtype=torch.float64)
    turned = rot.quat_mul(quarter, torch.as_tensor(root_rot).double()).numpy()
    return np.stack([root_pos[:, 0], -root_pos[:, 2], root_pos[:, 1]], axis=1), turned
