"""What a file of another project holds of a robot's motion, before it is known in which order and for which robot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.clip import FPS, LoopMode, table
from mimickit_hydra.motion.human import HumanMotion

XYZW, WXYZ = "xyzw", "wxyz"
MUJOCO, ISAAC = "mujoco", "isaac"  # depth-first, and breadth-first as PhysX orders what Isaac Lab simulates
_UNIT = 0.05  # by which the norm of a stored quaternion may miss 1


@dataclass
class Recording:
    """``T`` frames of a robot as a file has them: m and rad, world with z up; what it leaves open is empty.

    Either ``joints [T, D]`` with ``joint_names`` of the columns, or their ``order``; or ``local_rot [T, B, 4]`` of the
    bodies ``body_names``, relative to ``parents`` and the root's to the world, xyzw. Quaternions are in the order
    ``quat``. ``body_pos [T, B, 3]`` and ``body_rot [T, B, 4]`` are what the file says of bodies in the world: with
    them an order that is open is found by kinematics. ``assumed`` are lines for the user.
    """

    path: Path
    fps: float | None
    root_pos: np.ndarray
    root_rot: np.ndarray | None = None
    quat: str = ""
    joints: np.ndarray | None = None
    joint_names: Sequence[str] = ()
    order: str = ""
    triples: str = "exp"  # how three columns turn a joint of three DoFs: exp(onential map) or hinges, one after another
    local_rot: np.ndarray | None = None
    body_names: Sequence[str] = ()
    parents: Sequence[int] = ()
    offsets: np.ndarray | None = None  # [B, 3] m
    body_pos: np.ndarray | None = None
    body_rot: np.ndarray | None = None
    loop_mode: LoopMode = LoopMode.CLAMP
    name: str = ""
    source: str = ""
    rate: str = "as the file says"  # how ``fps`` is known
    made_by: str = ""  # whose ``order`` it is
    root_joints: Mapping[str, np.ndarray] = field(default_factory=dict)  # [T] each, in place of a pose of the root
    assumed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.name or self.path.stem
        counts = {
            len(array)
            for array in (self.root_pos, self.root_rot, self.joints, self.local_rot, self.body_pos, self.body_rot)
            if array is not None
        }
        if len(counts) != 1 or min(counts) < 2:
            shown = ", ".join(map(str, sorted(counts)))
            raise UserError(f"{self.path}: its arrays have {shown} frames; they must have one number of at least 2")
        if self.root_pos.ndim != 2 or self.root_pos.shape[1] != 3:
            raise UserError(f"{self.path}: its root positions have the shape {self.root_pos.shape}, must be T x 3")
        for array in (self.root_rot, self.local_rot, self.body_rot):
            if array is not None:
                _check_quats(array, self.path)
        bodies = {array.shape[1] for array in (self.local_rot, self.body_pos, self.body_rot) if array is not None}
        if self.body_names and bodies:
            bodies.add(len(self.body_names))
        if len(bodies) > 1:
            shown = ", ".join(map(str, sorted(bodies)))
            raise UserError(f"{self.path}: its names and poses are of {shown} bodies; they must be of one number")

    @classmethod
    def of_human(cls, motion: HumanMotion) -> Recording:
        """A human's motion as that of the bodies of a robot built like its skeleton."""
        turns = torch.from_numpy(motion.rotations)
        if motion.kind == "smpl":  # bodies of a robot have x forward and z up at rest
            turns = torch.cat([turns[:, :1], rot.quat_mul(rot.quat_conj(_FORWARD), turns[:, 1:])], dim=1)
            turns = rot.quat_mul(turns, _FORWARD)
        return cls(
            Path(motion.meta["file"]), motion.fps, motion.root_pos, local_rot=turns.numpy(), name=motion.name,
            body_names=motion.joint_names, parents=motion.parents, source=motion.meta["source"],
            assumed=[line for line in motion.assumed if not line.startswith("frame rate")],
        )  # fmt: skip

    def human(self) -> HumanMotion | None:
        """The motion of its skeleton, for those who retarget it; None without one or without a rate."""
        if self.local_rot is None or self.offsets is None or self.fps is None:
            return None
        offsets = np.concatenate([np.zeros((1, 3)), self.offsets[1:]])
        meta = {"file": str(self.path), "source": self.source or self.path.name}
        return HumanMotion(
            list(self.body_names), list(self.parents), offsets, self.root_pos, self.local_rot, self.fps, self.name,
            "bodies", meta, list(self.assumed),
        )  # fmt: skip


# From the axes of a body of a robot, x forward and z up, to those of SMPL, z forward and y up; xyzw.
_FORWARD = torch.tensor([-0.5, -0.5, -0.5, 0.5], dtype=torch.float64)


@dataclass(frozen=True)
class Wishes:
    """What a user says of a file that does not say it: frames per second, order of joints and quaternions."""

    fps: float | None = None
    order: str = ""
    quat: str = ""


def _check_quats(quats: np.ndarray, path: Path) -> None:
    if quats.shape[-1] != 4:
        raise UserError(f"{path}: its rotations have the shape {quats.shape}, must end in 4 for quaternions")
    off = np.abs(np.linalg.norm(quats, axis=-1) - 1.0) > _UNIT
    if off.any():
        first = tuple(int(i) for i in np.argwhere(off)[0])
        raise UserError(
            f"{path}: frame {first[0]} has a rotation that is no quaternion (norm {np.linalg.norm(quats[first]):.3g})"
        )


def table_of(fields: Mapping[str, Any], key: str, path: Path) -> np.ndarray:
    """The finite numbers ``[T, n]`` of a field, float64; more axes are kept, one becomes a column. UserError."""
    if key not in fields:
        raise UserError(f"{path}: lacks {key}")
    try:
        values = table(fields[key])
    except (ValueError, TypeError, OverflowError, AttributeError):
        raise UserError(f"{path}: {key} is no table of numbers") from None
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim < 2 or len(values) < 2 or values.size == 0:
        raise UserError(f"{path}: {key} has the shape {values.shape}; a motion has at least 2 frames")
    bad = ~(np.abs(values) <= 1e6)
    if bad.any():
        raise UserError(f"{path}: {key} of frame {int(np.argwhere(bad)[0][0])} is not a pose")
    return values


def shaped(fields: Mapping[str, Any], key: str, path: Path, *size: int) -> np.ndarray:
    """:func:`table_of`, of the shape ``[T, *size]`` (0 for any size). UserError."""
    values = table_of(fields, key, path)
    if values.ndim != 1 + len(size) or any(
        want not in (0, has) for want, has in zip(size, values.shape[1:], strict=True)
    ):
        wanted = " x ".join(["T", *(str(n) if n else "any" for n in size)])
        raise UserError(f"{path}: {key} has the shape {values.shape}, must be {wanted}")
    return values


def names_of(fields: Mapping[str, Any], key: str, path: Path) -> list[str]:
    """A list of names; empty if there is none under ``key``. UserError for what is no list of text."""
    value = fields.get(key)
    if value is None:
        return []
    names = np.atleast_1d(value).ravel().tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(names, list) or len(names) > 10_000 or not all(isinstance(name, str | bytes) for name in names):
        raise UserError(f"{path}: {key} is no list of names")
    texts = [name.decode("latin-1") if isinstance(name, bytes) else name for name in names]
    return [ascii(" ".join(text.split())[:200])[1:-1] for text in texts]


def fps_of(fields: Mapping[str, Any], path: Path, *keys: str) -> float | None:
    """The first of ``keys`` that the file has, frames per second; None for none. UserError where it is no rate."""
    for key in keys:
        if key in fields:
            value = fields[key]
            if isinstance(value, np.ndarray) and value.size == 1:  # nothing else is made an array of: it may be huge
                value = value.item()
            if not isinstance(value, int | float) or not FPS[0] <= value <= FPS[1]:
                raise UserError(f"{path}: {key} is no number of frames per second")
            return float(value)
    return None
