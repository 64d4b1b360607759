"""From a scene to one MuJoCo model in the conventions of the engine interface.

A body with three hinges x, y, z becomes one ball joint. Its three actuators have gears e_x, e_y, e_z, so that MuJoCo's
own actuator length is the exponential map of the joint and its velocity the child-frame angular velocity. What the
asset calls the stiffness and damping of a joint are the gains of its controller, never passive forces.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import mujoco
import numpy as np

from mimickit_hydra.engines.interface import EngineError, ObjectModel, ObjectSpec, SceneSpec, check_control_mode

GROUND = "ground"
NO_LIMIT = 1e10  # rad, a joint without a range
NO_TORQUE_LIMIT = 1e6  # N m, a joint without actuatorfrcrange
_ALL_GROUPS = 0x7FFFFFFF
_FORCE_DATA = 1 << 1  # <contact data="force">
_NET_FORCE = 3  # <contact reduce="netforce">


@dataclass(frozen=True)
class SolverOptions:
    """Constraint solver settings; the defaults are those of MimicKit's Newton engine."""

    iterations: int = 100
    ls_iterations: int = 50
    impratio: float = 10.0


@dataclass
class ObjectLayout:
    """Where one object's numbers are in the compiled model. Index arrays are int64; DoF columns are 0-based."""

    spec: ObjectSpec
    model: ObjectModel
    body_ids: np.ndarray  # [B] MuJoCo body ids
    mocap_id: int  # -1 unless the root is fixed
    root_qpos: int  # address of the free joint, -1 if the root is fixed
    root_qvel: int
    dof_qvel: int  # address of the first DoF velocity
    hinge_cols: np.ndarray  # [H] DoF columns of single hinges
    hinge_qpos: np.ndarray  # [H] their addresses in qpos
    ball_cols: np.ndarray  # [3 K] DoF columns of ball joints
    ball_qpos: np.ndarray  # [4 K] their quaternions (wxyz) in qpos
    ctrl: slice  # the object's controls, in DoF order; empty without motors
    contact_bodies: np.ndarray  # [C] bodies with contact sensors
    contact_adr: int  # sensordata: C total forces, then C ground forces

    @property
    def floating(self) -> bool:
        return self.root_qpos >= 0


@dataclass
class CompiledScene:
    """A compiled model and the place of every object in it."""

    model: mujoco.MjModel
    layouts: List[ObjectLayout]


@dataclass
class Asset:
    """An MJCF file read and checked: its tree, which may be edited, and the facts before editing."""

    spec: Any  # MjSpec
    root: Any  # MjsBody
    bodies: List[Any]  # MjsBody, depth-first
    joints: List[List[int]]  # hinges of each body, ids in the unedited model
    names: List[str]  # of the bodies, before prefixes; a body's one joint is called like it
    source: mujoco.MjModel


def build_model(
    scene: SceneSpec,
    control_mode: str = "none",
    timestep: float = 1.0 / 120.0,
    options: Optional[SolverOptions] = None,
    contact_sensors: bool = True,
) -> CompiledScene:
    """Compile ``scene`` with a ground plane z = 0.

    ``timestep`` in s. A renderer leaves ``control_mode`` at ``none`` and turns ``contact_sensors`` off. Raises
    EngineError when an asset is missing, is not MJCF, or has joints that the interface cannot express.
    """
    check_control_mode(control_mode)
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    _set_options(spec, options or SolverOptions())
    _add_ground(spec)
    models = []
    for index, obj in enumerate(scene.objects):
        asset = load_asset(obj)
        models.append(_object_model(obj, asset))
        _edit_joints(asset)
        _edit_collisions(obj, asset, group=index + 1)
        _place(spec, obj, asset, prefix=_prefix(index))
        _add_actuators(spec, obj, models[-1], asset, _prefix(index), control_mode)
        if contact_sensors:
            _add_contact_sensors(spec, obj, asset, _prefix(index))
    model = _compile(spec, "the scene")
    model.opt.timestep = timestep  # set here: the spec would round it
    layouts = [_layout(model, obj, facts, _prefix(k)) for k, (obj, facts) in enumerate(zip(scene.objects, models))]
    return CompiledScene(model, layouts)


def read_object(obj: ObjectSpec) -> ObjectModel:
    """What an asset says about its bodies, joints, limits and gains. EngineError as :func:`build_model`."""
    return _object_model(obj, load_asset(obj))


def exp_map_to_quat_wxyz(exp_map: np.ndarray) -> np.ndarray:
    """Exponential maps ``[..., 3]`` (rad) to quaternions ``[..., 4]`` in MuJoCo's order wxyz."""
    exp_map = np.asarray(exp_map, dtype=np.float64)
    angle = np.linalg.norm(exp_map, axis=-1, keepdims=True)
    return np.concatenate([np.cos(0.5 * angle), 0.5 * np.sinc(angle / (2.0 * np.pi)) * exp_map], axis=-1)


def set_pose(
    scene: CompiledScene, data: mujoco.MjData, obj: int, root_pos: Sequence[float], root_rot: Sequence[float],
    dof_pos: np.ndarray,
) -> None:  # fmt: skip
    """Write one object's pose into ``data``: root position (m), rotation xyzw, DoFs ``[D]`` (rad)."""
    layout = scene.layouts[obj]
    x, y, z, w = root_rot
    if layout.floating:
        a = layout.root_qpos
        data.qpos[a : a + 7] = [*root_pos, w, x, y, z]
    else:
        data.mocap_pos[layout.mocap_id] = root_pos
        data.mocap_quat[layout.mocap_id] = [w, x, y, z]
    dof_pos = np.asarray(dof_pos)
    data.qpos[layout.hinge_qpos] = dof_pos[layout.hinge_cols]
    data.qpos[layout.ball_qpos] = exp_map_to_quat_wxyz(dof_pos[layout.ball_cols].reshape(-1, 3)).reshape(-1)


def _prefix(index: int) -> str:
    return "obj{}/".format(index)


def _set_options(spec: Any, options: SolverOptions) -> None:
    option = spec.option
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    option.iterations = options.iterations
    option.ls_iterations = options.ls_iterations
    option.impratio = options.impratio
    option.tolerance = 1e-8
    option.gravity = [0.0, 0.0, -9.81]


def _add_ground(spec: Any) -> None:
    # Contacts take the larger condim of the pair, so this is what gives bodies friction on the ground.
    spec.worldbody.add_geom(
        name=GROUND, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0.0, 0.0, 1.0], condim=3,
        friction=[1.0, 0.005, 0.0001], contype=1, conaffinity=_ALL_GROUPS,
    )  # fmt: skip


def _compile(spec: Any, what: str) -> mujoco.MjModel:
    try:
        return spec.compile()
    except ValueError as error:
        raise EngineError("{}: MuJoCo cannot build it: {}".format(what, _one_line(error))) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


# ------------------------------------------------------------------------------------------ reading an asset


def load_asset(obj: ObjectSpec) -> Asset:
    """Read and check an object's MJCF file; EngineError as :func:`build_model`."""
    path = os.fspath(obj.asset_file)
    if not os.path.isfile(path):
        raise EngineError("{}: asset file of object {!r} not found".format(path, obj.name))
    if os.path.splitext(path)[1].lower() != ".xml":
        raise EngineError("{}: this engine reads MJCF (.xml) assets".format(path))
    try:
        spec = mujoco.MjSpec.from_file(path)
    except ValueError as error:
        raise EngineError("{}: not a valid MJCF file: {}".format(path, _one_line(error))) from error
    spec.compiler.fusestatic = False  # every body of the file must stay a body
    roots = list(spec.worldbody.bodies)
    if len(roots) != 1:
        raise EngineError("{}: needs exactly one body at the top level, found {}".format(path, len(roots)))
    bodies = _depth_first(roots[0])
    for k, body in enumerate(bodies):
        body.name = body.name or "body_{}".format(k)
    source = _compile(spec, path)
    joints = [_hinges(path, source, body.name, is_root=k == 0) for k, body in enumerate(bodies)]
    return Asset(spec, roots[0], bodies, joints, [body.name for body in bodies], source)


def _depth_first(body: Any) -> List[Any]:
    bodies = [body]
    for child in body.bodies:
        bodies += _depth_first(child)
    return bodies


def _hinges(path: str, source: mujoco.MjModel, body: str, is_root: bool) -> List[int]:
    """The ids of the hinges above a body, none for the root; EngineError unless they are 0, 1, or x y z."""
    b = source.body(body).id
    first = int(source.body_jntadr[b])
    ids = list(range(first, first + int(source.body_jntnum[b])))
    types = [int(source.jnt_type[j]) for j in ids]
    if is_root:
        if ids and types != [int(mujoco.mjtJoint.mjJNT_FREE)]:
            raise EngineError("{}: root body {!r} may have a free joint or none".format(path, body))
        return []
    hinges = all(t == int(mujoco.mjtJoint.mjJNT_HINGE) for t in types)
    if not hinges or len(ids) not in (0, 1, 3):
        raise EngineError("{}: body {!r} must have no joint, one hinge, or three hinges".format(path, body))
    for j in ids:
        _check_reference(path, source, j, body)
    if len(ids) == 3 and not _is_xyz(source, ids):
        raise EngineError(
            "{}: the three hinges of body {!r} must turn about x, y, z in that order, at one point".format(path, body)
        )
    return ids


def _check_reference(path: str, source: mujoco.MjModel, joint: int, body: str) -> None:
    """With a ``ref`` of its own MuJoCo's angle is not the turn from the rest pose, which is what kinematics counts."""
    found = float(source.qpos0[source.jnt_qposadr[joint]])
    if found != 0.0:
        name = source.joint(joint).name or body
        raise EngineError("{}: joint {!r} has ref={:g} (rad); ref must be 0".format(path, name, found))


def _is_xyz(source: mujoco.MjModel, ids: List[int]) -> bool:
    same_point = np.allclose(source.jnt_pos[ids], source.jnt_pos[ids[0]])
    return bool(same_point and np.allclose(source.jnt_axis[ids], np.eye(3), atol=1e-6))


def _object_model(obj: ObjectSpec, asset: Asset) -> ObjectModel:
    """What the asset says about limits, gains and masses, before it is edited."""
    source = asset.source
    ids = [source.body(body.name).id for body in asset.bodies]
    position = {b: k for k, b in enumerate(ids)}
    hinges = np.array([j for joints in asset.joints for j in joints], dtype=np.int64)
    limited = source.jnt_limited[hinges].astype(bool)
    ranges = source.jnt_range[hinges]
    torque = np.where(source.jnt_actfrclimited[hinges], np.abs(source.jnt_actfrcrange[hinges]).max(-1), NO_TORQUE_LIMIT)
    gain = 0.0 if obj.disable_motors else 1.0
    return ObjectModel(
        name=obj.name,
        body_names=list(asset.names),
        parents=np.array([position.get(int(source.body_parentid[b]), -1) for b in ids], dtype=np.int64),
        body_masses=source.body_mass[ids].copy(),
        dof_dims=np.array([len(joints) for joints in asset.joints], dtype=np.int64),
        dof_low=np.where(limited, ranges[:, 0], -NO_LIMIT),
        dof_high=np.where(limited, ranges[:, 1], NO_LIMIT),
        torque_limits=torque,
        kp=gain * source.jnt_stiffness[hinges],
        kd=gain * source.dof_damping[source.jnt_dofadr[hinges]],
    )


# ------------------------------------------------------------------------------------------ editing an asset


def _delete(spec: Any, element: Any) -> None:
    if hasattr(spec, "delete"):
        spec.delete(element)
    else:  # older MuJoCo
        element.delete()


def _edit_joints(asset: Asset) -> None:
    spec = asset.spec
    for element in [*spec.actuators, *spec.sensors, *spec.keys]:
        _delete(spec, element)
    for body, hinges in zip(asset.bodies[1:], asset.joints[1:]):
        joints = list(body.joints)
        if len(hinges) == 3:
            for extra in joints[1:]:
                _delete(spec, extra)
            _make_ball(joints[0])
        for joint in list(body.joints):
            joint.name = body.name
            # MuJoCo 4 keeps polynomial coefficients here, older versions one number.
            joint.stiffness = np.zeros_like(joint.stiffness) if np.ndim(joint.stiffness) else 0.0
            joint.damping = np.zeros_like(joint.damping) if np.ndim(joint.damping) else 0.0


def _make_ball(joint: Any) -> None:
    joint.type = mujoco.mjtJoint.mjJNT_BALL
    joint.limited = mujoco.mjtLimited.mjLIMITED_FALSE
    joint.range = [0.0, 0.0]
    joint.actfrclimited = mujoco.mjtLimited.mjLIMITED_FALSE
    joint.actfrcrange = [0.0, 0.0]
    joint.axis = [0.0, 0.0, 1.0]


def _edit_collisions(obj: ObjectSpec, asset: Asset, group: int) -> None:
    """Visual objects touch nothing; without self-collisions an object's geoms share one bit they do not accept."""
    if not obj.is_visual and obj.enable_self_collisions:
        return
    bit = 1 << (group % 30 + 1)  # never the ground's bit 0
    for body in asset.bodies:
        for geom in body.geoms:
            if obj.is_visual:
                geom.contype = geom.conaffinity = 0
            elif geom.contype or geom.conaffinity:
                geom.contype, geom.conaffinity = bit, _ALL_GROUPS & ~bit


def _place(spec: Any, obj: ObjectSpec, asset: Asset, prefix: str) -> None:
    root = asset.root
    for joint in list(root.joints):
        _delete(asset.spec, joint)
    x, y, z, w = obj.start_rot
    root.pos, root.quat = obj.start_pos, [w, x, y, z]
    if obj.fix_root:
        root.mocap = True  # it can be moved by a reset, and does not collide with its children
    else:
        root.add_freejoint(name="root")
    spec.worldbody.add_frame().attach_body(root, prefix, "")


def _actuator_gains(mode: str, kp: float, kd: float) -> Tuple[float, List[float]]:
    """Gain and bias (constant, per length, per velocity) of a control mode; ``pd_explicit`` sends torques."""
    if mode == "pos":
        return kp, [0.0, -kp, -kd]
    if mode == "vel":
        return kd, [0.0, 0.0, -kd]
    return 1.0, [0.0, 0.0, 0.0]


def _add_actuators(spec: Any, obj: ObjectSpec, facts: ObjectModel, asset: Asset, prefix: str, mode: str) -> None:
    if mode == "none" or obj.disable_motors:
        return
    dof = 0
    for name, dim in zip(asset.names, facts.dof_dims):
        for axis in range(int(dim)):
            gain, bias = _actuator_gains(mode, float(facts.kp[dof]), float(facts.kd[dof]))
            gear = np.zeros(6)
            gear[axis] = 1.0
            limit = float(facts.torque_limits[dof])
            spec.add_actuator(
                name="{}{}/{}".format(prefix, name, axis), target=prefix + name,
                trntype=mujoco.mjtTrn.mjTRN_JOINT, gear=gear,
                gaintype=mujoco.mjtGain.mjGAIN_FIXED, gainprm=_padded([gain]),
                biastype=mujoco.mjtBias.mjBIAS_AFFINE, biasprm=_padded(bias),
                # The asset's motor class limits controls to +-1, which would clip targets silently.
                ctrllimited=mujoco.mjtLimited.mjLIMITED_FALSE,
                # A hinge is clamped by its joint's own actuatorfrcrange, a ball component only here.
                forcelimited=mujoco.mjtLimited.mjLIMITED_TRUE if dim == 3 else mujoco.mjtLimited.mjLIMITED_FALSE,
                forcerange=[-limit, limit] if dim == 3 else [0.0, 0.0],
            )  # fmt: skip
            dof += 1


def _padded(values: Sequence[float]) -> np.ndarray:
    out = np.zeros(10)
    out[: len(values)] = values
    return out


def _add_contact_sensors(spec: Any, obj: ObjectSpec, asset: Asset, prefix: str) -> None:
    """Two net-force sensors a body: from everything, and from the ground."""
    if obj.is_visual:
        return
    names = [prefix + name for name, body in zip(asset.names, asset.bodies) if _collides(body)]
    for kind in ("total", GROUND):
        for name in names:
            sensor = spec.add_sensor(
                name="{}#{}".format(name, kind), type=mujoco.mjtSensor.mjSENS_CONTACT,
                objtype=mujoco.mjtObj.mjOBJ_BODY, objname=name, intprm=[_FORCE_DATA, _NET_FORCE, 1],
            )  # fmt: skip
            if kind == GROUND:
                sensor.reftype, sensor.refname = mujoco.mjtObj.mjOBJ_GEOM, GROUND


def _collides(body: Any) -> bool:
    return any(geom.contype or geom.conaffinity for geom in body.geoms)


# ------------------------------------------------------------------------------------------ reading the result


def _layout(model: mujoco.MjModel, obj: ObjectSpec, facts: ObjectModel, prefix: str) -> ObjectLayout:
    body_ids = np.array([model.body(prefix + name).id for name in facts.body_names], dtype=np.int64)
    columns = _dof_columns(model, body_ids, facts)
    root = int(body_ids[0])
    floating = not obj.fix_root
    joint = int(model.body_jntadr[root])
    contact_bodies, contact_adr = _contact_layout(model, facts, prefix)
    first = [i for i in range(model.nu) if model.actuator(i).name.startswith(prefix)]
    return ObjectLayout(
        spec=obj,
        model=facts,
        body_ids=body_ids,
        mocap_id=int(model.body_mocapid[root]),
        root_qpos=int(model.jnt_qposadr[joint]) if floating else -1,
        root_qvel=int(model.jnt_dofadr[joint]) if floating else -1,
        ctrl=slice(first[0], first[-1] + 1) if first else slice(0, 0),
        contact_bodies=contact_bodies,
        contact_adr=contact_adr,
        **columns,
    )


def _dof_columns(model: mujoco.MjModel, body_ids: np.ndarray, facts: ObjectModel) -> Dict[str, Any]:
    hinge_cols: List[int] = []
    hinge_qpos: List[int] = []
    ball_cols: List[int] = []
    ball_qpos: List[int] = []
    dof, first_qvel = 0, 0
    for body, dim in zip(body_ids, facts.dof_dims):
        if dim == 0:
            continue
        joint = int(model.body_jntadr[body])
        address = int(model.jnt_qposadr[joint])
        if dof == 0:
            first_qvel = int(model.jnt_dofadr[joint])
        if dim == 3:
            ball_cols += range(dof, dof + 3)
            ball_qpos += range(address, address + 4)
        else:
            hinge_cols.append(dof)
            hinge_qpos.append(address)
        dof += int(dim)
    lists = {"hinge_cols": hinge_cols, "hinge_qpos": hinge_qpos, "ball_cols": ball_cols, "ball_qpos": ball_qpos}
    return {"dof_qvel": first_qvel, **{key: np.array(value, dtype=np.int64) for key, value in lists.items()}}


def _contact_layout(model: mujoco.MjModel, facts: ObjectModel, prefix: str) -> Tuple[np.ndarray, int]:
    names = [model.sensor(i).name for i in range(model.nsensor)]
    bodies = [k for k, name in enumerate(facts.body_names) if "{}{}#total".format(prefix, name) in names]
    if not bodies:
        return np.zeros(0, dtype=np.int64), 0
    first = names.index("{}{}#total".format(prefix, facts.body_names[bodies[0]]))
    return np.array(bodies, dtype=np.int64), int(model.sensor_adr[first])
