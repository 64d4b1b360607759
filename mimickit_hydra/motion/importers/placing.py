"""Puts a recording in the order of a character: by names, else by the body poses that the file holds, else by request.

Where names do not say it, each order that the columns can have is tried: forward kinematics of the character either
gives the stored body poses or it does not. An order is taken only if it fits and the others do not; otherwise the user
is asked in one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel, JointType
from mimickit_hydra.motion.clip import MotionClip
from mimickit_hydra.motion.importers.recording import ISAAC, MUJOCO, WXYZ, XYZW, Recording, Wishes
from mimickit_hydra.motion.importers.root import with_root

FITS = 0.03  # m, mean: revisions of one robot differ by a centimetre, a wrong order by decimetres
APART, TIMES = 0.005, 3.0  # m, and times the best, by which the next best order has to be worse
LEVER = 0.1  # m at which an error of a body's rotation counts
LOOKED_AT = 64  # frames
TILT = 0.35  # rad: robots are upright most of the time
WANDERS = 0.06  # m, mean, by which the lowest body leaves its usual height: 0.03 where people fall and get up
LOST = 1e-3  # rad of a rotation that a hinge cannot make


class _Reading(NamedTuple):
    """One way to read the columns of a recording."""

    order: str
    columns: list[int]  # the file's column of each DoF
    bodies: list[tuple[int, int]]  # file's and character's index of bodies whose poses are stored
    quat: str
    triples: str


def to_clip(
    recording: Recording, character: CharacterModel, wishes: Wishes | None = None
) -> tuple[MotionClip, list[str]]:
    """The clip of a recording, and lines that say what was assumed. UserError with one line."""
    wishes, character = wishes or Wishes(), character.to("cpu")
    if recording.root_joints:
        recording = with_root(recording, character)
    notes = list(recording.assumed)
    fps = wishes.fps or recording.fps
    if fps is None:
        raise UserError(f"{recording.path}: does not say its frame rate; say --fps")
    notes.insert(0, f"frame rate: {fps:g} Hz, " + ("as you say" if wishes.fps else recording.rate))
    if recording.local_rot is not None:
        root_rot, joints = _of_bodies(recording, character, notes)
    else:
        root_rot, joints = _of_joints(recording, character, wishes, notes)
    columns = [torch.from_numpy(recording.root_pos), rot.quat_to_exp_map(rot.quat_unit(root_rot)), joints]
    frames = torch.cat(columns, dim=1).numpy().astype(np.float32)
    meta = {"file": str(recording.path), "source": recording.source or recording.path.name}
    return MotionClip(frames, fps, recording.loop_mode, recording.name, meta), notes


# ------------------------------------------------------------------------------------------------ rotations of bodies


def _of_bodies(recording: Recording, character: CharacterModel, notes: list[str]) -> tuple[Tensor, Tensor]:
    """Root rotations and coordinates of a recording of body rotations, by the names of the bodies."""
    assert recording.local_rot is not None
    names = {_plain(name): index for index, name in enumerate(recording.body_names)}
    missing = [name for name in character.body_names if _plain(name) not in names]
    if missing:
        raise UserError(
            f"{recording.path}: has no body {', '.join(missing[:5])} of character {character.name}; "
            f"a skeleton of its own is retargeted: mimickit motion retarget {recording.path} --to {character.name}"
        )
    local = torch.from_numpy(recording.local_rot[:, [names[_plain(name)] for name in character.body_names]])
    local = rot.quat_unit(local)
    rest = character.local_rot.double()[1:]
    turned = rot.quat_mul(rot.quat_conj(rest), local[:, 1:])
    joints = character.rot_to_dof(turned)
    lost = rot.quat_diff_angle(turned, character.dof_to_rot(joints).double())
    if float(lost.max()) > LOST:
        joint = character.joint_names[1 + int(lost.amax(0).argmax())]
        notes.append(
            f"rotations: up to {float(lost.max()):.3f} rad of {joint} is left out, which that joint cannot make"
        )
    notes.append("joint order: by the names of the bodies")
    return local[:, 0], joints


# ---------------------------------------------------------------------------------------------------- joint coordinates


def _of_joints(
    recording: Recording, character: CharacterModel, wishes: Wishes, notes: list[str]
) -> tuple[Tensor, Tensor]:
    readings = list(_readings(recording, character, wishes, notes))
    if not readings:
        raise UserError(f"{recording.path}: {_why_none(recording, character)}")
    made = [_pose(recording, character, reading) for reading in readings]
    errors = [_misfit(recording, character, reading, *pose) for reading, pose in zip(readings, made, strict=True)]
    best = _choose(recording, character, readings, made, errors, notes)
    return made[best]


def _why_none(recording: Recording, character: CharacterModel) -> str:
    """Why the columns of a recording cannot be those of a character."""
    width = 0 if recording.joints is None else recording.joints.shape[1]
    if width != character.num_dofs or recording.body_pos is None:
        return (
            f"its rows have {width} joints and character {character.name} has {character.num_dofs}: "
            "this is a motion of another robot"
        )
    several = _turn_several_ways(character)
    return (
        f"its joints are as many as {character.name}'s, but its {recording.body_pos.shape[1]} bodies are not "
        f"{character.name}'s {character.num_bodies}, which could tell "
        + ("how they turn: this is a motion of another model of the robot" if several else
           f"their order; say --order {MUJOCO} (depth-first)")
    )  # fmt: skip


def _turn_several_ways(character: CharacterModel) -> bool:
    """Whether a body has several hinges, whose columns can be angles or an exponential map."""
    split = zip(character.body_names, character.joint_names, strict=True)  # as motion.hinges calls what it splits
    return JointType.SPHERICAL in character.joint_types or any(body.endswith(f"/{joint}") for body, joint in split)


def _readings(recording: Recording, character: CharacterModel, wishes: Wishes, notes: list[str]) -> Iterator[_Reading]:
    quats = [wishes.quat or recording.quat] if wishes.quat or recording.quat else [XYZW, WXYZ]
    spherical = JointType.SPHERICAL in character.joint_types
    triples = [recording.triples] if recording.triples and spherical else ["exp", "hinges"] if spherical else ["exp"]
    if recording.joint_names:
        columns = _by_names(recording, character, notes)
        found = (_bodies(recording, character, MUJOCO, whole) for whole in (True, False))
        named = next((pairs for pairs in found if pairs is not None), [])
        for quat, triple in product(quats, triples):
            yield _Reading("names", columns, named, quat, triple)
        return
    assert recording.joints is not None
    if recording.joints.shape[1] != character.num_dofs:
        return
    wanted = wishes.order or recording.order
    seen: list[tuple[list[int], list[tuple[int, int]]]] = []
    for order, whole in product([wanted] if wanted else [MUJOCO, ISAAC], (True, False)):
        columns, bodies = _columns(character, order, whole), _bodies(recording, character, order, whole)
        if bodies is None or (columns, bodies) in seen:
            continue
        seen.append((columns, bodies))
        for quat, triple in product(quats, triples):
            yield _Reading(order, columns, bodies, quat, triple)
    if not seen and wanted == MUJOCO and not _turn_several_ways(character):
        assert recording.body_pos is not None
        notes.append(f"bodies: the file's {recording.body_pos.shape[1]} are not the character's, and are not looked at")
        for quat in quats:
            yield _Reading(MUJOCO, _columns(character, MUJOCO, True), [], quat, "exp")


def _by_names(recording: Recording, character: CharacterModel, notes: list[str]) -> list[int]:
    names: dict[str, int] = {}
    for index, name in enumerate(recording.joint_names):
        if names.setdefault(_plain(name), index) != index:
            raise UserError(f"{recording.path}: has joint {name!r} twice")
    wanted = [_plain(name) for name in character.dof_columns()]
    missing = [name for name, plain in zip(character.dof_columns(), wanted, strict=True) if plain not in names]
    if missing:
        raise UserError(
            f"{recording.path}: has no joint {', '.join(missing[:5])}"
            f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''} of character {character.name}; "
            f"its joints are {', '.join(list(recording.joint_names)[:5])} ..."
        )
    if extra := [name for name in recording.joint_names if _plain(name) not in wanted]:
        notes.append(f"joints left out, which {character.name} has not: {', '.join(extra[:8])}")
    return [names[name] for name in wanted]


def _plain(name: str) -> str:
    """A name without what projects add to it: ``left_knee`` of ``Left-Knee_joint_dof``."""
    name = name.lower().replace("-", "_").replace(" ", "_").rpartition("/")[2].rpartition(":")[2]
    for ending in ("_dof", "_joint", "_link"):
        name = name.removesuffix(ending)
    return name


def _tree(character: CharacterModel, order: str, whole: bool) -> list[int]:
    """Bodies in an order; unless ``whole``, those without a joint are part of what they are fixed to."""
    moving = [body for body in range(character.num_bodies) if whole or body == 0 or character.dof_dim[body]]
    if order == MUJOCO:
        return moving
    depth = [0] * character.num_bodies
    for body, parent in enumerate(character.parents[1:], start=1):
        depth[body] = depth[parent] + (body in moving)
    # Depth-first order and a stable sort: children stand in the order of their parents, and of the file.
    return sorted(moving, key=lambda body: depth[body])


def _columns(character: CharacterModel, order: str, whole: bool) -> list[int]:
    dofs = [character.dof_index[b] + k for b in _tree(character, order, whole) for k in range(character.dof_dim[b])]
    return np.argsort(dofs).tolist()


def _bodies(recording: Recording, character: CharacterModel, order: str, whole: bool) -> list[tuple[int, int]] | None:
    """Pairs of the file's and the character's bodies; None if their number is not that of the file."""
    if recording.body_pos is None:
        return []
    if recording.body_names:
        own = {_plain(name): body for body, name in enumerate(character.body_names)}
        names = [_plain(name) for name in recording.body_names]
        return [(index, own[name]) for index, name in enumerate(names) if name in own]
    tree = _tree(character, order, whole)
    return list(enumerate(tree)) if len(tree) == recording.body_pos.shape[1] else None


def _pose(recording: Recording, character: CharacterModel, reading: _Reading) -> tuple[Tensor, Tensor]:
    """Root rotations ``[T, 4]`` xyzw and coordinates ``[T, D]`` of a reading, float64."""
    assert recording.joints is not None
    joints = torch.from_numpy(recording.joints[:, reading.columns])
    if reading.triples == "hinges":
        joints = joints.clone()
        for body, kind in enumerate(character.joint_types):
            if kind is JointType.SPHERICAL:
                at = slice(character.dof_index[body], character.dof_index[body] + 3)
                quat = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
                for axis, angle in zip(torch.eye(3, dtype=torch.float64), joints[:, at].unbind(1), strict=True):
                    quat = rot.quat_mul(quat, rot.axis_angle_to_quat(axis, angle))
                joints[:, at] = rot.quat_to_exp_map(quat)
    root = recording.root_rot
    if root is None:
        return torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(len(joints), 4), joints
    return rot.quat_unit(torch.from_numpy(_xyzw(root, reading.quat))), joints


def _xyzw(quats: np.ndarray, order: str) -> np.ndarray:
    return np.roll(quats, -1, axis=-1) if order == WXYZ else quats


def _misfit(
    recording: Recording, character: CharacterModel, reading: _Reading, root_rot: Tensor, joints: Tensor
) -> float:
    """Mean distance m between the stored bodies and those of forward kinematics; NaN without any but the root."""
    if recording.body_pos is None or len(reading.bodies) < 2:
        return float("nan")
    rows = np.unique(np.linspace(0, len(joints) - 1, LOOKED_AT).astype(int))
    theirs, ours = zip(*reading.bodies, strict=True)
    pos, quat = character.forward_kinematics(
        torch.from_numpy(recording.root_pos[rows]).float(), root_rot[rows].float(),
        character.dof_to_rot(joints[rows].float()),
    )  # fmt: skip
    stored = torch.from_numpy(recording.body_pos[rows][:, list(theirs)]).float()
    error = float((pos[:, list(ours)] - stored).norm(dim=-1).mean())
    if recording.body_rot is not None:
        turned = torch.from_numpy(_xyzw(recording.body_rot[rows][:, list(theirs)], reading.quat)).float()
        error += LEVER * float(rot.quat_diff_angle(quat[:, list(ours)], rot.quat_unit(turned)).mean())
    return error


def _choose(
    recording: Recording, character: CharacterModel, readings: Sequence[_Reading],
    made: Sequence[tuple[Tensor, Tensor]], errors: list[float], notes: list[str],
) -> int:  # fmt: skip
    """The reading that is the right one; UserError if that cannot be told."""
    order = sorted(range(len(readings)), key=lambda index: errors[index] if errors[index] == errors[index] else np.inf)
    best = order[0]
    others = [index for index in order[1:] if not _same(made[best], made[index])]
    known = errors[best] == errors[best]
    by_bodies = known and errors[best] <= FITS
    if by_bodies:
        near = [index for index in others if errors[index] < max(TIMES * errors[best], errors[best] + APART)]
    else:
        near = others
    tilt = ""
    if near and not by_bodies and len({(reading.order, reading.triples) for reading in readings}) == 1:
        best, tilt = _by_uprightness(recording, character, readings, made)
    elif near:
        _ask(
            recording, [readings[index] for index in (best, *near)], [errors[best], *(errors[index] for index in near)]
        )
    notes += _told(recording, readings[best], by_bodies and bool(others), errors[best], tilt)
    return best


def _same(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> bool:
    return float((a[1] - b[1]).abs().max()) < 1e-6 and float(rot.quat_diff_angle(a[0], b[0]).max()) < 1e-6


def _by_uprightness(
    recording: Recording, character: CharacterModel, readings: Sequence[_Reading], made: Sequence[tuple[Tensor, Tensor]]
) -> tuple[int, str]:
    """The reading of the root's quaternion by which the robot stands, or else is on one floor; UserError if none is."""
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    tilts = [float(torch.acos(rot.quat_rotate(root, up)[:, 2].clamp(-1, 1)).mean()) for root, _ in made]
    first, second = sorted(range(len(tilts)), key=lambda index: tilts[index])[:2]
    if tilts[first] > TILT or tilts[second] < max(2.0 * tilts[first], tilts[first] + 0.05):
        wander = [_wander(recording, character, *pose) for pose in made]
        first, second = sorted(range(len(wander)), key=lambda index: wander[index])[:2]
        if wander[first] < WANDERS and wander[second] > max(TIMES * wander[first], WANDERS):
            return first, (
                f", by a floor from which the lowest body is {100 * wander[first]:.1f} cm in the mean; read the other "
                f"way {100 * wander[second]:.1f} cm"
            )
        found = ", ".join(f"{reading.quat} {tilt:.2f}" for reading, tilt in zip(readings, tilts, strict=True))
        raise UserError(
            f"{recording.path}: does not say how its quaternions are written, and both ways can be (mean tilt, rad: "
            f"{found}); say --quat {XYZW} (LAFAN1 of Unitree) or --quat {WXYZ}"
        )
    return first, f", by a mean tilt of {tilts[first]:.2f} rad; read the other way {tilts[second]:.2f} rad"


def _wander(recording: Recording, character: CharacterModel, root_rot: Tensor, joints: Tensor) -> float:
    """How far the lowest body is from its usual height in the mean, m."""
    rows = np.unique(np.linspace(0, len(joints) - 1, LOOKED_AT).astype(int))
    pos, _ = character.forward_kinematics(
        torch.from_numpy(recording.root_pos[rows]).float(), root_rot[rows].float(),
        character.dof_to_rot(joints[rows].float()),
    )  # fmt: skip
    low = pos[..., 2].amin(dim=1)
    return float((low - low.median()).abs().mean())


def _ask(recording: Recording, readings: Sequence[_Reading], errors: Sequence[float]) -> None:
    fits = ", ".join(
        f"{reading.order} order {reading.quat}{'' if reading.triples == 'exp' else ' hinges'} {error:.3f}"
        for reading, error in zip(readings, errors, strict=True)
    )
    if errors[0] != errors[0]:
        raise UserError(
            f"{recording.path}: does not say the order of its joints; say --order {MUJOCO} (depth-first) or "
            f"--order {ISAAC} (breadth-first)"
        )
    why = "no order of its joints gives its body poses" if errors[0] > FITS else "several orders give its body poses"
    raise UserError(
        f"{recording.path}: {why} (mean error, m: {fits}); say --order {MUJOCO} (depth-first) or --order {ISAAC} "
        f"(breadth-first){', and --quat' if len({r.quat for r in readings}) > 1 else ''}"
    )


def _told(recording: Recording, reading: _Reading, by_bodies: bool, error: float, tilt: str) -> list[str]:
    """What the user is told of a reading."""
    how = {"names": "by the names of the joints", MUJOCO: "depth-first", ISAAC: "breadth-first"}[reading.order]
    if by_bodies:
        how += f"; by forward kinematics, which gives the file's body poses to {error * 1e3:.1f} mm"
    elif reading.order != "names":
        how += f", as {recording.made_by or 'you say'}"
    lines = [f"joint order: {how}"]
    if error > FITS:
        lines.append(f"body poses of the file are {error:.3f} m off: they are of another model of the robot, or wrong")
    if recording.root_rot is None:
        return [*lines, "root rotation: the file has none; upright, facing x"]
    return [*lines, f"quaternions: {reading.quat}{tilt}"]
