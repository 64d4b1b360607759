"""Recorded motions of one character, which the renderers draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.character import CharacterModel


@dataclass(frozen=True)
class Trajectory:
    """``T`` frames of one character: world frame, m, rad, quaternions xyzw, joints as exponential maps."""

    root_pos: np.ndarray  # [T, 3]
    root_rot: np.ndarray  # [T, 4]
    dof_pos: np.ndarray  # [T, D]

    def __post_init__(self) -> None:
        shapes = [np.shape(array) for array in (self.root_pos, self.root_rot, self.dof_pos)]
        frames = {shape[0] for shape in shapes if len(shape) == 2}
        if any(len(shape) != 2 for shape in shapes) or len(frames) != 1 or (shapes[0][1], shapes[1][1]) != (3, 4):
            found = ", ".join(map(str, shapes))
            raise UserError(f"a trajectory needs arrays [T, 3], [T, 4] and [T, D], found {found}")

    def __len__(self) -> int:
        return len(self.root_pos)

    def shifted(self, offset: tuple[float, float, float]) -> Trajectory:
        """The same motion, ``offset`` m away."""
        return Trajectory(self.root_pos + np.asarray(offset), self.root_rot, self.dof_pos)


def body_poses(character: CharacterModel, trajectory: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """World positions ``[T, B, 3]`` m and rotations ``[T, B, 4]`` xyzw of all bodies, by forward kinematics.

    Frames with numbers that are not finite repeat the last good one. UserError if the number of DoFs is not the
    character's, or no frame is finite.
    """
    if trajectory.dof_pos.shape[1] != character.num_dofs:
        raise UserError(
            f"the trajectory has {trajectory.dof_pos.shape[1]} DoFs, "
            f"character {character.name!r} has {character.num_dofs}"
        )
    rows = np.concatenate([trajectory.root_pos, trajectory.root_rot, trajectory.dof_pos], axis=1)
    state = torch.as_tensor(_finite_rows(rows), dtype=torch.float32, device=character.device)
    with torch.no_grad():
        root_rot = torch.nn.functional.normalize(state[:, 3:7], dim=-1)
        joint_rot = character.dof_to_rot(state[:, 7:])
        body_pos, body_rot = character.forward_kinematics(state[:, :3], root_rot, joint_rot)
    return body_pos.double().cpu().numpy(), body_rot.double().cpu().numpy()


def _finite_rows(rows: np.ndarray) -> np.ndarray:
    good = np.isfinite(rows).all(axis=1)
    if not good.any():
        raise UserError("the trajectory has no frame with finite numbers")
    last = np.maximum.accumulate(np.where(good, np.arange(len(rows)), -1))
    return rows[np.where(last < 0, int(good.argmax()), last)]
