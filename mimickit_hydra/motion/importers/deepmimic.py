"""DeepMimic's ``humanoid3d_*.txt`` clips, as the Bullet physics package ships them.

A source frame has 44 numbers: y up, x forward, z to the right, quaternions w first, arms hanging at rest. Ours has 34:
z up, x forward, y to the left, arms stretched out sideways at rest (the order of ``data/assets/humanoid``).

* The world's change of basis is (x, y, z) -> (x, -z, y), and the vector parts of quaternions change the same way.
* An arm at rest lies along -+y here and along -z there, so the arms' frames differ by A, a quarter turn about x,
  positive on the right and negative on the left. A shoulder q becomes q A. An elbow becomes A* q A, which moves its
  axis from -y to +z on the right (same angle) and to -z on the left (opposite sign). The knees' axis turns from -y to
  +y.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_json
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.clip import LoopMode, MotionClip, frame_rate

# Name and size of the blocks of a source frame behind its duration and root position.
SOURCE_BLOCKS = (
    ("root", 4), ("abdomen", 4), ("neck", 4),
    ("right_hip", 4), ("right_knee", 1), ("right_ankle", 4), ("right_shoulder", 4), ("right_elbow", 1),
    ("left_hip", 4), ("left_knee", 1), ("left_ankle", 4), ("left_shoulder", 4), ("left_elbow", 1),
)  # fmt: skip
TARGET_BLOCKS = (
    "root", "abdomen", "neck", "right_shoulder", "right_elbow", "left_shoulder", "left_elbow",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
)  # fmt: skip
SOURCE_COLUMNS = 4 + sum(size for _, size in SOURCE_BLOCKS)
SIGN_FLIPS = ("left_elbow", "right_knee", "left_knee")
LOOP_MODES = {"wrap": LoopMode.WRAP, "none": LoopMode.CLAMP, "clamp": LoopMode.CLAMP}
UNEVEN = 0.02  # of a frame; clips with a frame further from its place are resampled


def read_deepmimic(path: str | Path) -> MotionClip:
    """Convert one text clip. Raises UserError with one line."""
    path = Path(path)
    data, loop_mode = _checked(read_json(path), path)
    blocks = _to_our_frames(data)
    fps, blocks = _even(data[:, 0], blocks)
    columns = [_coordinates(name, blocks[name]) for name in ("position", *TARGET_BLOCKS)]
    frames = torch.cat(columns, dim=1).numpy().astype(np.float32)
    name = path.stem.replace("humanoid3d_", "humanoid_")
    return MotionClip(frames, fps, loop_mode, name, {"file": str(path), "source": f"DeepMimic {path.name}"})


def _checked(content: Any, path: Path) -> tuple[np.ndarray, LoopMode]:
    frames = content.get("Frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or len(frames) < 2:
        raise UserError(f"{path}: not a DeepMimic clip, expected at least 2 rows under 'Frames'")
    try:
        data = np.asarray(frames, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{path}: 'Frames' is not a table of numbers with rows of one width") from None
    if data.ndim != 2 or data.shape[1] != SOURCE_COLUMNS:
        width = data.shape[1] if data.ndim == 2 else "no"
        raise UserError(f"{path}: rows of {width} numbers, a humanoid3d clip has {SOURCE_COLUMNS}")
    if not np.isfinite(data).all():
        raise UserError(f"{path}: frame {int((~np.isfinite(data)).any(axis=1).argmax())} is not finite")
    if not (data[:-1, 0] > 0).all():
        raise UserError(f"{path}: frame {int((data[:-1, 0] <= 0).argmax())} has a duration that is not above 0")
    loop = str(content.get("Loop", "none")).lower()
    if loop not in LOOP_MODES:
        raise UserError(f"{path}: 'Loop' is {loop!r}, allowed are {', '.join(LOOP_MODES)}")
    return data, LOOP_MODES[loop]


def _to_our_frames(data: np.ndarray) -> dict[str, Tensor]:
    """Blocks by name in our axes: positions ``[T, 3]``, quaternions ``[T, 4]`` xyzw, angles ``[T, 1]``; float64."""
    source = torch.from_numpy(data)
    blocks = {"position": torch.stack([source[:, 1], -source[:, 3], source[:, 2]], dim=1)}
    start = 4
    for name, size in SOURCE_BLOCKS:
        block = source[:, start : start + size]
        start += size
        if size == 4:
            w, x, y, z = rot.quat_unit(block).unbind(1)
            block = torch.stack([x, -z, y, w], dim=1)
        blocks[name] = -block if name in SIGN_FLIPS else block
    half = math.sqrt(0.5)
    for side, sign in (("right", 1.0), ("left", -1.0)):
        rest = torch.tensor([sign * half, 0.0, 0.0, half], dtype=source.dtype)
        blocks[f"{side}_shoulder"] = rot.quat_mul(blocks[f"{side}_shoulder"], rest.expand(len(source), 4))
    return blocks


def _even(durations: np.ndarray, blocks: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """Frame rate, and the blocks resampled to it if the frames are not evenly spaced. The last duration is unused."""
    times = np.concatenate([[0.0], durations[:-1].cumsum()])
    even = np.linspace(0.0, times[-1], len(times))
    if np.abs(times - even).max() <= UNEVEN * even[1]:
        return frame_rate(len(times) - 1, times[-1]), blocks
    steps = max(1, round(times[-1] / float(np.median(durations[:-1]))))
    wanted = np.linspace(0.0, times[-1], steps + 1)
    index = np.clip(np.searchsorted(times, wanted, side="right") - 1, 0, len(times) - 2)
    blend = torch.from_numpy((wanted - times[index]) / (times[index + 1] - times[index]))
    i0 = torch.from_numpy(index)

    def between(x: Tensor) -> Tensor:
        if x.shape[1] == 4:
            return rot.slerp(x[i0], x[i0 + 1], blend)
        return torch.lerp(x[i0], x[i0 + 1], blend.unsqueeze(1))

    return frame_rate(steps, times[-1]), {name: between(block) for name, block in blocks.items()}


def _coordinates(name: str, block: Tensor) -> Tensor:
    return rot.quat_to_exp_map(block) if block.shape[1] == 4 else block
