"""AMASS and other ``.npz`` clips of the SMPL body models (SMPL, SMPL-H, SMPL-X).

A file holds axis-angle rotations of the model's joints (``poses``, or ``root_orient`` and ``pose_body``) and the place
``trans`` of the root. The model's own files, of which the shape of a body follows, are not needed: the skeleton is that
of the average body, hands and faces are left out, and the pelvis is at ``trans``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.clip import read_arrays
from mimickit_hydra.motion.human import HumanMotion, skeleton_kinematics, vertical_axis, y_up_to_z_up
from mimickit_hydra.motion.importers.glance import Glance
from mimickit_hydra.motion.importers.recording import fps_of, shaped

# The joints in SMPL's order; each one's parent; and the way from it in the average body, m, x forward, y left, z up.
JOINTS = ("Pelvis", "L_Hip", "R_Hip", "Torso", "L_Knee", "R_Knee", "Spine", "L_Ankle", "R_Ankle", "Chest", "L_Toe",
          "R_Toe", "Neck", "L_Thorax", "R_Thorax", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
          "R_Wrist", "L_Hand", "R_Hand")  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
_OFFSETS = (
    (0, 0, 0), (-.0068, .0695, -.0914), (-.0043, -.0677, -.0905), (-.0267, -.0025, .1090), (-.0045, .0343, -.3752),
    (-.0089, -.0383, -.3826), (.0011, .0055, .1352), (-.0437, -.0136, -.3980), (-.0423, .0158, -.3984),
    (.0254, .0015, .0529), (.1193, .0124, -.0258), (.1193, -.0124, -.0258), (-.0429, -.0028, .2139),
    (-.0341, .0788, .1217), (-.0386, -.0818, .1188), (.0513, .0052, .0650), (-.0089, .0910, .0305),
    (-.0091, -.0960, .0326), (-.0275, .2596, -.0128), (-.0214, -.2537, -.0133), (-.0012, .2492, .0090),
    (-.0056, -.2553, .0078), (-.0149, .0840, -.0082), (-.0103, -.0846, -.0061),
)  # fmt: skip
OFFSETS = np.array(_OFFSETS, dtype=np.float64)[:, [1, 2, 0]]  # in the model's own frame: x left, y up, z forward
_BODY = 22  # joints of the body, without the hands
_RATES = ("mocap_framerate", "mocap_frame_rate", "fps", "framerate")


def is_amass(file: Glance) -> bool:
    return "trans" in file.members and bool({"poses", "pose_body"} & file.members)


def read_amass(path: str | Path) -> HumanMotion:
    """Read one file. Raises UserError with one line."""
    path = Path(path)
    fields = read_arrays(path, ("poses", "root_orient", "pose_body", "trans", "betas", "gender", *_RATES))
    trans = shaped(fields, "trans", path, 3)
    if "poses" in fields:
        poses = shaped(fields, "poses", path, 0)
    else:
        parts = [shaped(fields, key, path, 0) for key in ("root_orient", "pose_body")]
        poses = np.hstack(parts) if len(parts[0]) == len(parts[1]) else parts[1][:0]
    if poses.shape[1] < 3 * _BODY or len(trans) != len(poses):
        raise UserError(
            f"{path}: poses {poses.shape} and trans {trans.shape}, an SMPL clip has T x 66 or more and T x 3"
        )
    fps = fps_of(fields, path, *_RATES)
    if fps is None:
        raise UserError(f"{path}: says no frame rate ({', '.join(_RATES)})")
    # Behind the body SMPL has two hands; SMPL-H and SMPL-X have fingers and a jaw there, which the skeleton has not.
    count = len(JOINTS) if poses.shape[1] == 3 * len(JOINTS) else _BODY
    angles = np.zeros((len(poses), len(JOINTS), 3))
    angles[:, :count] = poses[:, : 3 * count].reshape(len(poses), count, 3)
    rotations = rot.exp_map_to_quat(torch.from_numpy(angles)).numpy()
    assumed = [f"frame rate: {fps:g} Hz, as the file says", "body: the average one, not that of betas"]
    axis, how = vertical_axis(JOINTS, skeleton_kinematics(PARENTS, OFFSETS, trans, rotations)[0], usual=2)
    if axis == 1:
        trans, rotations[:, 0] = y_up_to_z_up(trans, rotations[:, 0])
    assumed.append(f"up axis: {'xyz'[axis]}, {how}")
    meta = {"file": str(path), "source": f"SMPL {path.name}"}
    return HumanMotion(
        list(JOINTS), list(PARENTS), OFFSETS.copy(), trans, rotations, fps, path.stem, "smpl", meta, assumed
    )
