"""Reads a robot from an MJCF file as MuJoCo compiles it, so that nothing in the file means anything else here.

Before compiling, what belongs to a scene rather than to a robot goes: floors, lights, cameras, sensors, key frames.
What cannot be simulated is an error that names it, and what is simulated otherwise is a note.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_bytes
from mimickit_hydra.mj import mujoco
from mimickit_hydra.motion.drives import read_drives
from mimickit_hydra.motion.hinges import split, to_split
from mimickit_hydra.motion.robot import NO_LIMIT, Geom, Robot

_FINITE = ("body_mass", "body_inertia", "body_pos", "body_quat", "jnt_axis", "jnt_pos", "jnt_range", "jnt_stiffness",
           "dof_damping", "dof_armature", "dof_frictionloss", "actuator_gear", "actuator_ctrlrange",
           "actuator_forcerange")  # fmt: skip
_SHOWN = 8  # names in a line
_PRIMITIVES = {"mjGEOM_SPHERE": ("sphere", 1), "mjGEOM_CAPSULE": ("capsule", 2), "mjGEOM_BOX": ("box", 3)}


@dataclass
class Source:
    """A file read and cleaned: its tree, which may be edited, and the model compiled from it before."""

    path: Path
    spec: Any  # MjSpec
    root: Any  # MjsBody
    bodies: list[Any]  # MjsBody, depth-first
    model: mujoco.MjModel
    hinges: list[list[int]]  # joint ids in ``model`` of each body, none for the root
    joint_names: dict[int, str]  # as the file calls them, "" where it does not
    ground_pairs: list[Any] = field(default_factory=list)  # MjsPair with something of the world, and the robot's geom
    ground_excludes: list[str] = field(default_factory=list)  # bodies that do not touch the world
    notes: list[str] = field(default_factory=list)

    def fail(self, text: str) -> UserError:
        return UserError(f"{self.path}: {text}")


def read_robot(path: str | Path, gains: str | float | None = None) -> Robot:
    """The robot of an MJCF file; ``gains`` says what joints get whose gains the file does not state (:mod:`.drives`).

    Raises UserError with one line for a file that is missing, broken, or holds what cannot be simulated.
    """
    return robot_of(load(path), gains)


def load(path: str | Path, *, drawn: bool = False) -> Source:
    """Read, clean, compile and check a file. Raises UserError as :func:`read_robot`.

    Unless it is to be ``drawn``, meshes that only show are left out, and their files need not be there.
    """
    path = Path(path)
    if path.suffix.lower() != ".xml":
        raise UserError(f"{path}: a character file must be MJCF (.xml), found {path.suffix or 'no extension'!r}")
    read_bytes(path)  # a pipe, a pointer of Git LFS or a web page is none for MuJoCo
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a valid MJCF file: {one_line(error)}") from None
    try:
        spec.compiler.fusestatic = False  # every body of the file must stay a body
        source = Source(path, spec, None, [], None, [], {})
        _drop_scenery(source)
        _drop_settings(source)
        source.root = _only_tree(source)
        _free_root(source)
        source.bodies = list(_depth_first(source.root))
        _name_bodies(source)
        if not drawn:
            _drop_shown(source)
        _keep_contacts(source)
        source.model = _compile(source)
        if several := to_split(source.model, source.bodies):
            _split(source, several)
        source.hinges = [_joints_of(source, body, is_root=k == 0) for k, body in enumerate(source.bodies)]
        _check_kept(source)
    except UnicodeDecodeError as error:  # MuJoCo takes names in any encoding
        raise UserError(f"{path}: a name in it is not text in UTF-8 ({one_line(error)})") from None
    return source


def take_options(source: Source, option: Any) -> None:
    """Give the file the options of the scene that it joins, which MuJoCo would warn of otherwise."""
    for name in (name for name in dir(option) if not name.startswith("_")):
        setattr(source.spec.option, name, getattr(option, name))


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


# ------------------------------------------------------------------------------------------------- before compiling


def _drop_scenery(source: Source) -> None:
    spec = source.spec
    kinds = ("sensors", "keys", "lights", "cameras", "tuples", "texts", "numerics", "skins")
    for element in [element for kind in kinds for element in list(getattr(spec, kind))]:
        spec.delete(element)
    for element in [*spec.worldbody.geoms, *spec.worldbody.sites]:
        spec.delete(element)
    hills = {geom.hfieldname for geom in spec.geoms}
    for hfield in [hfield for hfield in spec.hfields if hfield.name not in hills]:
        spec.delete(hfield)


def _drop_settings(source: Source) -> None:
    """Note what the file says of the world, which is the engine's business like all settings of the simulator."""
    spec, default = source.spec, mujoco.MjSpec()
    for name in ("gravity", "wind", "density", "viscosity"):
        found = getattr(spec.option, name)
        if not np.array_equal(found, getattr(default.option, name)):
            value = " ".join(f"{number:g}" for number in np.atleast_1d(found))
            source.notes.append(f'its <option {name}="{value}"/> is not simulated')
    for name in ("njmax", "nconmax", "memory", "nstack"):
        setattr(spec, name, getattr(default, name))


def _only_tree(source: Source) -> Any:
    """The one body at the top level that is the robot; what stands beside it and touches nothing is dropped."""
    tops = list(source.spec.worldbody.bodies)
    robots = [body for body in tops if not _is_marker(body)] if len(tops) > 1 else tops
    if len(robots) != 1:
        shown = [*(repr(body.name) for body in robots[:_SHOWN]), *["..."] * (len(robots) > _SHOWN)]
        names = f" ({', '.join(shown)})" if robots else ""
        raise source.fail(
            f"needs exactly one body at the top level, found {len(robots)}{names}; a robot is one tree: move others "
            "to files of their own"
        )
    for body in tops:
        if body is not robots[0]:
            source.notes.append(f"body {body.name!r} beside the robot touches nothing and is left out")
            joints = {joint.name for part in _depth_first(body) for joint in part.joints}
            for actuator in [actuator for actuator in source.spec.actuators if actuator.target in joints]:
                source.spec.delete(actuator)
            source.spec.delete(body)
    return robots[0]


def _free_root(source: Source) -> None:
    """Give the root a free joint for three slides and three hinges, which move it as freely."""
    joints = list(source.root.joints)
    kinds = sorted(mujoco.mjtJoint(int(joint.type)).name[len("mjJNT_") :].lower() for joint in joints)
    if kinds != ["hinge"] * 3 + ["slide"] * 3:
        return
    names = [joint.name for joint in joints]
    axes = [np.linalg.matrix_rank(np.array([j.axis for j in joints if j.type == joints[k].type])) for k in (0, -1)]
    if axes != [3, 3] or any(actuator.target in names for actuator in source.spec.actuators):
        return
    for joint in joints:
        source.spec.delete(joint)
    source.root.add_freejoint()
    source.notes.append(f"its root, {source.root.name!r}, has a free joint for {', '.join(names)}")


def _is_marker(body: Any) -> bool:
    """Whether a body only shows something, or holds a place: it has no shape, or neither a joint nor one that collides.

    Unitree's files keep a body without a shape for each motor that a smaller robot has not.
    """
    parts = list(_depth_first(body))
    return not any(part.geoms for part in parts) or not any(part.joints or _collides(part) for part in parts)


def _collides(body: Any) -> bool:
    return any(geom.contype or geom.conaffinity for geom in body.geoms)


def _depth_first(body: Any) -> Iterator[Any]:
    yield body
    for child in body.bodies:
        yield from _depth_first(child)


def _drop_shown(source: Source) -> None:
    """Take out meshes that neither collide nor weigh anything, and pictures: reading them takes most of the time."""
    spec, named = source.spec, {name for pair in source.spec.pairs for name in (pair.geomname1, pair.geomname2)}
    by_inertial = spec.compiler.inertiafromgeom != mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_TRUE
    for body in source.bodies:
        for geom in list(body.geoms):
            shown = geom.type == mujoco.mjtGeom.mjGEOM_MESH and not (geom.contype or geom.conaffinity)
            massless = geom.mass == 0.0 or geom.density == 0.0 or (by_inertial and body.explicitinertial)
            if shown and massless and geom.name not in named:
                spec.delete(geom)
    used = {geom.meshname for body in source.bodies for geom in body.geoms}
    for mesh in list(spec.meshes):
        if (mesh.name or Path(mesh.file).stem) not in used:
            spec.delete(mesh)
    for texture in spec.textures:
        texture.name, texture.file = texture.name or Path(texture.file).stem, ""
        texture.cubefiles = [""] * len(texture.cubefiles)
        texture.builtin, texture.width, texture.height = mujoco.mjtBuiltin.mjBUILTIN_FLAT, 1, 1


def _name_bodies(source: Source) -> None:
    taken = {body.name for body in source.bodies}
    for k, body in enumerate(source.bodies):
        name = body.name or f"body_{k}"
        while not body.name and name in taken:
            name += "_"
        body.name = name


def _keep_contacts(source: Source) -> None:
    """Take out the pairs and excludes with what is no part of the robot, and remember those with the floor."""
    spec = source.spec
    bodies = {body.name for body in source.bodies}
    geoms = {geom.name for body in source.bodies for geom in body.geoms if geom.name}
    for pair in list(spec.pairs):
        own = [name for name in (pair.geomname1, pair.geomname2) if name in geoms]
        if len(own) == 1:
            source.ground_pairs.append(_ground_pair(pair, own[0]))
        if len(own) < 2:
            spec.delete(pair)
    for exclude in list(spec.excludes):
        own = [name for name in (exclude.bodyname1, exclude.bodyname2) if name in bodies]
        if len(own) == 1 and "world" in (exclude.bodyname1, exclude.bodyname2):
            source.ground_excludes.append(own[0])
        if len(own) < 2:
            spec.delete(exclude)


def _ground_pair(pair: Any, geom: str) -> dict[str, Any]:
    names = ("condim", "friction", "gap", "margin", "solref", "solreffriction", "solimp")
    return {"geom": geom, **{name: np.array(getattr(pair, name)) for name in names}}


def _compile(source: Source) -> mujoco.MjModel:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = _compile_balanced(source)
    told = [" ".join(str(warning.message).split()) for warning in caught]
    source.notes += [f"MuJoCo warns: {text}" for text in told if "deprecated" not in text]
    return model


def _compile_balanced(source: Source) -> mujoco.MjModel:
    spec = source.spec
    try:
        return spec.compile()
    except ValueError as error:
        if spec.compiler.balanceinertia or "balanceinertia" not in str(error):
            raise source.fail(f"MuJoCo cannot build it: {one_line(error)}") from None
    spec.compiler.balanceinertia = True
    source.notes.append(
        "inertias that no rigid body can have (A + B < C) are balanced: each becomes the mean of its three"
    )
    return _compile_balanced(source)


def _split(source: Source, names: list[str]) -> None:
    """Give each hinge of these bodies a body of its own."""
    source.spec = split(source.spec, source.model, str(source.path.parent), names)
    source.root = source.spec.worldbody.first_body()
    source.bodies = list(_depth_first(source.root))
    _name_bodies(source)
    source.model = _compile(source)


# -------------------------------------------------------------------------------------------------- after compiling


def _joints_of(source: Source, body: Any, is_root: bool) -> list[int]:
    """The ids of the hinges above a body, none for the root; UserError for joints that are no hinges."""
    model = source.model
    b = model.body(body.name).id
    first = int(model.body_jntadr[b])
    ids = list(range(first, first + int(model.body_jntnum[b])))
    types = [mujoco.mjtJoint(int(model.jnt_type[j])).name[len("mjJNT_") :].lower() for j in ids]
    what = f"{', '.join(types)} of" if ids else ""
    if is_root:
        if ids and types != ["free"]:
            raise source.fail(f"the root, {body.name!r}, may have a free joint or none, found {what} it")
        if not ids:
            source.notes.append(f"its root, {body.name!r}, has no joint; a character's moves freely")
        return []
    source.joint_names.update({j: model.joint(j).name for j in ids})
    if any(kind != "hinge" for kind in types):
        raise source.fail(f"body {body.name!r} must have no joint or hinges, found {', '.join(types)}")
    return ids


def _check_kept(source: Source) -> None:
    """UserError for what would not reach the simulation, by name."""
    model = source.model
    balls = {j for ids in source.hinges if len(ids) == 3 for j in ids}
    for name in _FINITE:
        if not np.isfinite(getattr(model, name)).all():
            raise source.fail(f"{name.replace('_', ' ')}: found what is no finite number")
    if model.nflex:
        raise source.fail("holds a flex; deformable bodies are not simulated: remove them")
    joint = int(mujoco.mjtObj.mjOBJ_JOINT)
    for e in range(model.neq):
        ids = (int(model.eq_obj1id[e]), int(model.eq_obj2id[e]))
        is_joint = model.eq_type[e] == mujoco.mjtEq.mjEQ_JOINT or int(model.eq_objtype[e]) == joint
        if is_joint and balls.intersection(ids):
            raise source.fail(
                f"equality {model.equality(e).name or e!r} holds one of three hinges of a body, which are one joint "
                "here; give each hinge a body of its own"
            )
    for wrap in range(model.nwrap):
        if model.wrap_type[wrap] == mujoco.mjtWrap.mjWRAP_JOINT and int(model.wrap_objid[wrap]) in balls:
            raise source.fail("a tendon joins hinges of a body with three, which are one joint here; give each a body")


def robot_of(source: Source, gains: str | float | None = None) -> Robot:
    """The values of a loaded file."""
    model = source.model
    ids = [model.body(body.name).id for body in source.bodies]
    place = {b: k for k, b in enumerate(ids)}
    hinges = np.array([j for joints in source.hinges for j in joints], dtype=np.int64)
    dofs = model.jnt_dofadr[hinges]
    limited = model.jnt_limited[hinges].astype(bool)
    ranges = model.jnt_range[hinges]
    pos, rot = model.body_pos[ids].copy(), np.roll(model.body_quat[ids], -1, axis=1)
    for k, joints in enumerate(source.hinges):
        if len(joints) == 1:
            pos[k], rot[k] = _at_zero(model, joints[0], pos[k], rot[k])
    drives = read_drives(source.path, model, hinges, gains, source.notes)
    geoms = [geom for g in range(model.ngeom) for geom in _geom(model, g, place)]
    return Robot(
        name=source.path.stem,
        body_names=[body.name for body in source.bodies],
        parents=np.array([place.get(int(model.body_parentid[b]), -1) for b in ids], dtype=np.int64),
        masses=model.body_mass[ids].copy(),
        local_pos=pos,
        local_rot=rot,
        dof_dims=np.array([len(joints) for joints in source.hinges], dtype=np.int64),
        dof_names=[source.joint_names[int(j)] for j in hinges],
        axes=model.jnt_axis[hinges].copy(),
        anchors=model.jnt_pos[hinges].copy(),
        dof_low=np.where(limited, ranges[:, 0], -NO_LIMIT),
        dof_high=np.where(limited, ranges[:, 1], NO_LIMIT),
        frictionloss=model.dof_frictionloss[dofs].copy(),
        inertia=model.dof_M0[dofs].copy(),
        geoms=geoms,
        touches=bool(meets_ground(source)),
        notes=list(source.notes),
        parts=_parts(source, drives),
        **drives,
    )


def _parts(source: Source, drives: dict[str, Any]) -> dict[str, list[str]]:
    """What not every simulator has, by kind, with names."""
    model, spec = source.model, source.spec
    hinges = [joint for joints in source.hinges for joint in joints]

    def joints(which: np.ndarray) -> list[str]:
        return [model.joint(hinges[dof]).name for dof in np.flatnonzero(which)]

    found = {
        "equality": [model.equality(e).name for e in range(model.neq)],
        "tendon": [model.tendon(t).name for t in range(model.ntendon)],
        "contact pairs": [" and ".join((p.geomname1, p.geomname2)) for p in spec.pairs],
        "contact pairs with the floor": [pair["geom"] for pair in source.ground_pairs],
        "contact excludes": [" and ".join((e.bodyname1, e.bodyname2)) for e in spec.excludes],
        "contact excludes with the world": source.ground_excludes,
        "uneven torque ranges": joints(~np.isclose(drives["torque_low"], -drives["torque_high"])),
        "springs": joints(drives["stiffness"] != 0.0),
    }
    return {kind: names for kind, names in found.items() if names}


def _at_zero(model: mujoco.MjModel, joint: int, pos: np.ndarray, rot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A body's frame with the angle of its hinge at zero, where the file states it at the angle ``ref``."""
    ref = float(model.qpos0[model.jnt_qposadr[joint]])
    if ref == 0.0:
        return pos, rot
    axis, anchor = model.jnt_axis[joint], model.jnt_pos[joint]
    back, turned, moved, quat = np.zeros(4), np.zeros(3), np.zeros(3), np.zeros(4)
    mujoco.mju_axisAngle2Quat(back, axis, -ref)
    mujoco.mju_rotVecQuat(turned, anchor, back)
    wxyz = np.roll(rot, 1)
    mujoco.mju_rotVecQuat(moved, anchor - turned, wxyz)
    mujoco.mju_mulQuat(quat, wxyz, back)
    return pos + moved, np.roll(quat, -1)


def _geom(model: mujoco.MjModel, geom: int, place: dict[int, int]) -> Iterator[Geom]:
    kind = mujoco.mjtGeom(int(model.geom_type[geom])).name
    body = place.get(int(model.geom_bodyid[geom]))
    if kind in _PRIMITIVES and body is not None:
        name, count = _PRIMITIVES[kind]
        size, rot = model.geom_size[geom][:count].copy(), np.roll(model.geom_quat[geom], -1)
        yield Geom(body, name, size, model.geom_pos[geom].copy(), rot)


def meets_ground(source: Source) -> list[int]:
    """The ids of the geoms that the ground, of contype 1 and every conaffinity, meets."""
    model = source.model
    paired = {pair["geom"] for pair in source.ground_pairs}
    apart = {model.body(name).id for name in source.ground_excludes}
    meets = (model.geom_contype != 0) | ((model.geom_conaffinity & 1) != 0)
    return [
        g
        for g in range(model.ngeom)
        if model.geom(g).name in paired or (meets[g] and int(model.geom_bodyid[g]) not in apart)
    ]
