"""Clips of four-legged robots as JSON: Laikago's (motion_imitation, 19 numbers a row) and AMP's (61 numbers).

A row holds the root's position, its quaternion xyzw and the joints of the legs FR, FL, RR, RL: hip, thigh, calf. Behind
them AMP's rows have feet and velocities, which follow from the rest. All rows last ``FrameDuration``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_json
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.clip import LoopMode, frame_rate
from mimickit_hydra.motion.importers.glance import Glance
from mimickit_hydra.motion.importers.recording import XYZW, Recording, shaped

_JOINTS = [f"{leg}_{part}" for leg in ("FR", "FL", "RR", "RL") for part in ("hip", "thigh", "calf")]
_WIDTHS = (19, 61)
_LAIKAGO_REST = (0.5, 0.5, 0.5, 0.5)  # xyzw, of its root when it stands: y is up in its model
_LOOPS = {"wrap": LoopMode.WRAP, "clamp": LoopMode.CLAMP, "none": LoopMode.CLAMP}


def is_quadruped(file: Glance) -> bool:
    return b'"FrameDuration"' in file.data and b'"Frames"' in file.data


def read_quadruped(path: str | Path) -> Recording:
    """Read one file. Raises UserError with one line."""
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("FrameDuration"), int | float):
        raise UserError(f"{path}: not a clip of a quadruped, expected 'Frames' and a 'FrameDuration'")
    rows, step = shaped(content, "Frames", path, 0), content["FrameDuration"]
    if rows.shape[1] not in _WIDTHS:
        raise UserError(f"{path}: rows of {rows.shape[1]} numbers, clips of quadrupeds have 19 or 61")
    if not 1e-5 <= step <= 1e3:
        raise UserError(f"{path}: FrameDuration is {str(step)[:40]}, expected seconds above 0")
    loop = str(content.get("LoopMode", "clamp")).lower()
    if loop not in _LOOPS:
        raise UserError(f"{path}: LoopMode is {loop[:40]!r}, allowed are {', '.join(_LOOPS)}")
    assumed = ["joint order: legs FR, FL, RR, RL, of each hip, thigh and calf"]
    recording = Recording(
        path, frame_rate(1, float(step)), rows[:, :3], rows[:, 3:7], XYZW, rows[:, 7:19], _JOINTS,
        loop_mode=_LOOPS[loop], assumed=assumed,
    )  # fmt: skip
    _stand_up(recording)
    return recording


def _stand_up(recording: Recording) -> None:
    """Take the rest pose of Laikago's model out of the root's rotation, if that makes it stand."""
    assert recording.root_rot is not None
    turns = rot.quat_unit(torch.from_numpy(recording.root_rot))
    rest = torch.tensor(_LAIKAGO_REST, dtype=torch.float64)
    upright = rot.quat_mul(turns, rot.quat_conj(rest))
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    heights = [float(rot.quat_rotate(quats, up)[:, 2].mean()) for quats in (turns, upright)]
    if heights[1] > heights[0]:
        recording.root_rot = np.ascontiguousarray(upright.numpy())
        recording.assumed.append("root rotation: relative to the rest pose (0.5, 0.5, 0.5, 0.5) of Laikago's model")
        recording.assumed.append("joint angles: Laikago's own; zero and sign may differ on your robot")
