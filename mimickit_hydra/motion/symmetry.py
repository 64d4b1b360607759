"""The mirror image of a character: which body is on the other side, and what a pose looks like there.

The mirror is the plane of x and z: y changes its sign, and of a rotation vector, which is no arrow, x and z do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.errors import UserError, suggestion
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel, JointType
from mimickit_hydra.motion.clip import ROOT_COLUMNS

_TURNED = np.array([-1.0, 1.0, -1.0])  # a rotation vector in the mirror
_EXACT = 1e-3  # a number of a turn this near to -1, 0 or 1 is that, so that mirroring twice changes nothing
_MATCHES = 0.02  # m, how far a body may be from the mirror image of the one on the other side
_OFF_MIDDLE = 0.05  # m, likewise of a body that is its own: the origin of a head may be anywhere on its axis
_LEFT = re.compile(r"left|(?<![a-z0-9])([frh]?l|l[fh])(?![a-z0-9])", re.IGNORECASE)


def other_side(name: str) -> str:
    """The name on the right of a body on the left: ``left_hand``, ``L_Hip``, ``hip_l``, ``FL_thigh``; or empty."""
    return _LEFT.sub(_right, name) if _LEFT.search(name) else ""


def _right(found: re.Match[str]) -> str:
    word = found.group()
    right = "right" if word.lower() == "left" else word.lower().replace("l", "r")
    return right.upper() if word.isupper() else right.capitalize() if word[0].isupper() else right


class Mirror:
    """Turns motions of a character into those of its mirror image."""

    def __init__(self, character: CharacterModel, pairs: Mapping[str, str] | None = None) -> None:
        """``pairs`` name bodies on the left and their partners on the right; without them their names say so.

        UserError where a body's partner is of another kind.
        """
        self._character = character = character.to("cpu")
        names = character.body_names
        if pairs is None:
            pairs = {name: other for name in names if (other := other_side(name)) in names}
        self.partner = list(range(len(names)))  # [B]
        for name in [*pairs.keys(), *pairs.values()]:
            if name not in names:
                hint = suggestion(name, names)
                raise UserError(f"character.symmetry: found {name!r}, must be a body of {character.name}{hint}")
        for left, right in pairs.items():
            a, b = names.index(left), names.index(right)
            self.partner[a], self.partner[b] = b, a
        rest = torch.tensor([0.0, 0.0, 0.0, 1.0])
        _, frames = character.forward_kinematics(torch.zeros(3), rest, rest.expand(character.num_joints, 4))
        self._blocks = [self._block(body, frames) for body in range(1, len(names)) if character.dof_dim[body]]

    def _block(self, body: int, frames: Tensor) -> tuple[slice, slice, np.ndarray]:
        """From where to where the coordinates of a joint go, and the matrix that they are multiplied with."""
        character, other = self._character, self.partner[body]
        if character.joint_types[body] != character.joint_types[other]:
            names = f"{character.body_names[body]} and {character.body_names[other]}"
            raise UserError(f"{character.name}: {names} have different kinds of joints, so it has no mirror image")
        turned = frames[body] * torch.tensor([-1.0, 1.0, -1.0, 1.0])  # the frame of the body in the mirror ...
        turn = rot.quat_mul(rot.quat_conj(frames[other]), turned).double()  # ... seen from its partner's
        matrix = rot.quat_rotate(turn, torch.eye(3, dtype=torch.float64)).numpy().T * _TURNED
        if character.joint_types[body] is JointType.HINGE:
            axes = character.joint_axes.double().numpy()
            matrix = (axes[other] @ matrix @ axes[body]).reshape(1, 1)
        whole = np.round(matrix)
        matrix = np.where(np.abs(matrix - whole) < _EXACT, whole, matrix)
        source, target = (
            slice(ROOT_COLUMNS + character.dof_index[b], ROOT_COLUMNS + character.dof_index[b] + character.dof_dim[b])
            for b in (body, other)
        )
        return source, target, matrix

    def frames(self, frames: np.ndarray) -> np.ndarray:
        """The rows ``[T, 6 + D]`` of a clip, mirrored. UserError where the character's two sides differ."""
        out = frames.copy()
        out[:, 1] = -frames[:, 1]
        out[:, 3:ROOT_COLUMNS] = frames[:, 3:ROOT_COLUMNS] * _TURNED
        for source, target, matrix in self._blocks:
            if np.array_equal(np.abs(matrix).sum(axis=1), np.ones(len(matrix))):  # signs and places alone: exactly
                column = np.abs(matrix).argmax(axis=1)
                out[:, target] = frames[:, source][:, column] * matrix[np.arange(len(matrix)), column]
            else:
                out[:, target] = frames[:, source] @ matrix.T
        out += 0.0  # no negative zeros
        self._check(frames, out)
        return out

    def _check(self, frames: np.ndarray, mirrored: np.ndarray) -> None:
        rows = np.linspace(0, len(frames) - 1, min(len(frames), 50)).astype(int)
        before, after = (self._positions(part[rows]) for part in (frames, mirrored))
        off = (before[:, self.partner] * torch.tensor([1.0, -1.0, 1.0]) - after).norm(dim=-1).amax(dim=0)
        moves = self._character.dof_dim
        own = [body == other for body, other in enumerate(self.partner)]
        # A camera or a marker on the trunk has no other side, and is where the trunk carries it.
        allowed = [(_OFF_MIDDLE if moves[b] else torch.inf) if own[b] and b else _MATCHES for b in range(len(own))]
        worst = int((off / torch.tensor(allowed)).argmax())
        if float(off[worst]) > allowed[worst]:
            raise UserError(
                f"{self._character.name}: {self._character.body_names[worst]} is {float(off[worst]):.3f} m from the "
                f"mirror image of {self._character.body_names[self.partner[worst]]}: its two sides differ"
            )

    def _positions(self, rows: np.ndarray) -> Tensor:
        values = torch.from_numpy(rows)
        joints = self._character.dof_to_rot(values[:, ROOT_COLUMNS:])
        root = rot.exp_map_to_quat(values[:, 3:ROOT_COLUMNS])
        return self._character.forward_kinematics(values[:, :3], root, joints)[0]
