"""Poselib's ``SkeletonMotion`` (``.npy``), as in ASE, PHC and Isaac Gym: rotations of bodies with their skeleton.

The file is a pickled table. It is read without running anything; rotations are xyzw, local or of the world.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.importers.recording import Recording, fps_of, names_of, shaped
from mimickit_hydra.motion.legacy_pickle import read_npy_object


def read_poselib(path: str | Path) -> Recording:
    """Read one file. Raises UserError with one line; never runs code of the file."""
    path = Path(path)
    content = read_npy_object(path)
    if not isinstance(content, dict) or "skeleton_tree" not in content or "rotation" not in content:
        raise UserError(f"{path}: not a SkeletonMotion of poselib, it lacks skeleton_tree and rotation")
    tree = content["skeleton_tree"] if isinstance(content["skeleton_tree"], dict) else {}
    fields = {key: _array(content.get(key)) for key in ("rotation", "root_translation")}
    turns, root = shaped(fields, "rotation", path, 0, 4), shaped(fields, "root_translation", path, 3)
    names, count = names_of(tree, "node_names", path), turns.shape[1]
    parents, offsets = _array(tree.get("parent_indices")), _array(tree.get("local_translation"))
    if not isinstance(parents, np.ndarray) or not isinstance(offsets, np.ndarray) or offsets.dtype.kind != "f":
        raise UserError(f"{path}: its skeleton_tree has no parent_indices and local_translation")
    if (
        len(names) != count
        or parents.shape != (count,)
        or parents.dtype.kind not in "iu"
        or offsets.shape != (count, 3)
    ):
        raise UserError(f"{path}: its skeleton_tree describes {len(names)} bodies, its rotations are of {count}")
    above = parents.tolist()
    if above[0] != -1 or any(not 0 <= parent < body for body, parent in enumerate(above[1:], start=1)):
        raise UserError(f"{path}: the bodies of its skeleton_tree do not stand behind their parents")
    local = torch.from_numpy(turns)
    if content.get("is_local") is False:
        rest = rot.quat_mul(rot.quat_conj(local[:, above[1:]]), local[:, 1:])
        local = torch.cat([local[:, :1], rest], dim=1)
    return Recording(
        path, fps_of(content, path, "fps"), root, local_rot=local.numpy(), body_names=names, parents=above,
        offsets=np.asarray(offsets, dtype=np.float64), source=f"poselib {path.name}",
    )  # fmt: skip


def _array(value: Any) -> Any:
    """The numbers of a tensor as poselib writes it: a table with ``arr``."""
    return value.get("arr") if isinstance(value, dict) else value
