"""Pickles that GMR (General Motion Retargeting) and TWIST write: ``root_pos``, ``root_rot`` xyzw and ``dof_pos``."""

from __future__ import annotations

from pathlib import Path

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.importers.glance import Glance
from mimickit_hydra.motion.importers.recording import MUJOCO, XYZW, Recording, fps_of, shaped
from mimickit_hydra.motion.legacy_pickle import read_pickle


def is_gmr(file: Glance) -> bool:
    return b"root_rot" in file.data and b"dof_pos" in file.data and b"root_pos" in file.data


def read_gmr(path: str | Path) -> Recording:
    """Read one file. Raises UserError with one line; never runs code of the file."""
    path = Path(path)
    fields = read_pickle(path)
    if not isinstance(fields, dict):
        raise UserError(f"{path}: holds a {type(fields).__name__}, a GMR motion holds root_pos, root_rot and dof_pos")
    root, turns = shaped(fields, "root_pos", path, 3), shaped(fields, "root_rot", path, 4)
    return Recording(
        path, fps_of(fields, path, "fps"), root, turns, XYZW, shaped(fields, "dof_pos", path, 0), order=MUJOCO,
        triples="hinges", made_by="GMR writes it",
    )  # fmt: skip
