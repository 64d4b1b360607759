"""The clips of a set at the control rate, one row a step, so that looking a reference up is one gather.

Poses are interpolated by slerp; velocities are central differences at the control rate, one-sided at the ends; what
bodies do follows from root and joints by forward kinematics with the character that is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding

from mimickit_hydra.envs.track.mdp import Pose
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.motion.rotations import quat_diff, quat_to_exp_map, quat_to_matrix

ROUNDING = 1e-3  # frames: how far from a whole number a time may be that means one
_CHUNK = 1 << 16  # rows of forward kinematics at a time


class ClipFrames:
    """Attributes: ``first [M]``, the row of each clip's first frame, and ``count [M]``, its rows."""

    def __init__(
        self,
        library: MotionLibrary,
        character: CharacterModel,
        bodies: Sequence[int],
        control_dt: float,
        episode_length: float,
        copy_ends: bool = False,
    ) -> None:
        """``bodies`` are the tracked ones. Clips that repeat are written out for as long as an episode lasts.

        With ``copy_ends`` the root's first and last angular velocities are those beside them, as mjlab's converter has
        it.
        """
        self._character, self._dt, self._copy_ends = character, control_dt, copy_ends
        self._bodies = torch.tensor(list(bodies), device=character.device)
        self.num_bodies, self._num_dofs = len(bodies), character.num_dofs
        clips = []
        for clip, (length, mode) in enumerate(zip(library.lengths.tolist(), library.loop_modes.tolist(), strict=True)):
            end = length + episode_length if mode == int(LoopMode.WRAP) else length
            steps = math.ceil(end / control_dt - ROUNDING)
            times = torch.arange(steps + 1, device=library.device) * control_dt
            clips.append(self._clip(library, clip, times if mode == int(LoopMode.WRAP) else times.clamp(max=length)))
        counts = torch.tensor([len(rows) for rows in clips], device=library.device)
        self.count = counts
        self.first = counts.cumsum(0) - counts
        self._table = torch.cat(clips)
        pos, rot, vel, ang_vel = self._table[:, :13].split([3, 4, 3, 3], dim=-1)
        columns = [x.unsqueeze(-1) for x in (pos, vel, ang_vel)]
        self._roots = torch.cat([columns[0], quat_to_matrix(rot)[..., :2], *columns[1:]], dim=-1).flatten(-2)
        self._joints = self._table[:, 13 : 13 + 2 * self._num_dofs].contiguous()

    def _clip(self, library: MotionLibrary, clip: int, times: Tensor) -> Tensor:
        found = library.query(torch.full_like(times, clip, dtype=torch.int64), times)
        before, after, span = neighbours(len(times), times.device)
        seconds = (span * self._dt).unsqueeze(-1)
        root_vel = (found.root_pos[after] - found.root_pos[before]) / seconds
        root_ang_vel = quat_to_exp_map(quat_diff(found.root_rot[before], found.root_rot[after])) / seconds
        if self._copy_ends and len(times) > 2:
            root_ang_vel[0], root_ang_vel[-1] = root_ang_vel[1].clone(), root_ang_vel[-2].clone()
        dof_vel = self._character.dof_velocity(found.joint_rot[before], found.joint_rot[after], 1.0) / seconds
        dof_pos = self._character.rot_to_dof(found.joint_rot)
        chunks = zip(*(x.split(_CHUNK) for x in (
            found.root_pos, found.root_rot, root_vel, root_ang_vel, dof_pos, dof_vel, found.joint_rot
        )), strict=True)  # fmt: skip
        return torch.cat([self._rows(*chunk) for chunk in chunks])

    def _rows(
        self, pos: Tensor, rot: Tensor, vel: Tensor, ang_vel: Tensor, dof_pos: Tensor, dof_vel: Tensor, joints: Tensor
    ) -> Tensor:
        pose = pose_of(self._character, self._bodies, pos, rot, vel, ang_vel, dof_pos, dof_vel, joints)
        bodies = [pose.body_pos, pose.body_rot, pose.body_vel, pose.body_ang_vel]
        return torch.cat([pos, rot, vel, ang_vel, dof_pos, dof_vel, *(part.flatten(-2) for part in bodies)], dim=-1)

    @property
    def width(self) -> int:
        """Numbers of a row."""
        return self._table.shape[1]

    def take(self, rows: Tensor) -> Tensor:
        """The rows ``[n, width]`` at ``rows [n]``."""
        return embedding(rows, self._table)

    def read(self, rows: Tensor) -> Pose:
        """What rows ``[..., width]`` say, as views of them."""
        d, k = self._num_dofs, self.num_bodies
        parts = rows.split([3, 4, 3, 3, d, d, 3 * k, 4 * k, 3 * k, 3 * k], dim=-1)
        return Pose(*parts[:6], *(part.unflatten(-1, (k, -1)) for part in parts[6:]))


class Ahead:
    """What comes after the rows ``row [n]``, not beyond the rows ``last [n]``; see :class:`mdp.Coming`."""

    def __init__(self, frames: ClipFrames, row: Tensor, last: Tensor) -> None:
        self._frames, self._row, self._last = frames, row.unsqueeze(-1), last.unsqueeze(-1)

    def joints(self, steps: Tensor) -> Tensor:
        return embedding(torch.minimum(self._row + steps, self._last), self._frames._joints)

    def roots(self, steps: Tensor) -> Tensor:
        found = embedding(torch.minimum(self._row + steps, self._last), self._frames._roots)
        return found.unflatten(-1, (3, 5))


def neighbours(count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Rows before and after each of ``count`` rows, within their clip, and how many steps lie between the two."""
    rows = torch.arange(count, device=device)
    before, after = (rows - 1).clamp(min=0), (rows + 1).clamp(max=count - 1)
    return before, after, after - before


def pose_of(
    character: CharacterModel,
    bodies: Tensor,
    root_pos: Tensor,
    root_rot: Tensor,
    root_vel: Tensor,
    root_ang_vel: Tensor,
    dof_pos: Tensor,
    dof_vel: Tensor,
    joint_rot: Tensor | None = None,
) -> Pose:
    """The pose with ``bodies [K]`` of a state of root and joints ``[..., .]``, such as one that a model imagines."""
    joints = character.dof_to_rot(dof_pos) if joint_rot is None else joint_rot
    body_pos, body_rot = character.forward_kinematics(root_pos, root_rot, joints)
    body_vel, body_ang_vel = character.body_velocities(body_pos, body_rot, root_vel, root_ang_vel, dof_vel)
    chosen = (part.index_select(-2, bodies) for part in (body_pos, body_rot, body_vel, body_ang_vel))
    return Pose(root_pos, root_rot, root_vel, root_ang_vel, dof_pos, dof_vel, *chosen)
