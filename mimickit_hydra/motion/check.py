"""Finds defects of a motion clip, such as jumps, exchanged limbs and foot skate.

A finding is ``serious`` where training on the clip makes no sense until it is mended (a jump, exchanged limbs, feet far
below the ground), and a ``warning`` where a person should look.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel, JointType
from mimickit_hydra.motion.clip import LoopMode, MotionClip
from mimickit_hydra.motion.geometry import SupportPoints
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.motion.symmetry import other_side

OK, WARNING, SERIOUS = "ok", "warning", "serious"

JUMP_WINDOW = 5  # frames on either side that a step is compared with
JUMP_RATIO = 5.0  # a jump is this many times the usual step around it ...
JUMP_ANGLE = 0.35  # rad, ... and at least this much in one frame
JUMP_DISTANCE = 0.10  # m, the same for the root's position
JUMP_SERIOUS = 1.2  # rad in one frame; smaller jumps also occur where limbs hit something
STILL_ANGLE, STILL_DISTANCE = 0.05, 0.01  # the usual step is taken to be at least this
SWAP_ANGLE = 0.8  # rad summed over a pair of limbs
SWAP_RATIO = 0.35  # exchanging the sides must explain the step this much better
SEAM_ANGLE, SEAM_RATIO = 0.35, 2.0  # rad, and times the largest step inside the clip
PENETRATION_WARNING, PENETRATION_SERIOUS = 0.03, 0.10  # m
FLOATING = 0.10  # m, never nearer to the ground than this
LIMIT_WARNING, LIMIT_SERIOUS = 0.05, 0.5  # rad beyond the range; serious for hinges only
CONTACT_HEIGHT = 0.02  # m above the ground, a foot this low stands
GROUND_PART = 0.1  # of the frames have a foot lower than where a floating clip stands
SKATE_SPEED = 0.4  # m/s, median of a standing foot
FEW = 10  # frames of a finding that JSON names
FOOT_PART = 0.1  # a body that is lowest in more of the frames is a foot, where none is called one
FEET = re.compile(r"foot|toe|ankle", re.IGNORECASE)


@dataclass
class Finding:
    """The result of one check. ``frames`` are those concerned."""

    check: str
    status: str
    detail: str
    value: float | None = None
    frames: list[int] = field(default_factory=list)


@dataclass
class Report:
    """All findings of one clip."""

    file: str
    character: str
    frames: int
    fps: float
    length: float
    loop_mode: str
    findings: list[Finding]

    @property
    def serious(self) -> bool:
        return any(finding.status == SERIOUS for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain Python for ``json.dumps``; of the frames of each finding the first few."""
        findings = [{**asdict(finding), "frames": finding.frames[:FEW]} for finding in self.findings]
        return {**asdict(self), "findings": findings, "serious": self.serious}


@dataclass
class _Poses:
    """The kinematics of a clip, frames along the first axis."""

    clip: MotionClip
    character: CharacterModel
    root_pos: Tensor  # [T, 3]
    rots: Tensor  # [T, 1 + J, 4], root first
    body_pos: Tensor  # [T, B, 3]
    body_rot: Tensor  # [T, B, 4]
    points: SupportPoints

    @property
    def names(self) -> list[str]:
        return ["root", *self.character.joint_names[1:]]


def check_clip(clip: MotionClip, character: CharacterModel, points: SupportPoints | None = None) -> Report:
    """Run every check. Raises UserError if the clip does not belong to the character.

    ``points``: those of the character, for whoever checks several clips of it.
    """
    character = character.to("cpu")
    frames = MotionLibrary([clip], [1.0], character).frames()
    body_pos, body_rot = character.forward_kinematics(frames.root_pos, frames.root_rot, frames.joint_rot)
    rots = torch.cat([frames.root_rot.unsqueeze(1), frames.joint_rot], dim=1)
    points = SupportPoints(character) if points is None else points
    poses = _Poses(clip, character, frames.root_pos, rots, body_pos, body_rot, points)
    findings = [
        check_missing(poses),
        check_jumps(poses),
        check_swaps(poses),
        check_seam(poses),
        check_ground(poses),
        check_limits(poses),
        check_skate(poses),
    ]
    return Report(
        clip.label, character.name, clip.num_frames, clip.fps, clip.length, clip.loop_mode.name.lower(), findings
    )


def check_missing(poses: _Poses) -> Finding:
    """Find joints without data. (A missing root or hinge was refused when the clip was read.)"""
    missing = np.isnan(poses.clip.frames[:, 6:])
    columns = poses.character.dof_columns()
    joints = sorted({columns[i].rpartition("_")[0] for i in np.flatnonzero(missing.any(axis=0))})
    if not joints:
        return Finding("missing values", OK, "none")
    rows = np.flatnonzero(missing.any(axis=1))
    text = f"{', '.join(joints)}: NaN in {len(rows)} frames, read as the rest pose"
    return Finding("missing values", WARNING, text, float(len(rows)), [int(row) for row in rows])


def check_jumps(poses: _Poses) -> Finding:
    """Find steps between frames that are far larger than those around them."""
    turns = rot.quat_diff_angle(poses.rots[:-1], poses.rots[1:]).numpy()
    steps = (poses.root_pos[1:] - poses.root_pos[:-1]).norm(dim=-1).numpy()[:, None]
    jumps = _spikes(turns, JUMP_ANGLE, STILL_ANGLE)
    moves = _spikes(steps, JUMP_DISTANCE, STILL_DISTANCE)
    rows = np.flatnonzero(jumps.any(axis=1) | moves.any(axis=1))
    if not len(rows):
        return Finding("jumps", OK, f"largest step {turns.max():.2f} rad, root {steps.max():.3f} m", float(turns.max()))
    row = int(rows[0])
    what = [f"{poses.names[i]} {turns[row, i]:.2f} rad" for i in np.flatnonzero(jumps[row])]
    what += [f"root {steps[row, 0]:.2f} m"] if moves[row, 0] else []
    text = f"{len(rows)} sudden steps; after frame {row}: {', '.join(what[:3])}"
    status = SERIOUS if moves.any() or turns[jumps].max() > JUMP_SERIOUS else WARNING
    return Finding("jumps", status, text, float(turns[rows].max()), [int(row) for row in rows])


def check_swaps(poses: _Poses) -> Finding:
    """Find frames after which left and right limbs have changed places, plainly or mirrored."""
    limbs = _limbs(poses.character)
    if not limbs:
        return Finding("left/right swaps", OK, "no bodies named left and right")
    rows: list[int] = []
    where: list[str] = []
    for left, right in limbs:
        a, b = poses.rots[:, left], poses.rots[:, right]
        usual = _cost(a[:-1], a[1:]) + _cost(b[:-1], b[1:])
        plain = _cost(a[:-1], b[1:]) + _cost(b[:-1], a[1:])
        mirrored = _cost(_mirror(a[:-1]), b[1:]) + _cost(_mirror(b[:-1]), a[1:])
        exchanged = np.minimum(plain, mirrored)
        swap = _spikes(usual[:, None], SWAP_ANGLE, STILL_ANGLE)[:, 0] & (exchanged < SWAP_RATIO * usual)
        rows += np.flatnonzero(swap).tolist()
        where += [poses.names[left[0]]] if swap.any() else []
    if not rows:
        return Finding("left/right swaps", OK, f"none in {len(limbs)} pairs of limbs")
    rows = sorted(set(rows))
    text = f"{len(rows)} times the limbs at {', '.join(where)} change sides, first after frame {rows[0]}"
    return Finding("left/right swaps", SERIOUS, text, float(len(rows)), [int(row) for row in rows])


def check_seam(poses: _Poses) -> Finding:
    """Compare the pose at the end of a wrapping clip with the pose at its start; nothing blends them."""
    if poses.clip.loop_mode is not LoopMode.WRAP:
        return Finding("loop seam", OK, "the clip does not loop")
    angles = rot.quat_diff_angle(poses.rots[-1], poses.rots[0]).numpy()
    usual = float(rot.quat_diff_angle(poses.rots[:-1], poses.rots[1:]).max())
    rise = float(abs(poses.root_pos[-1, 2] - poses.root_pos[0, 2]))
    worst = int(angles.argmax())
    text = f"{poses.names[worst]} {angles[worst]:.2f} rad, height {rise:.3f} m"
    broken = angles[worst] > max(SEAM_ANGLE, SEAM_RATIO * usual) or rise > JUMP_DISTANCE
    detail = f"starting again moves {text}" + ("; consider loop mode clamp" if broken else "")
    return Finding("loop seam", WARNING if broken else OK, detail, float(angles[worst]))


def check_ground(poses: _Poses) -> Finding:
    """Measure the lowest point of the character over time against the ground."""
    if not len(poses.points):
        return Finding("ground", OK, "nothing of the character can touch it")
    height = poses.points.lowest(poses.body_pos, poses.body_rot)[..., 2]
    lowest, point = height.min(dim=1)
    worst = int(lowest.argmin())
    value = float(lowest[worst])
    body = poses.character.body_names[int(poses.points.body[point[worst]])]
    if value > FLOATING:
        return Finding("ground", WARNING, f"floats: never lower than {value:.3f} m", value, [worst])
    deep = np.flatnonzero(lowest.numpy() < -PENETRATION_WARNING)
    status = SERIOUS if value < -PENETRATION_SERIOUS else WARNING if len(deep) else OK
    text = f"lowest {body} at {value:+.3f} m"
    if len(deep):
        text += f"; {len(deep)} frames below -{PENETRATION_WARNING:g} m"
    return Finding("ground", status, text, value, [int(row) for row in deep])


def check_limits(poses: _Poses) -> Finding:
    """Find joint coordinates beyond their ranges."""
    character = poses.character
    dof = np.nan_to_num(poses.clip.frames[:, 6:])
    excess = np.maximum(character.dof_low - dof, dof - character.dof_high)
    worst = excess.max(axis=0)
    columns = character.dof_columns()
    beyond = sorted((i for i in range(len(columns)) if worst[i] > LIMIT_WARNING), key=lambda i: -worst[i])
    if not beyond:
        return Finding("joint limits", OK, "within their ranges", float(worst.max()))
    hinges = {character.dof_index[b] for b, kind in enumerate(character.joint_types) if kind is JointType.HINGE}
    serious = any(i in hinges and worst[i] > LIMIT_SERIOUS for i in beyond)
    text = ", ".join(
        f"{columns[i]} {worst[i]:.2f} rad ({(excess[:, i] > LIMIT_WARNING).mean():.0%} of frames)" for i in beyond[:3]
    )
    more = f" and {len(beyond) - 3} more" if len(beyond) > 3 else ""
    rows = np.flatnonzero((excess[:, beyond] > LIMIT_WARNING).any(axis=1))
    status = SERIOUS if serious else WARNING
    return Finding("joint limits", status, f"beyond by {text}{more}", float(worst.max()), [int(row) for row in rows])


def check_skate(poses: _Poses) -> Finding:
    """Measure how fast the lowest point of a standing foot moves over the ground, as the median over contact frames.

    A clip that floats is measured as if it stood where its feet are lowest.
    """
    if not len(poses.points) or not (feet := _feet(poses)):
        return Finding("foot skate", OK, "no foot that touches the ground")
    lowest = poses.points.lowest(poses.body_pos, poses.body_rot)
    moved = poses.points.moved(poses.body_pos, poses.body_rot)
    of_foot = [torch.nonzero(poses.points.body == foot).flatten() for foot in feet]
    heights = torch.stack([lowest[:, mine, 2].min(dim=1).values for mine in of_foot]).min(dim=0).values
    level = CONTACT_HEIGHT + max(0.0, float(heights.quantile(GROUND_PART)))
    speeds: list[np.ndarray] = []
    rows: list[int] = []
    for mine in of_foot:
        height, index = lowest[:-1, mine, 2].min(dim=1)
        point = mine[index].view(-1, 1, 1).expand(-1, 1, 3)
        start, end = lowest[:-1].gather(1, point)[:, 0], moved.gather(1, point)[:, 0]
        stands = (height < level) & (end[:, 2] < level)
        speed = (end - start)[:, :2].norm(dim=-1) * poses.clip.fps
        speeds.append(speed[stands].numpy())
        rows += torch.nonzero(stands & (speed > SKATE_SPEED)).flatten().tolist()
    standing = np.concatenate(speeds)
    if not len(standing):
        return Finding("foot skate", OK, "no standing foot")
    median, part = float(np.median(standing)), float((standing > SKATE_SPEED).mean())
    status = WARNING if median > SKATE_SPEED else OK
    detail = f"standing feet move at {median:.2f} m/s (median), {part:.0%} of the contact frames above {SKATE_SPEED:g}"
    return Finding("foot skate", status, detail, median, sorted(set(rows)) if status == WARNING else [])


def _feet(poses: _Poses) -> list[int]:
    """The bodies with a foot's name that touch the ground; without any, those that are lowest in many frames."""
    names, touching = poses.character.body_names, poses.points.body
    feet = [body for body in sorted(set(touching.tolist())) if FEET.search(names[body])]
    if feet:
        return feet
    which = touching[poses.points.lowest(poses.body_pos, poses.body_rot)[..., 2].argmin(dim=1)]
    counts = torch.bincount(which, minlength=len(names))
    return [int(body) for body in torch.nonzero(counts > FOOT_PART * len(which)).flatten()]


def _spikes(steps: np.ndarray, least: float, still: float) -> np.ndarray:
    """Where steps ``[T - 1, n]`` exceed both ``least`` and JUMP_RATIO times the median of the steps around them."""
    width = 2 * JUMP_WINDOW + 1
    padded = np.pad(steps.astype(np.float64), ((JUMP_WINDOW, JUMP_WINDOW), (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0).copy()
    windows[..., JUMP_WINDOW] = np.nan
    if len(steps) < 4:  # too few to know what is usual
        return steps > max(least, 2.0)
    usual = np.maximum(np.nanmedian(windows, axis=-1), still)
    return (steps > least) & (steps > JUMP_RATIO * usual)


def _cost(a: Tensor, b: Tensor) -> np.ndarray:
    """Summed angle ``[T]`` between rotations ``[T, n, 4]``."""
    return rot.quat_diff_angle(a, b).sum(-1).numpy()


def _mirror(q: Tensor) -> Tensor:
    """The rotation mirrored in the plane of x and z."""
    return q * torch.tensor([-1.0, 1.0, -1.0, 1.0])


def _limbs(character: CharacterModel) -> list[tuple[list[int], list[int]]]:
    """Pairs of limbs as lists of body indices, left and right; fixed bodies left out."""
    pair = {
        body: character.body_names.index(other_side(name))
        for body, name in enumerate(character.body_names)
        if other_side(name) in character.body_names
    }
    limbs: dict[int, list[int]] = {}
    for body in pair:
        top = body
        while character.parents[top] in pair:
            top = character.parents[top]
        if character.dof_dim[body]:
            limbs.setdefault(top, []).append(body)
    return [(bodies, [pair[body] for body in bodies]) for bodies in limbs.values()]
