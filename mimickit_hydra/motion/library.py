"""The motion library: many clips as one batched function of clip and time.

Everything a query needs is computed once per frame and kept in one table, so a query is a gather of one row and a few
element-wise operations, whatever the number of clips. Velocities are forward differences at the clip's own rate, held
over a frame interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import sha256_of
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel, JointType
from mimickit_hydra.motion.clip import LoopMode, MotionClip
from mimickit_hydra.motion.dataset import SetClip, clips_of
from mimickit_hydra.motion.importers import import_clip

FRAMES_AT_ONCE = 4096  # of a set, while its table is made: what stays in a processor's cache


class MotionFrame(NamedTuple):
    """Reference poses and velocities; ``...`` are the axes of the query."""

    root_pos: Tensor  # [..., 3] m, world
    root_rot: Tensor  # [..., 4] xyzw
    root_vel: Tensor  # [..., 3] m/s, world
    root_ang_vel: Tensor  # [..., 3] rad/s, world
    joint_rot: Tensor  # [..., J, 4] xyzw
    dof_vel: Tensor  # [..., D] rad/s, child frames


class MotionLibrary:
    """Clips of one character on one device.

    Attributes: ``names``, ``num_motions`` M, ``lengths [M]`` s, ``fps [M]``, ``num_frames [M]``, ``loop_modes [M]``,
    ``start_index [M]``, ``weights [M]`` (normalised), ``wrap_delta [M, 3]`` m (shift per loop), ``splits`` [M]
    (``train`` or ``held_out``).
    """

    def __init__(
        self,
        clips: Sequence[MotionClip],
        weights: Sequence[float],
        character: CharacterModel,
        device: torch.device | str = "cpu",
        splits: Sequence[str] = (),
    ) -> None:
        if not clips or len(clips) != len(weights):
            raise UserError(f"a motion library of {len(clips)} clips and {len(weights)} weights")
        if not sum(weights) > 0:
            raise UserError("the weights of all motions are 0; at least one must be above 0")
        for clip in clips:
            check_fits(clip, character)
        self.character = character
        self.device = torch.device(device)
        self.names = [clip.name for clip in clips]
        self.splits = list(splits) or ["train"] * len(clips)
        self.num_motions = len(clips)
        self._build_clip_tensors(clips, np.asarray(weights, dtype=np.float64))
        self._build_table(clips, character.to(self.device))

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        character: CharacterModel,
        device: torch.device | str = "cpu",
        data_root: Sequence[str] = (),
    ) -> MotionLibrary:
        """Read a clip, or all clips of a set, which may also lie in ``data_root``."""
        return cls.of_set(str(path), clips_of(str(path), data_root), character, device)

    @classmethod
    def of_set(
        cls, name: str, found: Sequence[SetClip], character: CharacterModel, device: torch.device | str = "cpu"
    ) -> MotionLibrary:
        """Read the clips of the set that messages call ``name``. UserError names every clip that cannot be used."""
        clips, broken = [], []
        for entry in found:
            try:
                clip = import_clip(entry.file, character=character)
                check_fits(clip, character)
                if len(found) > 1:
                    clip.name = entry.file.stem  # its own may be that of the clip it is a copy of
                if entry.sha256 and entry.sha256 != sha256_of(entry.file):
                    raise UserError(f"{entry.file}: is not the file of which the set states the sha256")
                clips.append(clip)
            except UserError as error:
                broken.append(str(error))
        if len(found) == len(broken) == 1:
            raise UserError(broken[0])
        if broken:
            whole = f"; the other {len(clips)} can: {_listed([clip.name for clip in clips])}" if clips else ""
            raise UserError(
                f"{name}: {len(broken)} of its {len(found)} clips cannot be used: {_listed(broken, 10)}{whole}; "
                "mimickit motion set makes a set of those that can"
            )
        return cls(clips, [entry.weight for entry in found], character, device, [entry.split for entry in found])

    def sample_motions(self, n: int) -> Tensor:
        """``n`` clip ids ``[n]`` drawn by weight, with replacement."""
        if self.num_motions == 1:
            return torch.zeros(n, dtype=torch.long, device=self.device)
        # Not torch.multinomial: it looks at its result on the host when n is 1.
        return torch.searchsorted(self._weight_sums, torch.rand(n, device=self.device), right=True)

    def sample_times(self, ids: Tensor, truncate_time: float = 0.0) -> Tensor:
        """Start times ``[...]`` s, uniform over each clip less ``truncate_time`` at its end."""
        return self.times_from_uniform(ids, torch.rand(ids.shape, device=self.device), truncate_time)

    def times_from_uniform(self, ids: Tensor, u: Tensor, truncate_time: float = 0.0) -> Tensor:
        """Start times of uniform numbers ``u [...]`` in [0, 1)."""
        return u * (self.lengths[ids] - truncate_time).clamp(min=0.0)

    def phase(self, ids: Tensor, times: Tensor) -> Tensor:
        """Phase ``[...]`` in [0, 1] at ``times`` s: wraps or clamps as the clip says."""
        clip = embedding(ids, self._clip_table)
        return self._phase(clip, times)[0]

    def query(self, ids: Tensor, times: Tensor) -> MotionFrame:
        """Poses and velocities of clips ``ids [...]`` at ``times [...]`` s (any sign)."""
        clip = embedding(ids, self._clip_table)
        phase, loops = self._phase(clip, times)
        position = phase * clip[..., 2]
        frame = position.long()
        blend = (position - frame).unsqueeze(-1)
        row = embedding(self.start_index[ids] + frame, self._table)
        pos, step, rots, arcs, angles, root_vel, root_ang_vel, dof_vel = row.split(self._columns, dim=-1)
        root_pos = torch.addcmul(torch.addcmul(pos, blend, step), loops.unsqueeze(-1), clip[..., 3:])
        quats = self._slerp(rots, arcs, blend * angles)
        return MotionFrame(root_pos, quats[..., 0, :], root_vel, root_ang_vel, quats[..., 1:, :], dof_vel)

    def between(self, values: Tensor, ids: Tensor, times: Tensor) -> Tensor:
        """What ``values [F]`` of all stored frames are in clips ``ids [...]`` at ``times [...]`` s, linearly."""
        clip = embedding(ids, self._clip_table)
        position = self._phase(clip, times)[0] * clip[..., 2]
        frame = position.long()
        row, last = self.start_index[ids] + frame, self.start_index[ids] + self.num_frames[ids] - 1
        return torch.lerp(values[row], values[torch.minimum(row + 1, last)], position - frame)

    def frames(self) -> MotionFrame:
        """All stored frames, clips one after the other, ``...`` = ``[F]``."""
        pos, _, rots, _, _, root_vel, root_ang_vel, dof_vel = self._table.split(self._columns, dim=-1)
        quats = rots.unflatten(-1, (-1, 4))
        return MotionFrame(pos, quats[:, 0], root_vel, root_ang_vel, quats[:, 1:], dof_vel)

    @staticmethod
    def _phase(clip: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Phase and number of loops passed. The order of the float32 steps decides which frame is hit exactly."""
        phase = times / clip[..., 0]
        loops = phase.floor()
        return torch.addcmul(phase, loops, clip[..., 1], value=-1.0).clamp(0.0, 1.0), loops

    @staticmethod
    def _slerp(rots: Tensor, arcs: Tensor, turned: Tensor) -> Tensor:
        """Turn ``rots [..., 4 (1 + J)]`` by angles ``turned [..., 1 + J]`` along the unit arcs to the next frame."""
        turned = turned.unsqueeze(-1)
        rots, arcs = rots.unflatten(-1, (-1, 4)), arcs.unflatten(-1, (-1, 4))
        return torch.addcmul(rots * turned.cos(), arcs, turned.sin())

    def _build_clip_tensors(self, clips: Sequence[MotionClip], weights: np.ndarray) -> None:
        counts = np.array([clip.num_frames for clip in clips])
        fps = np.array([clip.fps for clip in clips], dtype=np.float32)
        lengths = (np.float32(1.0) / fps) * (counts - 1).astype(np.float32)
        wraps = np.array([clip.loop_mode is LoopMode.WRAP for clip in clips])
        delta = np.stack([clip.frames[-1, :3] - clip.frames[0, :3] for clip in clips])
        delta = delta * wraps[:, None] * np.array([1.0, 1.0, 0.0])
        probability = weights / weights.sum()
        sums = probability.cumsum()
        sums[np.flatnonzero(weights)[-1] :] = 2.0  # u < 1 never reaches a clip of weight 0 through rounding

        def to(x: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(x, dtype=dtype, device=self.device)

        self.lengths, self.fps, self.weights, self.wrap_delta = to(lengths), to(fps), to(probability), to(delta)
        self.num_frames = to(counts, torch.long)
        self.loop_modes = to(wraps, torch.long)
        self.start_index = to(counts.cumsum() - counts, torch.long)
        self._weight_sums = to(sums)
        self._clip_table = to(np.column_stack([lengths, wraps, counts - 1, delta]))

    def _build_table(self, clips: Sequence[MotionClip], character: CharacterModel) -> None:
        counts = torch.tensor([clip.num_frames for clip in clips])
        last = (counts.cumsum(0) - 1).repeat_interleave(counts)  # [F] last frame of the same clip
        index = torch.arange(len(last))
        following = torch.minimum(index + 1, last)
        held = torch.minimum(index, last - 1)  # the last frame keeps the velocity of the one before
        frames = np.concatenate([clip.frames for clip in clips])
        fps = self.fps.cpu().repeat_interleave(counts).unsqueeze(-1)

        # In pieces: what is computed on the way would take several times the table itself.
        for begin in range(0, len(frames), FRAMES_AT_ONCE):
            rows = slice(begin, begin + FRAMES_AT_ONCE)
            first = max(0, begin - 1)  # the last frame of a clip looks back at the one before it
            around = torch.from_numpy(frames[first : begin + FRAMES_AT_ONCE + 1])
            after, before = ((places[rows] - first).to(self.device) for places in (following, held))
            columns = self._columns_of(
                around.to(self.device), begin - first, after, before, fps[rows].to(self.device), character
            )
            if begin == 0:
                self._columns = [column.shape[1] for column in columns]
                self._table = torch.empty(len(frames), sum(self._columns), device=self.device)
            torch.cat(columns, dim=1, out=self._table[rows])

    @staticmethod
    def _columns_of(
        frames: Tensor, first: int, following: Tensor, held: Tensor, fps: Tensor, character: CharacterModel
    ) -> list[Tensor]:
        """The table's columns of ``frames`` from ``first`` on; the others are where each one's neighbours are."""
        own = slice(first, first + len(fps))
        pos = frames[:, :3]
        root_rot, joint_rot = rot.exp_map_to_quat(frames[:, 3:6]), character.dof_to_rot(frames[:, 6:])
        rots = torch.cat([root_rot.unsqueeze(1), joint_rot], dim=1)
        arcs, angles = _arcs(rots[own], rots.index_select(0, following))
        return [
            pos[own],
            pos[following] - pos[own],
            rots[own].flatten(1),
            arcs.flatten(1),
            angles,
            fps * (pos[held + 1] - pos[held]),
            fps * rot.quat_to_exp_map(rot.quat_diff(root_rot[held], root_rot[held + 1])),
            fps * character.dof_velocity(joint_rot.index_select(0, held), joint_rot.index_select(0, held + 1), 1.0),
        ]


def _listed(names: Sequence[str], most: int = 50) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_fits(clip: MotionClip, character: CharacterModel) -> None:
    """Raise UserError if the clip is of another character or has NaN where a pose cannot do without a number."""
    wanted = 6 + character.num_dofs
    if clip.frames.shape[1] != wanted:
        raise UserError(
            f"{clip.label}: its rows have {clip.frames.shape[1]} numbers and character {character.name!r} "
            f"takes 6 + {character.num_dofs} = {wanted}: "
            + (
                "its root's rotation has 4 numbers, and a clip's has 3, an exponential map"
                if clip.frames.shape[1] == wanted + 1 and _holds_quaternions(clip)
                else "this is a motion of another character"
            )
        )
    missing = np.isnan(clip.frames[:, 6:])
    if not missing.any():
        return
    if missing.all():
        raise UserError(f"{clip.label}: every joint of every frame is NaN")
    for body, kind in enumerate(character.joint_types):
        if kind is JointType.HINGE and missing[:, character.dof_index[body]].any():
            frame = int(missing[:, character.dof_index[body]].argmax())
            joint = character.joint_names[body]
            raise UserError(
                f"{clip.label}: hinge {joint!r} is NaN in frame {frame}; only joints with three DoFs may be NaN"
            )


def _holds_quaternions(clip: MotionClip) -> bool:
    return bool((np.abs(np.linalg.norm(clip.frames[:, 3:7], axis=1) - 1.0) < 1e-3).all())


def _arcs(q0: Tensor, q1: Tensor) -> tuple[Tensor, Tensor]:
    """Unit arcs ``[..., 4]`` and angles ``[...]`` with slerp(q0, q1, t) = q0 cos(t angle) + arc sin(t angle)."""
    cos = (q0 * q1).sum(-1, keepdim=True)
    q1 = torch.where(cos < 0, -q1, q1)
    angle = torch.acos(cos.abs().clamp(max=float(np.cos(rot.SLERP_MIN_ANGLE))))
    return (q1 - q0 * angle.cos()) / angle.sin(), angle.squeeze(-1)
