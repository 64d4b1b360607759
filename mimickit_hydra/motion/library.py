"""Many clips as one batched function of clip and time.

Everything a query needs is computed once per frame and kept in one table, so a query is a gather of one row and a few
element-wise operations, whatever the number of clips. Velocities are forward differences at the clip's own rate, held
over a frame interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel, JointType
from mimickit_hydra.motion.clip import LoopMode, MotionClip, load_clip
from mimickit_hydra.motion.errors import MotionFileError

DATASET_SUFFIXES = (".yaml", ".yml")


class MotionFrame(NamedTuple):
    """Reference poses and velocities; ``...`` are the axes of the query."""

    root_pos: Tensor  # [..., 3] m, world
    root_rot: Tensor  # [..., 4] xyzw
    root_vel: Tensor  # [..., 3] m/s, world
    root_ang_vel: Tensor  # [..., 3] rad/s, world
    joint_rot: Tensor  # [..., J, 4] xyzw
    dof_vel: Tensor  # [..., D] rad/s, child frames


class DatasetEntry(NamedTuple):
    """One line of a dataset."""

    file: str
    weight: float


def read_dataset(path: Path) -> list[DatasetEntry]:
    """Read a dataset YAML: ``motions:`` with ``file`` and ``weight`` each. Raises MotionFileError with one line."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MotionFileError(
            f"{path}: cannot read the dataset ({getattr(error, 'strerror', None) or error})"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise MotionFileError(f"{path}: not valid YAML{where}") from None
    motions = content.get("motions") if isinstance(content, Mapping) else None
    if not isinstance(motions, list) or not motions:
        raise MotionFileError(f"{path}: a dataset is a non-empty list under the key 'motions'")
    return [_entry(path, number, item) for number, item in enumerate(motions)]


def _entry(path: Path, number: int, item: Any) -> DatasetEntry:
    where = f"{path}: motions[{number}]"
    if not isinstance(item, Mapping) or "file" not in item or "weight" not in item:
        raise MotionFileError(f"{where} needs the keys 'file' and 'weight'")
    unknown = [str(key) for key in item if key not in ("file", "weight")]
    if unknown:
        raise MotionFileError(f"{where} has the unknown key {unknown[0]!r}; allowed are file, weight")
    if not isinstance(item["file"], str):
        raise MotionFileError(f"{where}.file is {item['file']!r}, expected a path")
    if item["file"].endswith(DATASET_SUFFIXES):
        raise MotionFileError(f"{where}.file is {item['file']!r}: a dataset inside a dataset is not supported")
    return DatasetEntry(item["file"], _weight(item["weight"], where))


def _weight(value: Any, where: str) -> float:
    try:
        weight = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        weight = float("nan")
    if not (np.isfinite(weight) and weight >= 0):
        raise MotionFileError(f"{where}.weight is {value!r}, expected a number >= 0")
    return weight


class MotionLibrary:
    """Clips of one character on one device.

    Attributes: ``names``, ``num_motions`` M, ``lengths [M]`` s, ``fps [M]``, ``num_frames [M]``, ``loop_modes [M]``,
    ``start_index [M]``, ``weights [M]`` (normalised), ``wrap_delta [M, 3]`` m (shift per loop).
    """

    def __init__(
        self,
        clips: Sequence[MotionClip],
        weights: Sequence[float],
        character: CharacterModel,
        device: torch.device | str = "cpu",
    ) -> None:
        if not clips or len(clips) != len(weights):
            raise MotionFileError(f"a motion library of {len(clips)} clips and {len(weights)} weights")
        if not sum(weights) > 0:
            raise MotionFileError("the weights of all motions are 0; at least one must be above 0")
        for clip in clips:
            check_fits(clip, character)
        self.character = character
        self.device = torch.device(device)
        self.names = [clip.name for clip in clips]
        self.num_motions = len(clips)
        self._build_clip_tensors(clips, np.asarray(weights, dtype=np.float64))
        self._build_table(clips, character.to("cpu"))

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        character: CharacterModel,
        device: torch.device | str = "cpu",
        resolve: Callable[[str], Path] | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> MotionLibrary:
        """Read a clip, or a dataset YAML whose entries ``resolve`` turns into paths.

        ``shard = (rank, world)``: with at least as many clips as processes each keeps its own part, else all of them.
        """
        path = Path(path)
        if path.suffix in DATASET_SUFFIXES:
            entries = shard_entries(read_dataset(path), *shard)
            if not any(entry.weight > 0 for entry in entries):
                raise MotionFileError(f"{path}: the weights of all motions are 0; at least one must be above 0")
        else:
            entries = [DatasetEntry(str(path), 1.0)]
            resolve = None
        clips = [load_clip(resolve(entry.file) if resolve else Path(entry.file)) for entry in entries]
        return cls(clips, [entry.weight for entry in entries], character, device)

    def total_length(self) -> float:
        """Seconds of all clips together."""
        return float(self.lengths.sum())

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

    def locate(self, ids: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Frame ``[...]`` within the clip and blend ``[...]`` in [0, 1) towards the next one."""
        clip = embedding(ids, self._clip_table)
        position = self._phase(clip, times)[0] * clip[..., 2]
        frame = position.long()
        return frame, position - frame

    def loop_offset(self, ids: Tensor, times: Tensor) -> Tensor:
        """Shift ``[..., 3]`` m of the root by the loops passed; z and heading do not accumulate."""
        clip = embedding(ids, self._clip_table)
        return self._phase(clip, times)[1].unsqueeze(-1) * clip[..., 3:]

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
        frames = torch.from_numpy(np.concatenate([clip.frames for clip in clips]))
        counts = torch.tensor([clip.num_frames for clip in clips])
        fps = self.fps.cpu().repeat_interleave(counts).unsqueeze(-1)
        last = counts.cumsum(0).repeat_interleave(counts) - 1  # [F] last frame of the same clip
        index = torch.arange(len(frames))
        following = torch.minimum(index + 1, last)
        held = torch.minimum(index, last - 1)  # the last frame keeps the velocity of the one before

        pos = frames[:, :3]
        root_rot = rot.exp_map_to_quat(frames[:, 3:6])
        joint_rot = character.dof_to_rot(frames[:, 6:])
        rots = torch.cat([root_rot.unsqueeze(1), joint_rot], dim=1)
        arcs, angles = _arcs(rots, rots[following])
        columns = [
            pos,
            pos[following] - pos,
            rots.flatten(1),
            arcs.flatten(1),
            angles,
            fps * (pos[held + 1] - pos[held]),
            fps * rot.quat_to_exp_map(rot.quat_diff(root_rot[held], root_rot[held + 1])),
            fps * character.dof_velocity(joint_rot[held], joint_rot[held + 1], 1.0),
        ]
        self._columns = [column.shape[1] for column in columns]
        self._table = torch.cat(columns, dim=1).to(self.device)


def check_fits(clip: MotionClip, character: CharacterModel) -> None:
    """Raise MotionFileError if the clip is of another character or has NaN where a pose cannot do without a number."""
    wanted = 6 + character.num_dofs
    if clip.frames.shape[1] != wanted:
        raise MotionFileError(
            f"{clip.label}: its rows have {clip.frames.shape[1]} numbers and character {character.name!r} "
            f"takes 6 + {character.num_dofs} = {wanted}: this is a motion of another character"
        )
    missing = np.isnan(clip.frames[:, 6:])
    if not missing.any():
        return
    if missing.all():
        raise MotionFileError(f"{clip.label}: every joint of every frame is NaN")
    for body, kind in enumerate(character.joint_types):
        if kind is JointType.HINGE and missing[:, character.dof_index[body]].any():
            frame = int(missing[:, character.dof_index[body]].argmax())
            joint = character.joint_names[body]
            raise MotionFileError(
                f"{clip.label}: hinge {joint!r} is NaN in frame {frame}; only joints with three DoFs may be NaN"
            )


def shard_entries(entries: Sequence[DatasetEntry], rank: int, world: int) -> list[DatasetEntry]:
    """The part of a dataset that process ``rank`` of ``world`` loads; all of it if there are fewer clips."""
    count = len(entries)
    if count < world:
        return list(entries)
    return list(entries[round(rank * count / world) : round((rank + 1) * count / world)])


def _arcs(q0: Tensor, q1: Tensor) -> tuple[Tensor, Tensor]:
    """Unit arcs ``[..., 4]`` and angles ``[...]`` with slerp(q0, q1, t) = q0 cos(t angle) + arc sin(t angle)."""
    cos = (q0 * q1).sum(-1, keepdim=True)
    q1 = torch.where(cos < 0, -q1, q1)
    angle = torch.acos(cos.abs().clamp(max=float(np.cos(rot.SLERP_MIN_ANGLE))))
    return (q1 - q0 * angle.cos()) / angle.sin(), angle.squeeze(-1)
