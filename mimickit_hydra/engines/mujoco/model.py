"""Compiles a scene into one MuJoCo model in the conventions of the engine interface.

A body with three hinges x, y, z becomes one ball joint. Its three actuators have gears e_x, e_y, e_z, so that MuJoCo's
own actuator length is the exponential map of the joint and its velocity the child-frame angular velocity. What the
file says of gains goes to these actuators, and what is a spring or a damper stays one (:mod:`motion.drives`).
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from mimickit_hydra.engines.interface import EngineError, ObjectModel, ObjectSpec, SceneSpec
from mimickit_hydra.errors import UserError
from mimickit_hydra.mj import mujoco
from mimickit_hydra.motion.mjcf import Source, load, one_line, robot_of, take_options
from mimickit_hydra.motion.plain import plain_mjcf
from mimickit_hydra.motion.robot import NO_LIMIT, NO_TORQUE_LIMIT, Robot

GROUND = "ground"
_OF_BODIES = ("body_mass", "body_inertia", "body_ipos", "body_iquat")
_OF_DOFS = ("armature", "damping", "frictionloss")
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
    """The places of an object's numbers in the compiled model. Index arrays are int64; DoF columns are 0-based."""

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
    """A compiled model and the layout of every object in it."""

    model: mujoco.MjModel
    layouts: List[ObjectLayout]
    spec: Any = None  # MjSpec that it was compiled from


@dataclass
class Asset:
    """An MJCF file read and checked: its tree, which may be edited, and the facts before editing."""

    source: Source
    robot: Robot


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
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    _set_options(spec, options or SolverOptions())
    _add_ground(spec)
    models: List[ObjectModel] = []
    assets: List[Asset] = []
    for index, obj in enumerate(scene.objects):
        asset = load_asset(obj)
        models.append(object_model(obj, asset.robot))
        assets.append(asset)
        joints = _edit_joints(asset)
        _edit_collisions(obj, asset.source, group=index + 1)
        colliding = _colliding(obj, asset)
        _place(spec, obj, asset.source, prefix=_prefix(index))  # what follows has the prefix in its names
        _add_ground_contacts(spec, obj, asset.source, _prefix(index))
        _add_actuators(spec, obj, asset.robot, joints, _prefix(index), control_mode)
        if contact_sensors:
            _add_contact_sensors(spec, [_prefix(index) + name for name in colliding])
    files = ", ".join(os.path.basename(os.fspath(obj.asset_file)) for obj in scene.objects)
    model = _compile(spec, "the scene of {}".format(files))
    _keep_numbers(model, assets)
    model.opt.timestep = timestep  # set here: the spec would round it
    layouts = [_layout(model, obj, facts, _prefix(k)) for k, (obj, facts) in enumerate(zip(scene.objects, models))]
    return CompiledScene(model, layouts, spec)


def read_object(obj: ObjectSpec) -> ObjectModel:
    """What an asset says about its bodies, joints, limits and gains. EngineError as :func:`build_model`."""
    return object_model(obj, load_asset(obj).robot)


def read_values(obj: ObjectSpec) -> Robot:
    """The values of an object's file, with its plain text. EngineError as :func:`build_model`."""
    asset = load_asset(obj)
    return replace(asset.robot, plain=plain_mjcf(asset.source, asset.robot))


def exp_map_to_quat_wxyz(exp_map: np.ndarray) -> np.ndarray:
    """Exponential maps ``[..., 3]`` (rad) to quaternions ``[..., 4]`` in MuJoCo's order wxyz."""
    exp_map = np.asarray(exp_map, dtype=np.float64)
    angle = np.linalg.norm(exp_map, axis=-1, keepdims=True)
    return np.concatenate([np.cos(0.5 * angle), 0.5 * np.sinc(angle / (2.0 * np.pi)) * exp_map], axis=-1)


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
        raise EngineError("{}: MuJoCo cannot build it: {}".format(what, one_line(error))) from error


def load_asset(obj: ObjectSpec) -> Asset:
    """Read and check an object's MJCF file; EngineError as :func:`build_model`."""
    path = os.fspath(obj.asset_file)
    if not os.path.isfile(path):
        raise EngineError("{}: asset file of object {!r} not found".format(path, obj.name))
    try:
        source = load(path)
        robot = robot_of(source, obj.gains)
    except UserError as error:
        raise EngineError(str(error)) from None
    return Asset(source, robot)


def object_model(obj: ObjectSpec, robot: Robot) -> ObjectModel:
    """The facts of a robot's file that the interface tells."""
    gain = 0.0 if obj.disable_motors else 1.0
    return ObjectModel(
        name=obj.name, body_names=list(robot.body_names), parents=robot.parents, body_masses=robot.masses,
        dof_dims=robot.dof_dims, dof_low=robot.dof_low, dof_high=robot.dof_high, torque_limits=robot.torque_limits,
        kp=gain * robot.kp, kd=gain * robot.kd, target_low=robot.target_low, target_high=robot.target_high,
    )  # fmt: skip


def _edit_joints(asset: Asset) -> List[str]:
    """Make three hinges one ball joint, leave the springs and dampers that are no gains; the bodies' joints' names."""
    spec, robot, dof = asset.source.spec, asset.robot, 0
    names = [""] * len(robot.body_names)
    for element in list(spec.actuators):
        spec.delete(element)
    for k, (body, hinges) in enumerate(zip(asset.source.bodies, asset.source.hinges)):
        if not hinges:
            continue
        joints = list(body.joints)
        if len(hinges) == 3:
            for extra in joints[1:]:
                spec.delete(extra)
            _make_ball(joints[0])
        joint = joints[0]
        joint.name = names[k] = joint.name or body.name + "/joint"
        # MuJoCo 4 keeps polynomial coefficients here, older versions one number.
        if not robot.stiffness[dof : dof + len(hinges)].any():
            joint.stiffness = np.zeros_like(joint.stiffness) if np.ndim(joint.stiffness) else 0.0
        if not robot.damping[dof : dof + len(hinges)].any():
            joint.damping = np.zeros_like(joint.damping) if np.ndim(joint.damping) else 0.0
        if len(hinges) == 1:
            _limit_hinge(joint, robot, dof)
        dof += len(hinges)
    return names


def _make_ball(joint: Any) -> None:
    joint.type = mujoco.mjtJoint.mjJNT_BALL
    joint.limited = mujoco.mjtLimited.mjLIMITED_FALSE
    joint.range = [0.0, 0.0]
    joint.actfrclimited = mujoco.mjtLimited.mjLIMITED_FALSE
    joint.actfrcrange = [0.0, 0.0]
    joint.axis = [0.0, 0.0, 1.0]


def _edit_collisions(obj: ObjectSpec, asset: Source, group: int) -> None:
    """Switch collisions off for visual objects, and among an object's geoms where it has no self-collisions."""
    if not obj.is_visual and obj.enable_self_collisions:
        return
    for pair in list(asset.spec.pairs):
        asset.spec.delete(pair)
    bit = 1 << (group % 30 + 1)  # never the ground's bit 0
    for body in asset.bodies:
        for geom in body.geoms:
            if obj.is_visual:
                geom.contype = geom.conaffinity = 0
            elif geom.contype or geom.conaffinity:
                geom.contype, geom.conaffinity = bit, _ALL_GROUPS & ~bit


def _limit_hinge(joint: Any, robot: Robot, dof: int) -> None:
    """Limit a hinge's angle and torque as the facts have it; what already does stays as it is."""
    on, off = mujoco.mjtLimited.mjLIMITED_TRUE, mujoco.mjtLimited.mjLIMITED_FALSE
    joint.limited = on if robot.dof_high[dof] < NO_LIMIT else off
    torques = [robot.torque_low[dof], robot.torque_high[dof]]
    joint.actfrclimited = on if robot.driven[dof] and torques[1] < NO_TORQUE_LIMIT else off
    joint.actfrcrange = torques if joint.actfrclimited == on else [0.0, 0.0]


def _add_ground_contacts(spec: Any, obj: ObjectSpec, asset: Source, prefix: str) -> None:
    """What the file says of contacts with its floor, of contacts with ours."""
    if obj.is_visual:
        return
    for pair in asset.ground_pairs:
        options = {name: value for name, value in pair.items() if name != "geom"}
        spec.add_pair(geomname1=GROUND, geomname2=prefix + pair["geom"], **options)
    for body in asset.ground_excludes:
        spec.add_exclude(bodyname1="world", bodyname2=prefix + body)


def _keep_numbers(model: mujoco.MjModel, assets: List[Asset]) -> None:
    """Put back what joining the assets lost: what a compiler changes in a whole file, and a ball's three numbers."""
    lost = False
    for index, asset in enumerate(assets):
        source, robot = asset.source, asset.robot
        ids = [model.body(_prefix(index) + name).id for name in robot.body_names]
        own = [source.model.body(name).id for name in robot.body_names]
        pairs = [(getattr(model, n), ids, getattr(source.model, n)[own]) for n in _OF_BODIES]
        dofs = [d for b in ids[1:] for d in range(model.body_dofadr[b], model.body_dofadr[b] + model.body_dofnum[b])]
        pairs += [(getattr(model, "dof_" + name), dofs, getattr(robot, name)) for name in _OF_DOFS]
        for array, where, value in pairs:
            if not np.array_equal(array[where], value):
                array[where] = value
                lost = True
    if lost:
        mujoco.mj_setConst(model, mujoco.MjData(model))


def _place(spec: Any, obj: ObjectSpec, asset: Source, prefix: str) -> None:
    root = asset.root
    for joint in list(root.joints):
        asset.spec.delete(joint)
    x, y, z, w = obj.start_rot
    root.pos, root.quat = obj.start_pos, [w, x, y, z]
    if obj.fix_root:
        root.mocap = True  # it can be moved by a reset, and does not collide with its children
    else:
        root.add_freejoint(name=root.name + "/free")
    take_options(asset, spec.option)
    spec.worldbody.add_frame().attach_body(root, prefix, "")


def _actuator_gains(mode: str, kp: float, kd: float) -> Tuple[float, List[float]]:
    """Gain and bias (constant, per length, per velocity) of a control mode; ``pd_explicit`` sends torques."""
    if mode == "pos":
        return kp, [0.0, -kp, -kd]
    if mode == "vel":
        return kd, [0.0, 0.0, -kd]
    return 1.0, [0.0, 0.0, 0.0]


def _add_actuators(spec: Any, obj: ObjectSpec, robot: Robot, joints: List[str], prefix: str, mode: str) -> None:
    if mode == "none" or obj.disable_motors:
        return
    dof = 0
    for body, joint, dim in zip(robot.body_names, joints, robot.dof_dims):
        for axis in range(int(dim)):
            gain, bias = _actuator_gains(mode, float(robot.kp[dof]), float(robot.kd[dof]))
            gear = np.zeros(6)
            gear[axis] = 1.0
            limit = float(robot.torque_limits[dof])
            torques = [-limit, limit] if dim == 3 else [robot.torque_low[dof], robot.torque_high[dof]]
            limited = dim == 3 or (robot.driven[dof] and torques[1] < NO_TORQUE_LIMIT)
            spec.add_actuator(
                name="{}{}/{}".format(prefix, body, axis), target=prefix + joint,
                trntype=mujoco.mjtTrn.mjTRN_JOINT, gear=gear,
                gaintype=mujoco.mjtGain.mjGAIN_FIXED, gainprm=_padded([gain]),
                biastype=mujoco.mjtBias.mjBIAS_AFFINE, biasprm=_padded(bias),
                # The asset's motor class limits controls to +-1, which would clip targets silently.
                ctrllimited=mujoco.mjtLimited.mjLIMITED_FALSE,
                # A hinge is clamped by its joint's actuatorfrcrange too, but MuJoCo 3 integrates the damping of one
                # that is clamped there alone as if it were not.
                forcelimited=mujoco.mjtLimited.mjLIMITED_TRUE if limited else mujoco.mjtLimited.mjLIMITED_FALSE,
                forcerange=torques if limited else [0.0, 0.0],
            )  # fmt: skip
            dof += 1


def _padded(values: Sequence[float]) -> np.ndarray:
    out = np.zeros(10)
    out[: len(values)] = values
    return out


def _colliding(obj: ObjectSpec, asset: Asset) -> List[str]:
    """The bodies of an object that can touch something."""
    if obj.is_visual:
        return []
    source = asset.source
    paired = {name for pair in source.spec.pairs for name in (pair.geomname1, pair.geomname2)}
    paired |= {pair["geom"] for pair in source.ground_pairs}
    return [
        name for name, body in zip(asset.robot.body_names, source.bodies)
        if any(geom.contype or geom.conaffinity or geom.name in paired for geom in body.geoms)
    ]  # fmt: skip


def _add_contact_sensors(spec: Any, names: List[str]) -> None:
    """Add two net-force sensors to each body: for all contacts, and for those with the ground."""
    for kind in ("total", GROUND):
        for name in names:
            sensor = spec.add_sensor(
                name="{}#{}".format(name, kind), type=mujoco.mjtSensor.mjSENS_CONTACT,
                objtype=mujoco.mjtObj.mjOBJ_BODY, objname=name, intprm=[_FORCE_DATA, _NET_FORCE, 1],
            )  # fmt: skip
            if kind == GROUND:
                sensor.reftype, sensor.refname = mujoco.mjtObj.mjOBJ_GEOM, GROUND


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
