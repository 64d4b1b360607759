"""The length of a bundled clip, read from the file's header without loading its frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.paths import resolve_data_file


@dataclass(frozen=True)
class ClipFacts:
    frames: int
    fps: float

    @property
    def seconds(self) -> float:
        """Duration (s): the last frame stands at its end."""
        return (self.frames - 1) / self.fps


def clip_facts(option: Path) -> ClipFacts | None:
    """Facts of the clip that a motion's YAML names, None where it is missing, a dataset or a legacy pickle."""
    import yaml

    named = yaml.safe_load(option.read_text(encoding="utf-8")).get("motion_file")
    try:
        path = resolve_data_file(str(named))
    except UserError:
        return None
    return _npz_facts(path) if path.suffix == ".npz" else None


def _npz_facts(path: Path) -> ClipFacts | None:
    import zipfile

    import numpy as np
    from numpy.lib import format as npy

    try:
        with zipfile.ZipFile(path) as archive, archive.open("frames.npy") as file:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            frames = header(file)[0][0]
        with np.load(path, allow_pickle=False) as arrays:
            return ClipFacts(int(frames), float(arrays["fps"]))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
