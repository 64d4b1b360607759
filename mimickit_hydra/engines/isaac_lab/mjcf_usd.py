"""Writes an MJCF asset as a USD articulation, so that every engine has one source file. Needs ``mujoco`` and ``pxr``.

Bodies lie side by side under ``/asset/bodies`` and keep masses, inertias, collision shapes and friction of the MJCF. A
hinge becomes a revolute joint about its frame's x, a body without joint a fixed joint, and three hinges x, y, z one
joint: spherical for Newton, which makes a ball joint of it, or a D6 joint for PhysX, which keeps only the first of
several joints between two bodies. Either way its coordinates are an exponential map. Gains are the engine's business,
not the file's: a USD drive counts per degree. What collides with nothing is left out. The written file is kept by its
content.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from pxr import Gf, Sdf, Usd, UsdGeom, UsdPhysics, UsdShade

from mimickit_hydra.engines.interface import EngineError, ObjectModel, ObjectSpec
from mimickit_hydra.engines.mujoco.model import load_asset, read_object
from mimickit_hydra.mj import mujoco

CACHE_VARIABLE = "MIMICKIT_CACHE"
ROOT = "/asset"
BODIES = ROOT + "/bodies"
JOINTS = ROOT + "/joints"
_LAYOUT = 2  # of the written files: a new number makes the old ones stale
_DEGREES = 180.0 / np.pi
_IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])
_AXES = ("rotX", "rotY", "rotZ")


@dataclass(frozen=True)
class UsdOptions:
    """Properties of an asset that its MJCF does not state."""

    ball_joints: bool = True  # three hinges as a spherical joint, otherwise as a D6 joint
    collides: bool = True
    self_collisions: bool = True
    fix_root: bool = False


@dataclass(frozen=True)
class UsdAsset:
    """A written file and the names in it, in the depth-first order of the MJCF."""

    path: str
    model: ObjectModel
    body_names: Tuple[str, ...]  # prims below BODIES
    dof_names: Tuple[str, ...]  # as Isaac Lab calls them: the joint's name, with :0 :1 :2 if it has three DoFs
    armature: np.ndarray  # [D] kg m^2
    damping: np.ndarray  # [D] N m s/rad, of dampers
    articulated: bool  # False: one rigid body without joints
    colliders: int  # shapes that touch something


def usd_asset(obj: ObjectSpec, ball_joints: bool = True, cache_dir: Optional[str] = None) -> UsdAsset:
    """The USD file of an object's MJCF, written if the cache has none of this content yet.

    The cache is ``cache_dir``, else the folder of the environment variable MIMICKIT_CACHE, else the user's cache
    folder. EngineError with one line for an asset that USD physics or the engine interface cannot express.
    """
    options = UsdOptions(ball_joints, not obj.is_visual, obj.enable_self_collisions, obj.fix_root)
    writer = _Writer(obj, options)
    folder = cache_dir or default_cache_dir()
    path = os.path.join(folder, "{}-{}.usda".format(writer.stem, writer.digest()))
    if not os.path.isfile(path):
        _store(path, writer.text())
    return UsdAsset(
        path, writer.facts, tuple(writer.body_names), tuple(writer.dof_names()), writer.robot.armature,
        writer.robot.damping, writer.articulated,
        sum(len(writer.colliders(k)) for k in range(len(writer.ids))),
    )  # fmt: skip


def ground_file(cache_dir: str) -> str:
    """A USD file with the plane z = 0 of friction 1, at the prim ``plane`` of its top."""
    path = os.path.join(cache_dir, "ground-{}.usda".format(_LAYOUT))
    if not os.path.isfile(path):
        layer = Sdf.Layer.CreateAnonymous(".usda")
        stage = Usd.Stage.Open(layer)
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/ground").GetPrim())
        plane = UsdGeom.Plane.Define(stage, "/ground/plane")
        plane.CreateAxisAttr("Z")
        UsdPhysics.CollisionAPI.Apply(plane.GetPrim())
        _bind(plane.GetPrim(), _material(stage, "/ground/material", [1.0, 0.005, 0.0001]))
        _store(path, str(layer.ExportToString()))
    return path


def default_cache_dir() -> str:
    """Where written files are kept between runs."""
    base = os.environ.get(CACHE_VARIABLE) or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "mimickit-hydra"
    )
    return os.path.join(base, "usd")


def _store(path: str, text: str) -> None:
    """Write a file atomically, whatever other processes write it at the same time."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise EngineError(
            "{}: cannot write the USD asset ({}); set {} to a folder that can be written".format(
                path, error.strerror or error, CACHE_VARIABLE
            )
        ) from error


class _Writer:
    """Writes one asset into a stage; body ``k`` is the k-th in depth-first order."""

    def __init__(self, obj: ObjectSpec, options: UsdOptions) -> None:
        asset = load_asset(obj)
        self.file = os.fspath(obj.asset_file)
        self.robot = asset.robot
        lacking = self.robot.lacking("isaac_lab")
        if lacking:
            raise EngineError("{}: {}".format(self.file, lacking))
        self.options = options
        self.facts = read_object(obj)
        self.model: mujoco.MjModel = asset.source.model
        self.hinges: List[List[int]] = asset.source.hinges
        self.ids = [self.model.body(name).id for name in asset.robot.body_names]
        self.model.body_pos[self.ids[1:]] = asset.robot.local_pos[1:]  # with all angles zero, whatever their ref
        self.model.body_quat[self.ids[1:]] = np.roll(asset.robot.local_rot[1:], 1, axis=1)
        self.stem = _identifier(os.path.splitext(os.path.basename(self.file))[0])
        self.body_names = _identifiers(asset.robot.body_names)
        self.joint_names = self._joint_names()
        self.articulated = len(self.ids) > 1
        if self.articulated and self.facts.num_dofs == 0:
            raise EngineError("{}: has several bodies but no joint that moves; make them one body".format(self.file))
        self._materials: Dict[Tuple[float, ...], Any] = {}

    def digest(self) -> str:
        """A hash of the content: the compiled model, the options, and the version of the writer."""
        buffer = np.zeros(mujoco.mj_sizeModel(self.model), dtype=np.uint8)
        mujoco.mj_saveModel(self.model, None, buffer)
        words = "{}|{}|{}".format(_LAYOUT, self.options, self.body_names)
        return hashlib.sha256(buffer.tobytes() + words.encode()).hexdigest()[:20]

    def dof_names(self) -> List[str]:
        names: List[str] = []
        for name, hinges in zip(self.joint_names, self.hinges):
            names += [name] if len(hinges) == 1 else ["{}:{}".format(name, k) for k in range(len(hinges))]
        return names

    def colliders(self, k: int) -> List[int]:
        """The geoms of a body that touch something."""
        if not self.options.collides:
            return []
        first = int(self.model.body_geomadr[self.ids[k]])
        geoms = range(first, first + int(self.model.body_geomnum[self.ids[k]]))
        return [geom for geom in geoms if self.model.geom_contype[geom] or self.model.geom_conaffinity[geom]]

    def _joint_names(self) -> List[str]:
        """A body's joint is called like the body, so that names are unique and known beforehand."""
        return ["joint_" + name for name in self.body_names]

    def text(self) -> str:
        """The file's content."""
        layer = Sdf.Layer.CreateAnonymous(".usda")
        stage = Usd.Stage.Open(layer)
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
        top = UsdGeom.Xform.Define(stage, ROOT).GetPrim()
        stage.SetDefaultPrim(top)
        if not self.articulated:
            self._write_body(stage, 0, ROOT)
        else:
            UsdGeom.Scope.Define(stage, BODIES)
            UsdGeom.Scope.Define(stage, JOINTS)
            for k in range(len(self.ids)):
                self._write_body(stage, k, self._path(k))
            for k in range(len(self.ids)):
                self._write_joint(stage, k)
        return str(layer.ExportToString())

    def _path(self, k: int) -> str:
        return "{}/{}".format(BODIES, self.body_names[k])

    def _write_body(self, stage: Any, k: int, path: str) -> None:
        model, body = self.model, self.ids[k]
        xform = UsdGeom.Xform.Define(stage, path)
        prim = xform.GetPrim()
        if k > 0:
            position, rotation = self._rest_pose(k)
            _place(xform, position, rotation)
        rigid = UsdPhysics.RigidBodyAPI.Apply(prim)
        mass = UsdPhysics.MassAPI.Apply(prim)
        mass.CreateMassAttr(float(model.body_mass[body]))
        mass.CreateCenterOfMassAttr(_vec(model.body_ipos[body]))
        mass.CreateDiagonalInertiaAttr(_vec(model.body_inertia[body]))
        mass.CreatePrincipalAxesAttr(_quat(model.body_iquat[body]))
        if k == 0 and self.articulated:
            self._write_articulation(prim)
        elif self.options.fix_root and not self.articulated:
            rigid.CreateKinematicEnabledAttr(True)
        for number, geom in enumerate(self.colliders(k)):
            self._write_geom(stage, geom, "{}/geom_{}".format(path, number))

    def _write_articulation(self, prim: Any) -> None:
        UsdPhysics.ArticulationRootAPI.Apply(prim)
        for schema, name in (
            ("NewtonArticulationRootAPI", "newton:selfCollisionEnabled"),
            ("PhysxArticulationAPI", "physxArticulation:enabledSelfCollisions"),
        ):
            prim.AddAppliedSchema(schema)
            prim.CreateAttribute(name, Sdf.ValueTypeNames.Bool, False).Set(self.options.self_collisions)

    def _rest_pose(self, k: int) -> Tuple[np.ndarray, np.ndarray]:
        """Where a body stands in the root's frame with all joints at zero: position, quaternion wxyz."""
        position, rotation = np.zeros(3), _IDENTITY.copy()
        while k > 0:
            body = self.ids[k]
            turned, product = np.zeros(3), np.zeros(4)
            mujoco.mju_rotVecQuat(turned, position, self.model.body_quat[body])
            mujoco.mju_mulQuat(product, self.model.body_quat[body], rotation)
            position, rotation = self.model.body_pos[body] + turned, product
            k = int(self.facts.parents[k])
        return position, rotation

    def _write_geom(self, stage: Any, geom: int, path: str) -> None:
        model = self.model
        kind, size = mujoco.mjtGeom(int(model.geom_type[geom])), model.geom_size[geom]
        kinds = mujoco.mjtGeom
        if kind == kinds.mjGEOM_SPHERE:
            shape: Any = UsdGeom.Sphere.Define(stage, path)
            shape.CreateRadiusAttr(float(size[0]))
        elif kind in (kinds.mjGEOM_CAPSULE, kinds.mjGEOM_CYLINDER):
            shape = (UsdGeom.Capsule if kind == kinds.mjGEOM_CAPSULE else UsdGeom.Cylinder).Define(stage, path)
            shape.CreateRadiusAttr(float(size[0]))
            shape.CreateHeightAttr(2.0 * float(size[1]))
            shape.CreateAxisAttr("Z")
        elif kind == kinds.mjGEOM_BOX:
            shape = UsdGeom.Cube.Define(stage, path)
            shape.CreateSizeAttr(2.0)
        elif kind == kinds.mjGEOM_MESH:
            shape = self._write_mesh(stage, int(model.geom_dataid[geom]), path)
        else:
            raise EngineError(
                "{}: geom of type {} on body {!r} cannot be written as USD; use sphere, capsule, cylinder, box or "
                "mesh".format(self.file, kind.name[len("mjGEOM_") :].lower(), model.body(model.geom_bodyid[geom]).name)
            )
        _place(shape, model.geom_pos[geom], model.geom_quat[geom])
        if kind == kinds.mjGEOM_BOX:
            shape.AddScaleOp().Set(_vec(size))
        self._write_contact(stage, shape.GetPrim(), geom)

    def _write_mesh(self, stage: Any, mesh: int, path: str) -> Any:
        """Write a mesh that collides as its convex hull: PhysX is told so, Newton's MuJoCo takes the hull by itself."""
        model = self.model
        points = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
        faces = model.mesh_face[model.mesh_faceadr[mesh] :][: model.mesh_facenum[mesh]]
        shape = UsdGeom.Mesh.Define(stage, path)
        shape.CreatePointsAttr([_vec(point) for point in points])
        shape.CreateFaceVertexCountsAttr([3] * len(faces))
        shape.CreateFaceVertexIndicesAttr([int(index) for index in faces.reshape(-1)])
        shape.CreateSubdivisionSchemeAttr("none")
        approximation = "none" if self.options.ball_joints else "convexHull"
        UsdPhysics.MeshCollisionAPI.Apply(shape.GetPrim()).CreateApproximationAttr(approximation)
        return shape

    def _write_contact(self, stage: Any, prim: Any, geom: int) -> None:
        """Write friction for every simulator, and MuJoCo's contact parameters for those that know them."""
        model = self.model
        UsdPhysics.CollisionAPI.Apply(prim)
        _bind(prim, self._material(stage, model.geom_friction[geom]))
        types = Sdf.ValueTypeNames
        prim.CreateAttribute("mjc:condim", types.Int, False).Set(int(model.geom_condim[geom]))
        prim.CreateAttribute("mjc:solref", types.DoubleArray, False).Set([float(v) for v in model.geom_solref[geom]])
        prim.CreateAttribute("mjc:solimp", types.DoubleArray, False).Set([float(v) for v in model.geom_solimp[geom]])

    def _material(self, stage: Any, friction: np.ndarray) -> Any:
        key = tuple(round(float(v), 6) for v in friction)
        if key not in self._materials:
            path = "{}/material_{}".format(ROOT, len(self._materials))
            self._materials[key] = _material(stage, path, list(key))
        return self._materials[key]

    def _write_joint(self, stage: Any, k: int) -> None:
        if k == 0:
            if self.options.fix_root:
                joint: Any = UsdPhysics.FixedJoint.Define(stage, JOINTS + "/to_world")
                joint.CreateBody1Rel().SetTargets([self._path(0)])
            return
        hinges, parent = self.hinges[k], int(self.facts.parents[k])
        path = "{}/{}".format(JOINTS, self.joint_names[k])
        anchor = self.model.jnt_pos[hinges[0]] if hinges else np.zeros(3)
        frame = _IDENTITY
        if not hinges:
            joint = UsdPhysics.FixedJoint.Define(stage, path)
        elif len(hinges) == 1:
            joint = UsdPhysics.RevoluteJoint.Define(stage, path)
            joint.CreateAxisAttr("X")
            frame = _x_onto(self.model.jnt_axis[hinges[0]])
            self._limit(joint, hinges[0], None)
        elif self.options.ball_joints:
            joint = UsdPhysics.SphericalJoint.Define(stage, path)
        else:
            joint = UsdPhysics.Joint.Define(stage, path)
            for axis in ("transX", "transY", "transZ"):
                lock = UsdPhysics.LimitAPI.Apply(joint.GetPrim(), axis)
                lock.CreateLowAttr(1.0)  # low above high: no motion
                lock.CreateHighAttr(-1.0)
            for axis, hinge in zip(_AXES, hinges):
                self._limit(joint, hinge, axis)
        self._connect(joint, k, parent, anchor, frame)
        # Links that meet in a joint overlap by design; MuJoCo never lets them touch.
        filtered = UsdPhysics.FilteredPairsAPI.Apply(stage.GetPrimAtPath(self._path(k)))
        filtered.CreateFilteredPairsRel().AddTarget(self._path(parent))

    def _connect(self, joint: Any, k: int, parent: int, anchor: np.ndarray, frame: np.ndarray) -> None:
        body = self.ids[k]
        offset, turned = np.zeros(3), np.zeros(4)
        mujoco.mju_rotVecQuat(offset, anchor, self.model.body_quat[body])
        mujoco.mju_mulQuat(turned, self.model.body_quat[body], frame)
        joint.CreateBody0Rel().SetTargets([self._path(parent)])
        joint.CreateBody1Rel().SetTargets([self._path(k)])
        joint.CreateLocalPos0Attr(_vec(self.model.body_pos[body] + offset))
        joint.CreateLocalRot0Attr(_quat(turned))
        joint.CreateLocalPos1Attr(_vec(anchor))
        joint.CreateLocalRot1Attr(_quat(frame))

    def _limit(self, joint: Any, hinge: int, axis: Optional[str]) -> None:
        """The range in degrees; without one the axis is free. The drive is there for PhysX to have one to set."""
        prim = joint.GetPrim()
        if self.model.jnt_limited[hinge]:
            low, high = (float(v) * _DEGREES for v in self.model.jnt_range[hinge])
            if axis is None:
                joint.CreateLowerLimitAttr(low)
                joint.CreateUpperLimitAttr(high)
            else:
                limit = UsdPhysics.LimitAPI.Apply(prim, axis)
                limit.CreateLowAttr(low)
                limit.CreateHighAttr(high)
        if axis is None:
            solref, solimp = self.model.jnt_solref[hinge], self.model.jnt_solimp[hinge]
            types = Sdf.ValueTypeNames
            prim.CreateAttribute("mjc:solreflimit", types.DoubleArray, False).Set([float(v) for v in solref])
            prim.CreateAttribute("mjc:solimplimit", types.DoubleArray, False).Set([float(v) for v in solimp])
        drive = UsdPhysics.DriveAPI.Apply(prim, axis or "angular")
        drive.CreateTypeAttr("force")
        drive.CreateStiffnessAttr(0.0)
        drive.CreateDampingAttr(0.0)


def _vec(values: np.ndarray) -> Any:
    return Gf.Vec3f(*(float(v) for v in values))


def _quat(wxyz: np.ndarray) -> Any:
    return Gf.Quatf(float(wxyz[0]), _vec(wxyz[1:]))


def _place(xform: Any, position: np.ndarray, rotation: np.ndarray) -> None:
    xform.AddTranslateOp().Set(Gf.Vec3d(*(float(v) for v in position)))
    xform.AddOrientOp().Set(_quat(rotation))


def _material(stage: Any, path: str, friction: List[float]) -> Any:
    """A physics material with sliding, torsional and rolling friction."""
    material = UsdShade.Material.Define(stage, path)
    prim, types = material.GetPrim(), Sdf.ValueTypeNames
    physics = UsdPhysics.MaterialAPI.Apply(prim)
    physics.CreateStaticFrictionAttr(friction[0])
    physics.CreateDynamicFrictionAttr(friction[0])
    physics.CreateRestitutionAttr(0.0)
    prim.AddAppliedSchema("PhysxMaterialAPI")  # MuJoCo takes the larger friction of the two
    prim.CreateAttribute("physxMaterial:frictionCombineMode", types.Token, False).Set("max")
    prim.CreateAttribute("mjc:torsionalfriction", types.Double, False).Set(friction[1])
    prim.CreateAttribute("mjc:rollingfriction", types.Double, False).Set(friction[2])
    return material


def _bind(prim: Any, material: Any) -> None:
    UsdShade.MaterialBindingAPI.Apply(prim).Bind(material, UsdShade.Tokens.weakerThanDescendants, "physics")


def _x_onto(axis: np.ndarray) -> np.ndarray:
    """The shortest rotation (wxyz) that turns x onto ``axis``."""
    z_onto, x_onto_z, product = np.zeros(4), np.zeros(4), np.zeros(4)
    mujoco.mju_quatZ2Vec(z_onto, np.asarray(axis, dtype=np.float64))
    mujoco.mju_axisAngle2Quat(x_onto_z, np.array([0.0, 1.0, 0.0]), -0.5 * np.pi)
    mujoco.mju_mulQuat(product, z_onto, x_onto_z)
    return product


def _identifier(name: str) -> str:
    word = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
    return "_" + word if word[0].isdigit() else word


def _identifiers(names: List[str]) -> List[str]:
    """Names as USD allows them, kept different from each other."""
    found: List[str] = []
    for name in names:
        word = base = _identifier(name)
        number = 2
        while word in found:
            word = "{}_{}".format(base, number)
            number += 1
        found.append(word)
    return found
