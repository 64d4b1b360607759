"""The motion that is retargeted, as points of a body and frames (x forward, y left, z up) of its rigid parts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d
from scipy.spatial.transform import Rotation

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import ROOT_COLUMNS, LoopMode, MotionClip
from mimickit_hydra.motion.human import HumanMotion
from mimickit_hydra.motion.library import check_fits
from mimickit_hydra.motion.retarget.rest import Rest
from mimickit_hydra.motion.retarget.skeletons import SIDES, Skeleton, skeleton_for

_LOW = 0.09  # of a leg's length above where it stands, within which a foot may be in contact
_SLOW = 0.45  # leg lengths a second that a foot in contact may move at most
_SHORT = 0.06  # s, contacts shorter than this are none


@dataclass
class SourceMotion:
    """``T`` frames: ``points`` ``[T, 3]`` m and ``frames`` ``[T, 3, 3]`` by role, world with z up.

    ``frames`` are those of pelvis, chest, head and ankles, as far as they are known; ``contact`` tells of each side
    whether its foot stands, ``[T]``. ``clip`` and ``character`` are set where the source is a robot.
    """

    name: str
    fps: float
    loop_mode: LoopMode
    points: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]
    leg: float  # m
    stand: dict[str, float]  # m, height of each ankle where it stands
    contact: dict[str, np.ndarray]
    meta: dict[str, str] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    clip: MotionClip | None = None
    character: CharacterModel | None = None

    @property
    def num_frames(self) -> int:
        return len(self.points["pelvis"])


def of_human(motion: HumanMotion, skeleton: str = "") -> SourceMotion:
    """The source of a person's motion; ``skeleton`` is a registered one or a YAML, by default the one that fits."""
    label = motion.meta.get("file", motion.name)
    known = skeleton_for(motion.joint_names, motion.parents, label, skeleton)
    pos, quat = motion.world()
    if not (np.isfinite(pos).all() and np.isfinite(quat).all()):
        raise UserError(f"{label}: holds what is no pose (numbers that are not finite)")
    points, turns = _points(known, motion.joint_names, pos, quat)
    legs = [_length(points, f"{side}_hip", f"{side}_knee") + _length(points, f"{side}_knee", f"{side}_ankle")
            for side in SIDES]  # fmt: skip
    source = _measured(motion.name, motion.fps, LoopMode.CLAMP, points, {}, float(np.mean(legs)))
    source.meta, source.assumed = dict(motion.meta), [*motion.assumed, *known.assumed]
    rest, _ = HumanMotion(
        motion.joint_names, motion.parents, motion.offsets, np.zeros((1, 3)),
        np.tile([0.0, 0.0, 0.0, 1.0], (1, len(motion.parents), 1)), 1.0, "rest", motion.kind,
    ).world()  # fmt: skip
    source.frames = _human_frames(source, turns, known, _points(known, motion.joint_names, rest, quat[:1])[0])
    return source


def of_clip(clip: MotionClip, character: CharacterModel, skeleton: str = "") -> SourceMotion:
    """The source of a robot's clip: its parts are as they are where all its joints are at zero."""
    check_fits(clip, character)
    character = character.to("cpu")
    known = skeleton_for(character.body_names, character.parents, character.name, skeleton)
    rows = torch.from_numpy(np.nan_to_num(clip.frames))
    root = rot.exp_map_to_quat(rows[:, 3:ROOT_COLUMNS])
    pos, quat = character.forward_kinematics(rows[:, :3], root, character.dof_to_rot(rows[:, ROOT_COLUMNS:]))
    points, turns = _points(known, character.body_names, pos.double().numpy(), quat.double().numpy())
    rest = Rest.of(character, known)
    parts = [role for role in ("pelvis", "chest", "head", "left_ankle", "right_ankle") if role in turns]
    frames: dict[str, np.ndarray] = {role: turns[role] @ rest.turns[role].T for role in parts}
    source = _measured(clip.name, clip.fps, clip.loop_mode, points, frames, rest.leg)
    source.meta, source.clip, source.character = dict(clip.meta), clip, character
    source.assumed = list(known.assumed)
    return source


def _points(
    skeleton: Skeleton, names: list[str], pos: np.ndarray, quat: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The points ``[T, 3]`` and the rotations ``[T, 3, 3]`` of the bodies that they are on."""
    points, turns = {}, {}
    for role, (name, offset) in skeleton.points.items():
        body = names.index(name)
        turns[role] = Rotation.from_quat(quat[:, body]).as_matrix()
        points[role] = pos[:, body] + turns[role] @ np.array(offset)
    return points, turns


def _measured(
    name: str, fps: float, loop_mode: LoopMode, points: dict[str, np.ndarray], frames: dict[str, np.ndarray], leg: float
) -> SourceMotion:
    if not 0.02 < leg < 20:
        raise UserError(f"{name}: its legs are {leg:.3g} m long; that is no length of a body in m")
    source = SourceMotion(name, fps, loop_mode, points, frames, leg, {}, {})
    for side in SIDES:
        height = points[f"{side}_ankle"][:, 2]
        source.stand[side] = float(np.quantile(height, 0.03))
    # Both feet stand on one floor: a foot that is never down does not make a floor of its own.
    floor = min(source.stand.values())
    for side in SIDES:
        source.stand[side] = min(source.stand[side], floor + 0.05 * leg)
        source.contact[side] = _contact(source, side)
    return source


def _contact(source: SourceMotion, side: str) -> np.ndarray:
    """Where the foot is low, and slow together with its toe."""
    good = np.ones(source.num_frames, dtype=bool)
    for role in (f"{side}_ankle", f"{side}_toe"):
        if role in source.points:
            place = source.points[role]
            level = source.stand[side] if role.endswith("ankle") else float(np.quantile(place[:, 2], 0.03))
            speed = np.linalg.norm(np.gradient(place, axis=0), axis=1) * source.fps
            window = max(1, round(0.05 * source.fps))
            good &= (place[:, 2] < level + _LOW * source.leg) & (
                uniform_filter1d(speed, window, mode="nearest") < _SLOW * source.leg
            )
    edges = np.flatnonzero(np.diff(np.concatenate([[0], good.view(np.int8), [0]])))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start < _SHORT * source.fps:
            good[start:end] = False
    return good


def _length(points: dict[str, np.ndarray], a: str, b: str) -> float:
    return float(np.median(np.linalg.norm(points[a] - points[b], axis=1)))


def _human_frames(
    source: SourceMotion, turns: dict[str, np.ndarray], skeleton: Skeleton, rest: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The frames of a person's parts: joints turn as they like at rest, so each is seen against the body's shape."""
    points = source.points
    middle = 0.5 * (points["left_hip"] + points["right_hip"])
    own = turns["pelvis"]
    across = (own.transpose(0, 2, 1) @ (points["left_hip"] - points["right_hip"])[..., None])[..., 0].mean(0)
    shoulders = "left_shoulder" in points and "right_shoulder" in points
    spine = 0.5 * (points["left_shoulder"] + points["right_shoulder"]) - middle if shoulders else own @ [0, 0, 1.0]
    if skeleton.up is not None:
        up = np.array(skeleton.up)
    else:
        legs = 0.5 * (rest["left_hip"] + rest["right_hip"] - rest["left_ankle"] - rest["right_ankle"])[0]
        upright = np.abs(legs).max() > 0.95 * np.linalg.norm(legs) and shoulders
        axis = np.zeros(3)
        axis[np.abs(legs).argmax()] = np.sign(legs[np.abs(legs).argmax()])
        average = (own.transpose(0, 2, 1) @ spine[..., None])[..., 0].mean(0)
        up = axis if upright and axis @ average > 0.7 * np.linalg.norm(average) else average
    frames = {"pelvis": own @ _axes(across[None], up[None])[0]}
    if shoulders and "chest" in turns:
        shape = _axes(points["left_shoulder"] - points["right_shoulder"], spine)
        frames["chest"] = turns["chest"] @ _mean(turns["chest"].transpose(0, 2, 1) @ shape)
        if "head" in turns:
            frames["head"] = turns["head"] @ _mean(turns["head"].transpose(0, 2, 1) @ frames["chest"])
    for side in SIDES:
        ankle, toe = f"{side}_ankle", f"{side}_toe"
        ahead = points[toe] - points[ankle] if toe in points else frames["pelvis"][..., 0]
        flat = ahead * [1.0, 1.0, 0.0]
        low = source.contact[side]
        if low.sum() < 3:
            low = points[ankle][:, 2] <= np.quantile(points[ankle][:, 2], 0.1)
        upright = np.tile([0.0, 0.0, 1.0], (len(flat), 1))
        stands = _axes(np.cross(upright, flat), upright)
        frames[ankle] = turns[ankle] @ _mean((turns[ankle].transpose(0, 2, 1) @ stands)[low])
    return frames


def _axes(across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Frames ``[T, 3, 3]`` whose y is ``across`` and whose z is as near to ``up`` as can be."""
    y = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
    x = np.cross(y, up)
    x /= np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def _mean(turns: np.ndarray) -> np.ndarray:
    """The rotation nearest to all of ``turns [T, 3, 3]``."""
    u, _, vt = np.linalg.svd(turns.mean(axis=0))
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
