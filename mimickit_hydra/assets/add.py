"""Makes a character of a robot's file: derives what a run needs to know and writes it as one YAML, with a clip."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mimickit_hydra.assets.fetch import PACKAGES
from mimickit_hydra.assets.own_file import drives_like, with_missing
from mimickit_hydra.assets.trial import SECONDS, overlaps, settle
from mimickit_hydra.config import roots
from mimickit_hydra.config.groups import groups
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.errors import UserError, suggestion
from mimickit_hydra.files import write_wanted
from mimickit_hydra.foreign import read_yaml
from mimickit_hydra.mj import mujoco
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.anatomy import Anatomy, describe, standing, upright
from mimickit_hydra.motion.character import CharacterModel, JointType
from mimickit_hydra.motion.clip import LoopMode, MotionClip, save_clip
from mimickit_hydra.motion.geometry import SupportPoints
from mimickit_hydra.motion.mjcf import load, read_robot, robot_of
from mimickit_hydra.motion.robot import Robot
from mimickit_hydra.motion.urdf import mjcf_of_urdf

SUFFIXES = (".xml", ".urdf")
_STANDS = re.compile(r"home|stand|default|init", re.IGNORECASE)
_CLIP_FPS, _CLIP_SECONDS = 30, 2
_ALONG = 0.9  # cosine between the axes of two joints of one name that turn alike
_ALIKE = ("zero_center_action", "action_std", "actor_learning_rate", "pose_termination_dist")


class Posed(NamedTuple):
    """An initial pose ``[6 + D]``, where it comes from, and whether a file gave it."""

    values: np.ndarray
    source: str
    given: bool = False


@dataclass
class Added:
    """A character that was derived from a file: what its YAML says, and where it came from."""

    name: str
    char_file: Path
    char_value: str  # as the YAML names it
    robot: Robot
    character: CharacterModel
    anatomy: Anatomy
    posed: Posed
    gains: str | None
    values: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)


def target_folder() -> Path:
    """The config folder that is written to: the first that ``--config-dir`` or MIMICKIT_CONF names, else the user's."""
    listed = [part for part in os.environ.get(roots.CONF_ENV_VAR, "").split(os.pathsep) if part]
    return Path(listed[0]).expanduser() if listed else roots.user_dir()


def add(file: Path, name: str = "", like: str = "", replace: bool = False) -> Added:
    """Derive a character from an MJCF or a URDF and write it. UserError for what is no robot that can walk."""
    conf = target_folder()
    name = _name(file, name, conf, replace)
    notes: list[str] = []
    made: list[Path] = []
    beside = conf.resolve().parent
    char_file = file.expanduser().resolve()
    value = str(char_file.relative_to(beside) if char_file.is_relative_to(beside / "data") else char_file)
    own_value = f"data/assets/{name}/{name}.xml"
    own = beside / own_value
    suffix = char_file.suffix.lower()
    if suffix == ".urdf":
        text, notes = mjcf_of_urdf(char_file)
        _write(own, text)
        made, char_file, value = [own], own, own_value
    elif suffix != ".xml":
        raise UserError(f"{file}: found {file.suffix or 'no extension'!r}, must be an MJCF (.xml) or a URDF (.urdf)")
    try:
        added = derive(char_file, name, value, like)
        notes += added.notes
        if _write_missing(added, like, own, notes):
            made = [own]
            added = derive(own, name, own_value, like, added.posed)
        if not added.posed.given and (settled := _settled(added)) is not None:
            added = derive(added.char_file, name, added.char_value, like, settled)
    except UserError as error:
        for path in made:
            path.unlink()
        raise UserError(str(error).replace(str(own), str(file))) from None  # the user's, not what was made of it
    added.notes, added.written = notes, made
    _write_character(added, conf, like)
    return added


def _write_missing(added: Added, like: str, own: Path, notes: list[str]) -> bool:
    """Write the robot's file to ``own`` with the drives and the contact excludes that it lacks, and note which.

    False where it lacks none, or cannot be written, which is noted too.
    """
    other = _robot_like(like)
    drives = drives_like(added.robot, other) if other is not None else {}
    deep = overlaps(added.char_file, added.posed.values, added.gains)
    if not drives and not deep:
        return False
    try:
        text = with_missing(added.char_file, added.robot, other, drives, deep)
    except UserError as error:
        notes.append(str(error))
        return False
    _write(own, text)
    notes += [
        f"{a} and {b} are {depth * 1000:.0f} mm inside each other in the initial pose: they do not touch in {own}"
        for (a, b), depth in deep.items()
    ]
    notes += [f"{len(drives)} joints have {like}'s gains, and its armature where they had none, in {own}"] * bool(
        drives
    )
    return True


def derive(char_file: Path, name: str, value: str, like: str = "", posed: Posed | None = None) -> Added:
    """What a character's YAML says, by its file alone; ``posed`` is an initial pose that is known already."""
    source = load(char_file)
    robot = robot_of(source)
    character = CharacterModel.from_robot(robot, char_file)
    points = SupportPoints(character)
    if not len(points):
        raise UserError(
            f"{char_file}: nothing of it can touch the ground; give its feet geoms with contype 1{_scene(char_file)}"
        )
    alike = _alike(like)
    posed = posed or _pose_like(_pose(char_file, source.model, robot, character), alike, character, like)
    pose = standing(character, points, posed.values)
    anatomy = describe(character, points, pose)
    gains = _gains(robot)
    values: dict[str, Any] = {
        "init_pose": [round(float(x), 4) + 0.0 for x in pose],
        "key_bodies": anatomy.key_bodies,
        "contact_bodies": anatomy.contact_bodies,
        "end_effectors": anatomy.end_effectors,
        "joint_err_w": anatomy.joint_err_w,
        "pose_termination_dist": min(1.0, max(0.1, round(0.65 * anatomy.extent, 1))),
    }
    if anatomy.anchor:
        values["anchor_body"] = anatomy.anchor
    if anatomy.symmetry:
        values["symmetry"] = anatomy.symmetry
    if gains:
        values["gains"] = gains
    hinges = all(kind is not JointType.SPHERICAL for kind in character.joint_types)
    if hinges and bool(((robot.dof_low < 0.0) & (robot.dof_high > 0.0)).all()):
        values["zero_center_action"] = True
    for key in _ALIKE if alike else ():
        values.pop(key, None)
        values.update({key: alike[key]} if key in alike else {})
    return Added(
        name, char_file, value, robot, character, anatomy, posed._replace(values=pose), gains, values,
        [*robot.notes, *anatomy.notes],
    )  # fmt: skip


def _scene(char_file: Path) -> str:
    scene = char_file.with_name("scene.xml")
    return f", or add {scene}, which may say so" if scene.is_file() and scene != char_file else ""


def _name(file: Path, name: str, conf: Path, replace: bool) -> str:
    stem = file.resolve().parent.name if file.stem == "scene" else file.stem
    name = name or re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UserError(f"--name: found {name!r}, must be a word of letters, digits and _ that begins with a letter")
    for group in ("character", "motion"):
        option = name if group == "character" else f"{name}_stand"
        taken = {entry.name: entry.path for entry in groups()[group].options}.get(option)
        own = conf / group / f"{option}.yaml"
        if taken and not (replace and own.exists() and taken.resolve() == own.resolve()):
            hint = "; --force replaces it" if taken.resolve() == own.resolve() else ""
            raise UserError(f"--name: found {name!r}, but there is {roots.shown(taken)}; must be a new name{hint}")
    return name


def _alike(like: str) -> dict[str, Any]:
    """The values of a character that is to be taken as an example, with the place of its file."""
    if not like:
        return {}
    options = {option.name: option.path for option in groups()["character"].options}
    if like not in options:
        raise UserError(f"--like: found {like!r}, must be a character{suggestion(like, list(options))}")
    values: dict[str, Any] = read_yaml(options[like])
    try:
        values["char_file"] = resolve_data_file(str(values.get("char_file")))
    except UserError as error:
        raise UserError(f"{error}; mimickit assets fetch {like}" if like in PACKAGES else str(error)) from None
    return values


def _pose(path: Path, model: mujoco.MjModel, robot: Robot, character: CharacterModel) -> Posed:
    """A pose from a key frame of the file, else the angles nearest to zero."""
    pose = np.zeros(6 + robot.num_dofs)
    pose[6:] = np.clip(0.0, robot.dof_low, robot.dof_high)
    spec = mujoco.MjSpec.from_file(str(path))
    keys = [key for key in spec.keys if len(key.qpos)]
    for key in sorted(keys, key=lambda key: not _STANDS.search(key.name or "")):
        qpos = np.array(list(key.qpos))
        if len(qpos) != model.nq or not np.isfinite(qpos).all():
            continue
        if int(model.jnt_type[0]) == mujoco.mjtJoint.mjJNT_FREE:
            mujoco.mju_quat2Vel(pose[3:6], qpos[3:7], 1.0)  # the exponential map
        pose[6:] = _dofs(model, robot, qpos)
        return Posed(pose, f"from its key frame {key.name!r}", True)
    turn = torch.tensor(np.roll(model.body_quat[1], -1))
    tilt = rot.quat_to_exp_map(rot.quat_mul(rot.heading_quat_inv(turn), turn))  # of the root, as the file puts it
    pose[3:6] = tilt.numpy() if float(tilt.norm()) > 1e-6 else upright(character, pose)
    return Posed(pose, "at the angles nearest to zero that the ranges allow (it has no key frame)")


def _robot_like(like: str) -> Robot | None:
    values = _alike(like)
    return read_robot(values["char_file"], values.get("gains")) if values else None


def _pose_like(posed: Posed, alike: dict[str, Any], character: CharacterModel, like: str) -> Posed:
    """The pose with the angles of the joints that the example has too: of the same name, axis, and in their range."""
    if not alike.get("init_pose"):
        return posed
    other = CharacterModel.from_file(alike["char_file"])
    angles = dict(zip(other.dof_columns(), alike["init_pose"][6:], strict=True))
    axes, pose, same = _axes(other), posed.values.copy(), 0
    for dof, (column, axis) in enumerate(_axes(character).items()):
        fits = column in angles and character.dof_low[dof] <= angles[column] <= character.dof_high[dof]
        if fits and float(axis @ axes[column]) > _ALONG:
            pose[6 + dof], same = angles[column], same + 1
    if not same:
        return posed
    return Posed(pose, f"{same} of {character.num_dofs} joints as {like}'s, others {posed.source}", True)


def _axes(character: CharacterModel) -> dict[str, np.ndarray]:
    """The axis ``[3]`` of each degree of freedom in the world where all are at zero, by its name."""
    rest = torch.tensor([0.0, 0.0, 0.0, 1.0])
    _, frames = character.forward_kinematics(torch.zeros(3), rest, rest.expand(character.num_joints, 4))
    own = [
        (body, character.joint_axes[body : body + 1] if dim == 1 else torch.eye(3))
        for body, dim in enumerate(character.dof_dim) if dim
    ]  # fmt: skip
    turned = torch.cat([rot.quat_rotate(frames[body].expand(len(axes), 4), axes) for body, axes in own]).numpy()
    return dict(zip(character.dof_columns(), turned, strict=True))


def _settled(added: Added) -> Posed | None:
    """The pose in which a robot stands that was held for a while; that of the middle of its ranges where it falls."""
    pose, low, high = added.posed.values, added.character.dof_low, added.character.dof_high
    middle = pose.copy()
    middle[6:] = np.where(np.isfinite(low + high), 0.5 * (low + high), pose[6:])
    points = SupportPoints(added.character)
    for start, what in ((pose, added.posed.source), (middle, "at the middle of its ranges")):
        start = standing(added.character, points, start)
        settled = settle(added.char_file, start, added.gains)
        if settled is not None:
            return Posed(settled, f"{what}, held for {SECONDS:g} s, after which it stands so")
    return None


def _dofs(model: mujoco.MjModel, robot: Robot, qpos: np.ndarray) -> np.ndarray:
    """Our joint coordinates ``[D]`` from MuJoCo's: the same angles, but exponential maps for three hinges x y z."""
    hinges = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE]
    angles = np.array([qpos[model.jnt_qposadr[j]] for j in hinges])
    start = 0
    for dim in robot.dof_dims:
        if dim == 3:
            total = np.array([1.0, 0.0, 0.0, 0.0])
            for axis, angle in zip(np.eye(3), angles[start : start + 3], strict=True):
                turn, product = np.zeros(4), np.zeros(4)
                mujoco.mju_axisAngle2Quat(turn, axis, angle)
                mujoco.mju_mulQuat(product, total, turn)
                total = product
            mujoco.mju_quat2Vel(angles[start : start + 3], total, 1.0)  # the exponential map
        start += int(dim)
    return angles


def _gains(robot: Robot) -> str | None:
    """Where the gains of joints come from that the file gives none."""
    without = robot.without_gains("pos")
    if not without.any():
        return None
    return "from_armature" if bool((robot.armature[without] > 0.0).all()) else "from_inertia"


# ------------------------------------------------------------------------------------------------------------ writing


def _write_character(added: Added, conf: Path, like: str) -> None:
    name = added.name
    clip = f"data/motions/{name}/{name}_stand.npz"
    frames = np.repeat(added.posed.values[None], _CLIP_FPS * _CLIP_SECONDS + 1, axis=0)
    save_clip(
        conf.resolve().parent / clip,
        MotionClip(
            frames.astype(np.float32), _CLIP_FPS, LoopMode.WRAP, f"{name}_stand", {"source": "its initial pose"}
        ),
    )
    motion = conf / "motion" / f"{name}_stand.yaml"
    _write(motion, f"# {name} stands still: enough to try training\ndefaults:\n  - base_motion\n  - _self_\n\n"
                   f"name: {name}_stand\ncharacter: {name}\nmotion_file: {clip}\n")  # fmt: skip
    own = conf / "character" / f"{name}.yaml"
    _write(own, yaml_text(added, like))
    added.written += [own, motion, conf.resolve().parent / clip]


def yaml_text(added: Added, like: str = "") -> str:
    """The text of the character's YAML."""
    size = f"{added.robot.num_dofs} DoFs, {added.robot.masses.sum():.1f} kg, {added.anatomy.height:.2f} m"
    lines = [
        f"# {added.name}: {size}; made by mimickit character add{f' --like {like}' if like else ''}",
        "defaults:",
        "  - base_character",
        f"  - override /motion@_global_.motion: {added.name}_stand",
        "  - _self_",
        "",
        f"name: {added.name}",
        f"char_file: {_quoted(added.char_value)}",
        f"# root position (m), root exponential map (rad), then the DoFs: {added.posed.source}",
    ]
    for key, value in added.values.items():
        lines += _lines(key, value)
    return "\n".join(lines) + "\n"


def _lines(key: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}:", *(f"  {_quoted(k)}: {_quoted(v)}" for k, v in value.items())]
    if not isinstance(value, list):
        return [f"{key}: {str(value).lower() if isinstance(value, bool) else value}"]
    words = [_quoted(item) if isinstance(item, str) else f"{item:g}" for item in value]
    rows, row = [], f"{key}: ["
    for k, word in enumerate(words):
        piece = word + (", " if k + 1 < len(words) else "]")
        if len(row) + len(piece) > 110:
            rows.append(row.rstrip())
            row = " " * 12
        row += piece
    return [*rows, row if words else f"{key}: []"]


def _quoted(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_/.~][A-Za-z0-9_/.\-~]*", text)
    if plain and text.lower() not in ("true", "false", "null", "yes", "no", "on", "off", "y", "n"):
        return text
    return "'" + text.replace("'", "''") + "'"


def _write(path: Path, text: str) -> None:
    write_wanted(path, lambda file: file.write(text.encode()))


__all__ = ["SUFFIXES", "Added", "Posed", "add", "derive", "target_folder", "yaml_text"]
