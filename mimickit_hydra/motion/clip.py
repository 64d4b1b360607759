"""Motion clips and their files: our ``.npz`` and MimicKit's ``.pkl``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.files import write_wanted
from mimickit_hydra.foreign import check_archive, one_line
from mimickit_hydra.motion.legacy_pickle import MAX_NUMBERS, read_pickle

ROOT_COLUMNS = 6  # root position and root exponential map
_SAME_RATE = 5e-4  # a rate this near to a whole number, relative to it, is that number
_TEXT_FIELDS = ("name", "source", "licence")
_MAX_BYTES = 16 * MAX_NUMBERS  # of an archive, unfolded
FPS = (1e-3, 1e5)  # frames per second, between which 32 bits are exact enough


class LoopMode(IntEnum):
    """What follows the last frame: the last pose is held, or the clip starts again."""

    CLAMP = 0
    WRAP = 1


@dataclass
class MotionClip:
    """Poses at a fixed rate.

    ``frames [T, 6 + D]`` float32: root position m (world, z up), root exponential map rad, joint coordinates rad in the
    character's depth-first order. ``fps`` frames per second. ``meta`` may hold ``file``, ``source`` and ``licence``.
    Joint columns may be NaN (a spherical joint that was not captured); root columns may not.
    """

    frames: np.ndarray
    fps: float
    loop_mode: LoopMode
    name: str
    meta: dict[str, str] = field(default_factory=dict)

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def length(self) -> float:
        """Seconds from the first to the last frame."""
        return (len(self.frames) - 1) / self.fps

    @property
    def label(self) -> str:
        """How messages name the clip: its file if it has one."""
        return self.meta.get("file", self.name)


def frame_rate(frames: int, seconds: float) -> float:
    """Frames per second of ``frames`` steps that last ``seconds``: a whole number where the file's digits mean one.

    A step of 1/30 s is written as 0.03333, say; rates as near as 29.97 and 30 Hz stay apart.
    """
    rate = frames / seconds
    return float(round(rate)) if rate < 1e6 and abs(rate - round(rate)) <= _SAME_RATE * rate else rate


def load_clip(path: str | Path) -> MotionClip:
    """Read a ``.npz`` or legacy ``.pkl`` clip. Raises UserError with one line; never runs code of the file."""
    path = Path(path)
    if path.suffix == ".npz":
        fields = read_arrays(path)
    elif path.suffix == ".pkl":
        fields = read_pickle(path)
    else:
        raise UserError(f"{path}: a motion is .npz or MimicKit's .pkl, found {path.suffix or 'no extension'!r}")
    return clip_from_fields(fields, path)


def clip_from_fields(fields: Any, path: Path) -> MotionClip:
    """Check the fields ``frames``, ``fps`` and ``loop_mode`` of a file and make a clip of them."""
    if not isinstance(fields, Mapping):
        raise UserError(f"{path}: holds a {type(fields).__name__}, a motion holds the fields frames, fps, loop_mode")
    missing = [name for name in ("frames", "fps", "loop_mode") if name not in fields]
    if missing:
        found = ", ".join(sorted(str(key) for key in fields)) or "nothing"
        raise UserError(f"{path}: lacks {', '.join(missing)} (found {found[:120]})")
    frames = _frames(fields["frames"], path)
    fps = _number(fields["fps"], "fps", path)
    if not FPS[0] <= fps <= FPS[1]:
        raise UserError(f"{path}: fps is {fps:g}, expected a number above 0 and at most {FPS[1]:g}")
    mode = _loop_mode(fields["loop_mode"], path)
    text = {key: " ".join(str(fields[key]).split())[:500] for key in _TEXT_FIELDS if _is_text(fields.get(key))}
    name = text.pop("name", "") or path.stem
    return MotionClip(frames, fps, mode, name, {**text, "file": str(path)})


CANNOT_WRITE = "cannot write the motion"


def save_clip(path: str | Path, clip: MotionClip) -> None:
    """Write a clip as compressed ``.npz``, atomically."""
    path = Path(path)
    if path.suffix != ".npz":
        raise UserError(f"{path}: clips are written as .npz, found {path.suffix or 'no extension'!r}")
    fields: dict[str, Any] = {
        "frames": np.asarray(clip.frames, dtype=np.float32),
        "fps": np.float64(clip.fps),
        "loop_mode": np.int64(clip.loop_mode),
        "name": np.array(clip.name),
        **{key: np.array(clip.meta[key]) for key in ("source", "licence") if key in clip.meta},
    }
    write_wanted(path, lambda file: np.savez_compressed(file, allow_pickle=False, **fields), CANNOT_WRITE)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.ndim == 0)


def read_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The arrays of a ``.npz``, or those of ``names`` that it has. UserError for anything but numbers and text."""
    check_archive(path, at_most=_MAX_BYTES)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files if names is None or key in names}
            for array in arrays.values():
                _check_text(array)
            return arrays
    except Exception as error:  # numpy lets through whatever a header makes of Python's own parser
        reason = one_line(error)
        if "pickle" in reason.lower() or "Object arrays" in reason:
            reason = "not an archive of plain arrays"
        raise UserError(f"{path}: truncated or not a motion archive ({reason})") from None


def _check_text(array: np.ndarray) -> None:
    """ValueError for numbers that are no letters: Python fails at them wherever such text is used."""
    if array.dtype.kind == "U" and array.dtype.itemsize and array.size:
        letters = np.dtype("u4").newbyteorder(array.dtype.byteorder)
        if np.frombuffer(array.tobytes(), letters).max() > 0x10FFFF:
            raise ValueError("text that is none")


def table(value: Any) -> np.ndarray:
    """Rows of numbers as float64. ValueError or TypeError for anything else, before it can take much memory."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iuf" or value.size > MAX_NUMBERS:
            raise ValueError
        return value.astype(np.float64)
    rows = [row if isinstance(row, list | tuple) else row.tolist() for row in value]
    width = len(rows[0]) if rows else 0
    if any(len(row) != width for row in rows) or width * len(rows) > MAX_NUMBERS:
        raise ValueError
    return np.fromiter(chain.from_iterable(rows), np.float64, width * len(rows)).reshape(len(rows), width)


def _frames(value: Any, path: Path) -> np.ndarray:
    try:
        frames = table(value)
    except (ValueError, TypeError, OverflowError, AttributeError):
        raise UserError(
            f"{path}: frames is not a table of numbers with rows of one width (at most {MAX_NUMBERS:,})"
        ) from None
    if frames.ndim != 2 or frames.shape[1] <= ROOT_COLUMNS:
        shape = "x".join(map(str, frames.shape)) or "a single number"
        raise UserError(f"{path}: frames is {shape}, expected frames x (6 + joint coordinates)")
    if frames.shape[0] < 2:
        raise UserError(f"{path}: has {frames.shape[0]} frame(s); a motion needs at least 2")
    bad_root = ~np.isfinite(frames[:, :ROOT_COLUMNS]).all(axis=1)
    if bad_root.any():
        count, first = int(bad_root.sum()), int(bad_root.argmax())
        raise UserError(f"{path}: the root is not finite in {count} of {len(frames)} frames, first in frame {first}")
    if np.isinf(frames).any() or np.nanmax(np.abs(frames)) > 1e6:
        row, column = np.argwhere(~(np.abs(np.nan_to_num(frames, posinf=np.inf, neginf=-np.inf)) <= 1e6))[0]
        raise UserError(f"{path}: frame {row} column {column} is {frames[row, column]:g}, not a pose")
    return np.ascontiguousarray(frames, dtype=np.float32)


def _loop_mode(value: Any, path: Path) -> LoopMode:
    if _is_text(value) and str(value).upper() in LoopMode.__members__:
        return LoopMode[str(value).upper()]
    mode = _number(value, "loop_mode", path)
    if mode not in (0, 1):
        raise UserError(f"{path}: loop_mode is {mode:g}, allowed are 0 (clamp) and 1 (wrap)")
    return LoopMode(int(mode))


def _number(value: Any, name: str, path: Path) -> float:
    array = value if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "biuf" else None
    try:
        if array is None and not isinstance(value, int | float | np.number):
            raise TypeError
        return float(value if array is None else array.item())
    except (ValueError, TypeError, OverflowError):
        shown = repr(value)[:60] if isinstance(value, str | bytes) else f"a {type(value).__name__}"
        raise UserError(f"{path}: {name} is {shown}, expected a number") from None
