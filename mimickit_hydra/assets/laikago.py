"""Retargets clips of the Laikago robot (Peng et al. 2020, Learning agile robotic locomotion skills) to the Go2.

Each foot, seen from its hip in the frame of the body, is scaled by the ratio of the leg lengths and reached by the
Go2's leg in closed form.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.clip import LoopMode, MotionClip, frame_rate

_LEGS_THERE = ("FR", "FL", "RR", "RL")
_LEGS_HERE = ("FL", "FR", "RL", "RR")
# Laikago, y up and z forward (m): hip in the chassis, then upper leg, lower leg and toe in the frame before
_HIP_X, _HIP_Z = 0.081714, {"F": 0.242889, "R": -0.194401}
_UPPER = {"R": -0.053565, "L": 0.055855}
_LOWER, _TOE = (0.02069, -0.20833, -0.1422), (0.0, -0.25, -0.022)
# Go2, z up and x forward (m)
_ABDUCTION, _LINK, _FOOT_RADIUS = 0.0955, 0.213, 0.022
_HIP = {"F": 0.1934, "R": -0.1934, "L": 0.0465}
_UPRIGHT = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # from the Laikago's axes to the Go2's


def read_laikago(text: str, name: str) -> MotionClip:
    """A Go2 clip from the JSON of a Laikago clip: frames [T, 6 + 12]; UserError if it is none."""
    try:
        data = json.loads(text)
        frames = np.asarray(data["Frames"], dtype=np.float64)
        fps, loops = frame_rate(1, float(data["FrameDuration"])), str(data["LoopMode"]).lower() == "wrap"
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"{name}: not a Laikago clip ({error})") from None
    if not 0 < fps < np.inf:
        raise UserError(f"{name}: FrameDuration: found {data['FrameDuration']}, must be a number of seconds above 0")
    if frames.ndim != 2 or frames.shape[1] != 19 or not np.isfinite(frames).all():
        raise UserError(f"{name}: found frames of shape {list(frames.shape)}, must be [T, 19] finite numbers")
    mode = LoopMode.WRAP if loops else LoopMode.CLAMP
    return MotionClip(_retarget(frames).astype(np.float32), fps, mode, name, {"source": "laikago"})


def _retarget(frames: np.ndarray) -> np.ndarray:
    scale = 2 * _LINK / (np.linalg.norm(_LOWER) + np.linalg.norm(_TOE))
    angles = frames[:, 7:].reshape(-1, 4, 3)
    legs = {leg: _reach(scale * _toe(leg, angles[:, i]), leg[1] == "L") for i, leg in enumerate(_LEGS_THERE)}
    rotation = Rotation.from_quat(frames[:, 3:7]).as_matrix() @ _UPRIGHT.T
    columns = [scale * frames[:, :3], Rotation.from_matrix(rotation).as_rotvec(), *(legs[leg] for leg in _LEGS_HERE)]
    found = np.concatenate(columns, axis=1)
    # A quarter of all frames have a foot at the ground or below it: stance.
    found[:, 2] += _FOOT_RADIUS - np.percentile(_lowest_foot(found, rotation), 25)
    return found


def _about(axis: str, angle: np.ndarray) -> np.ndarray:
    """Rotations [T, 3, 3] about one axis of the frame."""
    return Rotation.from_euler(axis, angle[:, None]).as_matrix()


def _toe(leg: str, angle: np.ndarray) -> np.ndarray:
    """Toe [T, 3] (m) relative to the Laikago's hip, in the Go2's axes; ``angle`` [T, 3] (rad)."""
    side = 1.0 if leg[1] == "L" else -1.0
    lower = np.array([-side * _LOWER[0], _LOWER[1], _LOWER[2]])
    knee = lower + _about("x", angle[:, 2]) @ np.array(_TOE)
    upper = np.array([_UPPER[leg[1]], 0.0, 0.0]) + np.einsum("tij,tj->ti", _about("x", angle[:, 1]), knee)
    return np.einsum("tij,tj->ti", _about("z", side * angle[:, 0]), upper) @ _UPRIGHT.T


def _reach(foot: np.ndarray, left: bool) -> np.ndarray:
    """Hip, thigh and calf angles [T, 3] (rad) that bring the foot [T, 3] (m, from the hip) there."""
    out = _ABDUCTION if left else -_ABDUCTION
    down = np.sqrt(np.maximum(foot[:, 1] ** 2 + foot[:, 2] ** 2 - out * out, 1e-9))
    hip = np.arctan2(foot[:, 2], foot[:, 1]) - np.arctan2(-down, out)
    square = np.minimum(foot[:, 0] ** 2 + down**2, (2 * _LINK * 0.999) ** 2)
    calf = -np.arccos(np.clip(square / (2 * _LINK**2) - 1, -1, 1))
    thigh = np.arctan2(-foot[:, 0], down) - calf / 2
    return np.stack([_wrap(hip), _wrap(thigh), calf], axis=1)


def _wrap(angle: np.ndarray) -> np.ndarray:
    wrapped: np.ndarray = (angle + np.pi) % (2 * np.pi) - np.pi
    return wrapped


def _lowest_foot(frames: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Height [T] (m) of the lowest foot's centre."""
    heights: list[Any] = []
    for i, leg in enumerate(_LEGS_HERE):
        hip, thigh, calf = frames[:, 6 + 3 * i : 9 + 3 * i].T
        side = 1.0 if leg[1] == "L" else -1.0
        shin = _about("y", calf) @ np.array([0.0, 0.0, -_LINK])
        down = np.einsum("tij,tj->ti", _about("y", thigh), shin + np.array([0.0, 0.0, -_LINK]))
        reach = np.einsum("tij,tj->ti", _about("x", hip), down + np.array([0.0, side * _ABDUCTION, 0.0]))
        at = reach + np.array([_HIP[leg[0]], side * _HIP["L"], 0.0])
        heights.append(frames[:, 2] + np.einsum("tj,tj->t", rotation[:, 2], at))
    return np.min(heights, axis=0)
