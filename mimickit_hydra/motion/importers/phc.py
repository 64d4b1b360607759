"""Clips of PHC and its forks (joblib's pickles): a table of clips by name, of a robot or of the SMPL humanoid.

A robot's clip holds ``root_trans_offset``, ``root_rot`` xyzw and ``dof``; one of the SMPL humanoid the global rotations
``pose_quat_global`` of its bodies in the order of its model.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.importers.amass import JOINTS, OFFSETS, PARENTS
from mimickit_hydra.motion.importers.glance import Glance
from mimickit_hydra.motion.importers.recording import MUJOCO, XYZW, Recording, fps_of, shaped
from mimickit_hydra.motion.legacy_pickle import read_joblib

# The bodies of the SMPL humanoid, depth-first, and each one's parent.
SMPL_BODIES = ("Pelvis", "L_Hip", "L_Knee", "L_Ankle", "L_Toe", "R_Hip", "R_Knee", "R_Ankle", "R_Toe", "Torso", "Spine",
               "Chest", "Neck", "Head", "L_Thorax", "L_Shoulder", "L_Elbow", "L_Wrist", "L_Hand", "R_Thorax",
               "R_Shoulder", "R_Elbow", "R_Wrist", "R_Hand")  # fmt: skip
SMPL_PARENTS = [-1 if PARENTS[JOINTS.index(name)] < 0 else SMPL_BODIES.index(JOINTS[PARENTS[JOINTS.index(name)]])
                for name in SMPL_BODIES]  # fmt: skip
SMPL_OFFSETS = OFFSETS[[JOINTS.index(name) for name in SMPL_BODIES]][:, [2, 0, 1]]  # x forward, y left, z up


def is_phc(file: Glance) -> bool:
    return b"root_trans_offset" in file.head or file.head[:1] == b"\x78" or file.head[:2] == b"\x1f\x8b"  # or packed


def read_phc(path: str | Path) -> list[Recording]:
    """Read one file. Raises UserError with one line; never runs code of the file."""
    path = Path(path)
    content = read_joblib(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no table of clips")
    if "root_trans_offset" in content:
        content = {path.stem: content}
    found = [_clip(path, re.sub(r"[^A-Za-z0-9_.-]+", "_", str(name)[:100]), fields) for name, fields in content.items()]
    if len(found) == 1:
        found[0].name = path.stem
    return found


def _clip(path: Path, name: str, fields: Any) -> Recording:
    if not isinstance(fields, dict):
        raise UserError(f"{path}: {name!r} is no clip")
    root, fps = shaped(fields, "root_trans_offset", path, 3), fps_of(fields, path, "fps")
    if "dof" in fields:
        dof = shaped({"dof": _flat(fields["dof"])}, "dof", path, 0)
        turns = shaped(fields, "root_rot", path, 4)
        return Recording(
            path, fps, root, turns, XYZW, dof, order=MUJOCO, name=name, made_by="PHC writes it"
        )  # fmt: skip
    world = torch.from_numpy(shaped(fields, "pose_quat_global", path, len(SMPL_BODIES), 4))
    limbs = rot.quat_mul(rot.quat_conj(world[:, SMPL_PARENTS[1:]]), world[:, 1:])
    local = torch.cat([world[:, :1], limbs], dim=1).numpy()
    return Recording(
        path, fps, root, local_rot=local, body_names=SMPL_BODIES, parents=SMPL_PARENTS, offsets=SMPL_OFFSETS, name=name
    )


def _flat(dof: Any) -> Any:
    """Columns ``[T, D]`` where they are ``[T, D, 1]``."""
    return dof[..., 0] if getattr(dof, "ndim", 0) == 3 and dof.shape[2] == 1 else dof
