"""Reads the length of a bundled clip from the file's header, without loading its frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.config.defaults import read
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import check_plain_file


@dataclass(frozen=True)
class ClipFacts:
    frames: int
    fps: float

    @property
    def seconds(self) -> float:
        """Duration (s): the last frame stands at its end."""
        return (self.frames - 1) / self.fps


def clip_facts(option: Path) -> ClipFacts | None:
    """Facts of the clip that a motion's YAML names; None if it is missing, a dataset or a legacy pickle."""
    try:
        path = resolve_data_file(read(option).values.get("motion_file", ""))
    except UserError:
        return None
    return _npz_facts(path) if path.suffix == ".npz" else None


def _npz_facts(path: Path) -> ClipFacts | None:
    import zipfile

    import numpy as np
    from numpy.lib import format as npy

    try:
        check_plain_file(path)
        with zipfile.ZipFile(path) as archive, archive.open("frames.npy") as file:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            frames = header(file)[0][0]
        with np.load(path, allow_pickle=False) as arrays:
            return ClipFacts(int(frames), float(arrays["fps"]))
    except Exception:  # whatever may be wrong with the file; whoever loads it says so
        return None
