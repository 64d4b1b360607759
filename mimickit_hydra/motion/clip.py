"""One motion clip and its files: our ``.npz`` and MimicKit's ``.pkl``."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.motion.errors import MotionFileError
from mimickit_hydra.motion.legacy_pickle import read_pickle

__all__ = ["LoopMode", "MotionClip", "MotionFileError", "load_clip", "save_clip"]

ROOT_COLUMNS = 6  # root position and root exponential map
_TEXT_FIELDS = ("name", "source", "licence")
_BROKEN_ARCHIVE = (
    OSError, ValueError, KeyError, EOFError, AttributeError, MemoryError, NotImplementedError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


class LoopMode(IntEnum):
    """What happens beyond the ends: hold the end pose, or start again."""

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


def load_clip(path: str | Path) -> MotionClip:
    """Read a ``.npz`` or legacy ``.pkl`` clip. Raises MotionFileError with one line; never runs code of the file."""
    path = Path(path)
    if path.suffix == ".npz":
        fields = _read_npz(path)
    elif path.suffix == ".pkl":
        fields = read_pickle(path)
    else:
        raise MotionFileError(f"{path}: a motion is .npz or MimicKit's .pkl, found {path.suffix or 'no extension'!r}")
    return clip_from_fields(fields, path)


def clip_from_fields(fields: Any, path: Path) -> MotionClip:
    """Check the fields ``frames``, ``fps`` and ``loop_mode`` of a file and make a clip of them."""
    if not isinstance(fields, Mapping):
        raise MotionFileError(
            f"{path}: holds a {type(fields).__name__}, a motion holds the fields frames, fps, loop_mode"
        )
    missing = [name for name in ("frames", "fps", "loop_mode") if name not in fields]
    if missing:
        found = ", ".join(sorted(str(key) for key in fields)) or "nothing"
        raise MotionFileError(f"{path}: lacks {', '.join(missing)} (found {found[:120]})")
    frames = _frames(fields["frames"], path)
    fps = _number(fields["fps"], "fps", path)
    if not (np.isfinite(fps) and fps > 0):
        raise MotionFileError(f"{path}: fps is {fps:g}, expected a number above 0")
    mode = _number(fields["loop_mode"], "loop_mode", path)
    if mode not in (0, 1):
        raise MotionFileError(f"{path}: loop_mode is {mode:g}, allowed are 0 (clamp) and 1 (wrap)")
    text = {key: str(fields[key]) for key in _TEXT_FIELDS if key in fields}
    name = text.pop("name", "") or path.stem
    return MotionClip(frames, fps, LoopMode(int(mode)), name, {**text, "file": str(path)})


def save_clip(path: str | Path, clip: MotionClip) -> None:
    """Write a clip as compressed ``.npz``, atomically."""
    path = Path(path)
    if path.suffix != ".npz":
        raise MotionFileError(f"{path}: clips are written as .npz, found {path.suffix or 'no extension'!r}")
    fields: dict[str, Any] = {
        "frames": np.asarray(clip.frames, dtype=np.float32),
        "fps": np.float64(clip.fps),
        "loop_mode": np.int64(clip.loop_mode),
        "name": np.array(clip.name),
        **{key: np.array(clip.meta[key]) for key in ("source", "licence") if key in clip.meta},
    }
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp", delete=False) as file:
            temporary = file.name
            np.savez_compressed(file, allow_pickle=False, **fields)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise MotionFileError(f"{path}: cannot write the motion ({error.strerror or error})") from None
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise MotionFileError(f"{path}: no such motion file") from None
    except _BROKEN_ARCHIVE as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        if "pickle" in reason.lower() or "Object arrays" in reason:
            reason = "not an archive of plain arrays"
        raise MotionFileError(f"{path}: truncated or not a motion archive ({reason})") from None


def _frames(value: Any, path: Path) -> np.ndarray:
    try:
        frames = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise MotionFileError(f"{path}: frames is not a table of numbers with rows of one width") from None
    if frames.ndim != 2 or frames.shape[1] <= ROOT_COLUMNS:
        shape = "x".join(map(str, frames.shape)) or "a single number"
        raise MotionFileError(f"{path}: frames is {shape}, expected frames x (6 + joint coordinates)")
    if frames.shape[0] < 2:
        raise MotionFileError(f"{path}: has {frames.shape[0]} frame(s); a motion needs at least 2")
    bad_root = ~np.isfinite(frames[:, :ROOT_COLUMNS]).all(axis=1)
    if bad_root.any():
        count, first = int(bad_root.sum()), int(bad_root.argmax())
        raise MotionFileError(
            f"{path}: the root is not finite in {count} of {len(frames)} frames, first in frame {first}"
        )
    if np.isinf(frames).any() or np.nanmax(np.abs(frames)) > 1e6:
        row, column = np.argwhere(~(np.abs(np.nan_to_num(frames, posinf=np.inf, neginf=-np.inf)) <= 1e6))[0]
        raise MotionFileError(f"{path}: frame {row} column {column} is {frames[row, column]:g}, not a pose")
    return np.ascontiguousarray(frames, dtype=np.float32)


def _number(value: Any, name: str, path: Path) -> float:
    try:
        return float(np.asarray(value, dtype=np.float64).reshape(()))
    except (ValueError, TypeError):
        raise MotionFileError(f"{path}: {name} is {str(value)[:60]!r}, expected a number") from None
