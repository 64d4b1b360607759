"""Where the points of a robot should be: the source's pose with the robot's own lengths, its feet on the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import convolve1d
from scipy.spatial.transform import Rotation

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.geometry import SupportPoints
from mimickit_hydra.motion.retarget.rest import Rest
from mimickit_hydra.motion.retarget.skeletons import SIDES, Skeleton
from mimickit_hydra.motion.retarget.source import SourceMotion

_EASE = 0.12  # s, in which a foot gets from its free path to where it stands
_LIMB = {"knee": "hip", "elbow": "shoulder", "wrist": "elbow"}


@dataclass
class Targets:
    """``points [T, 3]`` m of the robot's points, ``turns [T, 3, 3]`` of the bodies they are on, world, by role."""

    points: dict[str, np.ndarray]
    turns: dict[str, np.ndarray]
    scale: float
    contact: dict[str, np.ndarray]  # [T] bool of each side


def make_targets(
    source: SourceMotion, character: CharacterModel, skeleton: Skeleton, rest: Rest, support: SupportPoints,
    scale: float | None = None, same: bool = False,
) -> Targets:  # fmt: skip
    """Place a robot's points: way and steps are scaled as the legs are, or by ``scale``; limbs keep their directions.

    A foot that stands is flat, on the ground, and stays where it is; where source and robot have the ``same`` joints,
    it does what it does in the source, and only pelvis and feet have targets. UserError where legs have no length.
    """
    if rest.leg < 0.02:
        raise UserError(f"{character.name}: its legs are {rest.leg:.3g} m long; name its points in a YAML")
    scale = rest.leg / source.leg if scale is None else scale
    out = Targets({}, {}, scale, source.contact)
    for role, frame in source.frames.items():
        if role in rest.turns:
            out.turns[role] = frame @ rest.turns[role]
    if same:
        kept = ("pelvis", "left_ankle", "right_ankle")
        points = {role: source.points[role] * scale for role in kept}
        return Targets(points, {role: out.turns[role] for role in kept}, scale, source.contact)
    ground = _ground(character, skeleton, rest, support)
    _place_feet(source, out, character, skeleton, rest, support, ground)
    _place_body(source, out, rest, ground)
    for side in SIDES:
        for part, above in _LIMB.items():
            end, start = f"{side}_{part}", f"{side}_{above}"
            if all(role in there for role in (end, start) for there in (source.points, rest.points)):
                way = source.points[end] - source.points[start]
                way /= np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)
                out.points[end] = out.points[start] + way * rest.length(start, end)
    return out


def _ground(character: CharacterModel, skeleton: Skeleton, rest: Rest, support: SupportPoints) -> dict[str, float]:
    """The height (m) of each ankle over the ground where its foot stands flat."""
    return {
        side: float(-_lowest(character, skeleton, support, side, rest.turns[f"{side}_ankle"][None])[0])
        for side in SIDES
    }


def _lowest(
    character: CharacterModel, skeleton: Skeleton, support: SupportPoints, side: str, turns: np.ndarray
) -> np.ndarray:
    """How far (m, negative) the foot and what hangs on it reach below the ankle's point, for rotations [T, 3, 3]."""
    name, offset = skeleton.points[f"{side}_ankle"]
    foot = character.body_names.index(name)
    quats = Rotation.from_matrix(turns).as_quat()
    poses = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(len(turns), character.num_bodies, 1)
    places = torch.zeros(len(turns), character.num_bodies, 3)
    poses[:, foot] = torch.from_numpy(quats).float()
    mine = {foot}
    for body in range(foot + 1, character.num_bodies):  # toes are taken as they are at rest
        if (parent := character.parents[body]) in mine:
            mine.add(body)
            poses[:, body] = rot.quat_mul(poses[:, parent], character.local_rot[body])
            places[:, body] = places[:, parent] + rot.quat_rotate(poses[:, parent], character.local_pos[body])
    which = [k for k, body in enumerate(support.body.tolist()) if body in mine]
    if not which:
        return np.zeros(len(turns))
    low = support.lowest(places, poses)[:, which, 2].amin(dim=1).numpy()
    return low - (turns @ np.array(offset))[:, 2]


def _place_feet(
    source: SourceMotion, out: Targets, character: CharacterModel, skeleton: Skeleton, rest: Rest,
    support: SupportPoints, ground: dict[str, float],
) -> None:  # fmt: skip
    for side in SIDES:
        role = f"{side}_ankle"
        place = source.points[role] * out.scale
        place[:, 2] += ground[side] - source.stand[side] * out.scale
        stands = source.contact[side]
        weight = _eased(stands, round(_EASE * source.fps))[:, None]
        turns = out.turns[role]
        heading = np.arctan2(source.frames[role][:, 1, 0], source.frames[role][:, 0, 0])
        held_place, held_angle = place.copy(), np.unwrap(heading)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], stands.view(np.int8), [0]])))
        spans = list(zip(edges[::2], edges[1::2], strict=True))
        nearest = _nearest(spans, len(place))
        for k, (start, end) in enumerate(spans):
            mine = nearest == k
            held_place[mine] = np.median(place[start:end], axis=0)
            held_angle[mine] = np.median(held_angle[start:end])
        held_place[:, 2] = np.minimum(held_place[:, 2], ground[side])
        flat = Rotation.from_rotvec(held_angle[:, None] * [0.0, 0.0, 1.0]).as_matrix() @ rest.turns[role]
        out.turns[role] = _between(turns, flat, weight[:, 0])
        place = place + weight * (held_place - place)
        low = _lowest(character, skeleton, support, side, out.turns[role])
        place[:, 2] = np.where(stands, -low, np.maximum(place[:, 2], -low))
        out.points[role] = place


def _nearest(spans: list[tuple[int, int]], count: int) -> np.ndarray:
    """For each frame the span that it is in or nearest to; -1 without any."""
    if not spans:
        return np.full(count, -1)
    rows = np.arange(count)
    away = np.stack([np.maximum(np.maximum(start - rows, rows - end + 1), 0) for start, end in spans])
    return away.argmin(axis=0)


def _eased(stands: np.ndarray, frames: int) -> np.ndarray:
    """1 where a foot stands, falling smoothly to 0 over some frames on either side."""
    weight = np.zeros(len(stands))
    for shift in range(-frames, frames + 1):
        part = 0.5 + 0.5 * np.cos(np.pi * abs(shift) / (frames + 1))
        moved = np.zeros(len(stands), dtype=bool)
        if shift >= 0:
            moved[shift:] = stands[: len(stands) - shift]
        else:
            moved[:shift] = stands[-shift:]
        weight = np.maximum(weight, part * moved)
    return weight


def _between(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Rotations ``[T, 3, 3]`` between ``a`` and ``b``, these at weights ``[T]`` of 0 and 1."""
    way = Rotation.from_matrix(a.transpose(0, 2, 1) @ b).as_rotvec()
    return a @ Rotation.from_rotvec(way * weight[:, None]).as_matrix()


def _place_body(source: SourceMotion, out: Targets, rest: Rest, ground: dict[str, float]) -> None:
    points = source.points
    stand, own = np.mean(list(source.stand.values())), np.mean(list(ground.values()))
    middle = 0.5 * (points["left_hip"] + points["right_hip"]) * out.scale
    middle[:, 2] += own - stand * out.scale
    turn = out.turns["pelvis"] @ rest.turns["pelvis"].T
    hips = 0.5 * (rest.points["left_hip"] + rest.points["right_hip"])
    out.points["pelvis"] = middle + turn @ (rest.points["pelvis"] - hips)
    for side in SIDES:
        out.points[f"{side}_hip"] = middle + turn @ (rest.points[f"{side}_hip"] - hips)
    if "chest" in out.turns:
        # The waist is where the later of the two bodies has its joint.
        chest, pelvis = rest.joints["chest"], rest.joints["pelvis"]
        waist = pelvis if np.allclose(chest, 0.0) else chest
        upper = out.turns["chest"] @ rest.turns["chest"].T
        at = out.points["pelvis"] + turn @ (waist - rest.points["pelvis"])
        for side in SIDES:
            if f"{side}_shoulder" in rest.points:
                out.points[f"{side}_shoulder"] = at + upper @ (rest.points[f"{side}_shoulder"] - waist)


def smoothed(values: np.ndarray, frames: int) -> np.ndarray:
    """Values ``[T]`` averaged with a smooth window of ``2 frames + 1``, the ends repeated."""
    window = np.hanning(2 * frames + 3)[1:-1]
    return convolve1d(values, window / window.sum(), mode="nearest")
