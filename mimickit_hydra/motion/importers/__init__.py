"""Readers of other projects' motion files; each turns one file into a MotionClip."""

from __future__ import annotations

from pathlib import Path

from mimickit_hydra.motion.clip import MotionClip, load_clip
from mimickit_hydra.motion.errors import MotionFileError

FORMATS = {
    ".txt": "DeepMimic text clip",
    ".json": "DeepMimic text clip",
    ".pkl": "MimicKit clip",
    ".npz": "clip of this project",
}


def import_clip(path: str | Path) -> MotionClip:
    """Read any motion file this project understands, chosen by extension. Raises MotionFileError with one line."""
    path = Path(path)
    if path.suffix in (".txt", ".json"):
        from mimickit_hydra.motion.importers.deepmimic import read_deepmimic

        return read_deepmimic(path)
    if path.suffix in (".pkl", ".npz"):
        return load_clip(path)
    known = ", ".join(f"{suffix} ({what})" for suffix, what in FORMATS.items())
    raise MotionFileError(f"{path}: cannot import {path.suffix or 'a file without extension'}; known are {known}")
