"""The USD writer by value: what it writes is what the MJCF says. Needs pxr, as it comes with Isaac Lab."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pxr", reason="pxr (usd-exchange) is not installed")

import mujoco
from pxr import Usd, UsdGeom, UsdPhysics

from mimickit_hydra.engines.interface import EngineError, ObjectSpec
from mimickit_hydra.engines.isaac_lab.mjcf_usd import BODIES, JOINTS, default_cache_dir, ground_file, usd_asset

ASSETS = Path(__file__).parents[2] / "mimickit_hydra" / "data" / "assets"
CHARACTERS = ["humanoid/humanoid.xml", "smpl/smpl.xml", "sword_shield/humanoid_sword_shield.xml"]
OBJECTS = ["objects/dodgeball.xml", "objects/vault_box.xml", "objects/climbing_box.xml"]


def spec(file, **options):
    return ObjectSpec("object", str(file), **options)


def written(file, folder, ball_joints=True, **options):
    asset = usd_asset(spec(file, **options), ball_joints=ball_joints, cache_dir=str(folder))
    return asset, Usd.Stage.Open(asset.path)


def mjcf(folder, body, extra="", name="asset"):
    path = folder / f"{name}.xml"
    path.write_text(f"<mujoco>{extra}<worldbody>{body}</worldbody></mujoco>")
    return path


def wxyz(quat):
    return np.array([quat.GetReal(), *quat.GetImaginary()])


def same_rotation(a, b):
    return abs(abs(float(np.dot(a, b))) - 1.0) < 1e-6


@pytest.mark.parametrize("file", [*CHARACTERS, *OBJECTS])
def test_masses_and_inertias(file, tmp_path):
    asset, stage = written(ASSETS / file, tmp_path)
    model = mujoco.MjModel.from_xml_path(str(ASSETS / file))
    for k, name in enumerate(asset.body_names):
        prim = stage.GetPrimAtPath(f"{BODIES}/{name}" if asset.articulated else "/asset")
        assert prim.HasAPI(UsdPhysics.RigidBodyAPI)
        mass, body = UsdPhysics.MassAPI(prim), model.body(asset.model.body_names[k]).id
        assert mass.GetMassAttr().Get() == pytest.approx(float(model.body_mass[body]), rel=1e-6)
        np.testing.assert_allclose(mass.GetCenterOfMassAttr().Get(), model.body_ipos[body], atol=1e-6)
        np.testing.assert_allclose(mass.GetDiagonalInertiaAttr().Get(), model.body_inertia[body], rtol=1e-5)
        assert same_rotation(wxyz(mass.GetPrincipalAxesAttr().Get()), model.body_iquat[body])


@pytest.mark.parametrize("ball_joints", [True, False])
@pytest.mark.parametrize("file", CHARACTERS)
def test_joints_and_limits(file, ball_joints, tmp_path):
    asset, stage = written(ASSETS / file, tmp_path, ball_joints)
    model = mujoco.MjModel.from_xml_path(str(ASSETS / file))
    three = UsdPhysics.SphericalJoint if ball_joints else UsdPhysics.Joint
    kinds = {0: UsdPhysics.FixedJoint, 1: UsdPhysics.RevoluteJoint, 3: three}
    hinges = iter(range(1, model.njnt))  # joint 0 is the root's
    for k, dim in list(enumerate(asset.model.dof_dims))[1:]:
        prim = stage.GetPrimAtPath(f"{JOINTS}/joint_{asset.body_names[k]}")
        assert type(kinds[int(dim)](prim)) is kinds[int(dim)]
        assert prim.IsA(kinds[int(dim)])
        body = model.body(asset.model.body_names[k]).id
        joint = UsdPhysics.Joint(prim)
        ids = [next(hinges) for _ in range(int(dim))]
        anchor = model.jnt_pos[ids[0]] if ids else np.zeros(3)
        np.testing.assert_allclose(joint.GetLocalPos1Attr().Get(), anchor, atol=1e-6)
        np.testing.assert_allclose(
            np.array(joint.GetLocalPos0Attr().Get()), model.body_pos[body] + turn(model.body_quat[body], anchor),
            atol=1e-5,
        )  # fmt: skip
        if dim == 1:
            revolute = UsdPhysics.RevoluteJoint(prim)
            limits = [revolute.GetLowerLimitAttr().Get(), revolute.GetUpperLimitAttr().Get()]
            np.testing.assert_allclose(np.deg2rad(limits), model.jnt_range[ids[0]], atol=1e-5)
            axis = turn(wxyz(joint.GetLocalRot1Attr().Get()), np.array([1.0, 0.0, 0.0]))
            np.testing.assert_allclose(axis, model.jnt_axis[ids[0]], atol=1e-6)
        if dim == 3 and not ball_joints:
            for axis_name, j in zip(("rotX", "rotY", "rotZ"), ids, strict=True):
                limit = UsdPhysics.LimitAPI(prim, axis_name)
                found = np.deg2rad([limit.GetLowAttr().Get(), limit.GetHighAttr().Get()])
                np.testing.assert_allclose(found, model.jnt_range[j], atol=1e-5)
            locked = UsdPhysics.LimitAPI(prim, "transX")
            assert locked.GetLowAttr().Get() > locked.GetHighAttr().Get()
    assert next(hinges, None) is None


def turn(quat, vector):
    out = np.zeros(3)
    mujoco.mju_rotVecQuat(out, np.asarray(vector, dtype=np.float64), np.asarray(quat, dtype=np.float64))
    return out


@pytest.mark.parametrize("file", CHARACTERS)
def test_the_rest_pose_is_that_of_the_mjcf(file, tmp_path):
    asset, stage = written(ASSETS / file, tmp_path)
    model = mujoco.MjModel.from_xml_path(str(ASSETS / file))
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    root = data.xpos[1].copy()
    for k, name in enumerate(asset.body_names):
        pose = UsdGeom.Xformable(stage.GetPrimAtPath(f"{BODIES}/{name}")).ComputeLocalToWorldTransform(0)
        body = model.body(asset.model.body_names[k]).id
        np.testing.assert_allclose(pose.ExtractTranslation(), data.xpos[body] - root, atol=1e-5)
        assert same_rotation(wxyz(pose.ExtractRotationQuat()), data.xquat[body])


@pytest.mark.parametrize("file", [*CHARACTERS, *OBJECTS])
def test_collision_shapes_and_friction(file, tmp_path):
    asset, stage = written(ASSETS / file, tmp_path)
    model = mujoco.MjModel.from_xml_path(str(ASSETS / file))
    shapes = [prim for prim in stage.Traverse() if prim.HasAPI(UsdPhysics.CollisionAPI)]
    colliding = [g for g in range(model.ngeom) if model.geom_contype[g] or model.geom_conaffinity[g]]
    assert len(shapes) == len(colliding) == asset.colliders
    names = {mujoco.mjtGeom.mjGEOM_SPHERE: "Sphere", mujoco.mjtGeom.mjGEOM_CAPSULE: "Capsule",
             mujoco.mjtGeom.mjGEOM_BOX: "Cube", mujoco.mjtGeom.mjGEOM_CYLINDER: "Cylinder"}  # fmt: skip
    for prim, geom in zip(shapes, colliding, strict=True):
        assert prim.GetTypeName() == names[mujoco.mjtGeom(int(model.geom_type[geom]))]
        if prim.GetTypeName() == "Cube":
            scale = [op.Get() for op in UsdGeom.Xformable(prim).GetOrderedXformOps() if "scale" in op.GetOpName()]
            np.testing.assert_allclose(scale[0], model.geom_size[geom], rtol=1e-6)
        else:
            assert prim.GetAttribute("radius").Get() == pytest.approx(float(model.geom_size[geom, 0]))
        if prim.GetTypeName() in ("Capsule", "Cylinder"):
            assert prim.GetAttribute("height").Get() == pytest.approx(2 * float(model.geom_size[geom, 1]))
        assert prim.GetAttribute("mjc:condim").Get() == model.geom_condim[geom]
        target = prim.GetRelationship("material:binding:physics").GetTargets()[0]
        friction = UsdPhysics.MaterialAPI(stage.GetPrimAtPath(target)).GetDynamicFrictionAttr().Get()
        assert friction == pytest.approx(float(model.geom_friction[geom, 0]), rel=1e-5)


def test_neighbours_do_not_touch(tmp_path):
    asset, stage = written(ASSETS / CHARACTERS[0], tmp_path)
    for k, parent in list(enumerate(asset.model.parents))[1:]:
        prim = stage.GetPrimAtPath(f"{BODIES}/{asset.body_names[k]}")
        filtered = UsdPhysics.FilteredPairsAPI(prim).GetFilteredPairsRel().GetTargets()
        assert [str(target) for target in filtered] == [f"{BODIES}/{asset.body_names[parent]}"]


@pytest.mark.parametrize("enabled", [True, False])
def test_self_collisions_are_said_to_both_physics(enabled, tmp_path):
    asset, stage = written(ASSETS / CHARACTERS[0], tmp_path, enable_self_collisions=enabled)
    root = stage.GetPrimAtPath(f"{BODIES}/{asset.body_names[0]}")
    assert root.HasAPI(UsdPhysics.ArticulationRootAPI)
    for name in ("newton:selfCollisionEnabled", "physxArticulation:enabledSelfCollisions"):
        assert root.GetAttribute(name).Get() is enabled


def test_visual_objects_have_no_collisions_and_keep_their_mass(tmp_path):
    asset, stage = written(ASSETS / CHARACTERS[0], tmp_path, is_visual=True)
    assert asset.colliders == 0
    assert not any(prim.HasAPI(UsdPhysics.CollisionAPI) for prim in stage.Traverse())
    head = UsdPhysics.MassAPI(stage.GetPrimAtPath(f"{BODIES}/head"))
    assert head.GetMassAttr().Get() == pytest.approx(3.8823, abs=1e-4)


def test_fixed_roots(tmp_path):
    _, stage = written(ASSETS / CHARACTERS[0], tmp_path, fix_root=True)
    joint = UsdPhysics.FixedJoint(stage.GetPrimAtPath(f"{JOINTS}/to_world"))
    assert [str(target) for target in joint.GetBody1Rel().GetTargets()] == [f"{BODIES}/pelvis"]
    assert not joint.GetBody0Rel().GetTargets()
    _, stage = written(ASSETS / OBJECTS[1], tmp_path, fix_root=True)
    assert UsdPhysics.RigidBodyAPI(stage.GetPrimAtPath("/asset")).GetKinematicEnabledAttr().Get() is True


def test_names_of_joints_are_those_isaac_lab_gives(tmp_path):
    asset, _ = written(ASSETS / CHARACTERS[0], tmp_path)
    assert asset.dof_names[:3] == ("joint_torso:0", "joint_torso:1", "joint_torso:2")
    assert asset.dof_names[9] == "joint_right_lower_arm"
    assert len(asset.dof_names) == 28
    np.testing.assert_allclose(asset.armature[[0, 3, 9]], [0.02, 0.01, 0.01])


@pytest.mark.parametrize(("ball_joints", "approximation"), [(True, "none"), (False, "convexHull")])
def test_meshes_collide_as_their_hull(ball_joints, approximation, tmp_path):
    corners = "0 0 0  1 0 0  0 1 0  0 0 1"
    file = mjcf(
        tmp_path, '<body name="leg"><freejoint/><geom type="mesh" mesh="tetra"/></body>',
        f'<asset><mesh name="tetra" vertex="{corners}"/></asset>',
    )  # fmt: skip
    asset, stage = written(file, tmp_path, ball_joints)
    prim = next(prim for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh))
    assert UsdPhysics.MeshCollisionAPI(prim).GetApproximationAttr().Get() == approximation
    placed = UsdGeom.Xformable(prim).ComputeLocalToWorldTransform(0)
    points = np.array([placed.Transform(point) for point in UsdGeom.Mesh(prim).GetPointsAttr().Get()])
    want = np.fromstring(corners, sep=" ").reshape(-1, 3)
    assert all(np.abs(points - corner).sum(-1).min() < 1e-5 for corner in want)
    assert asset.colliders == 1


def test_names_that_usd_does_not_allow(tmp_path):
    arms = "".join(f'<body name="{name}"><joint/><geom size="0.1"/></body>' for name in ("a.b", "a-b", "1c"))
    file = mjcf(tmp_path, f'<body name="base"><freejoint/><geom size="0.1"/>{arms}</body>')
    asset, stage = written(file, tmp_path)
    assert asset.body_names == ("base", "a_b", "a_b_2", "_1c")
    assert all(stage.GetPrimAtPath(f"{BODIES}/{name}").IsValid() for name in asset.body_names)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<body name="egg"><geom type="ellipsoid" size="1 2 3"/></body>', "type ellipsoid on body 'egg'"),
        ('<body name="a"><geom size="1"/><body name="b"><geom size="1"/></body></body>', "no joint that moves"),
    ],
)
def test_what_cannot_be_written_is_one_line(body, message, tmp_path):
    file = mjcf(tmp_path, body)
    with pytest.raises(EngineError) as error:
        usd_asset(spec(file), cache_dir=str(tmp_path))
    assert message in str(error.value)
    assert "asset.xml" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_cache_is_by_content(tmp_path):
    here, there = tmp_path / "here.xml", tmp_path / "elsewhere" / "here.xml"
    there.parent.mkdir()
    shutil.copy(ASSETS / CHARACTERS[0], here)
    shutil.copy(here, there)
    folder = tmp_path / "cache"
    first = usd_asset(spec(here), cache_dir=str(folder))
    stamp = os.stat(first.path).st_mtime_ns
    assert usd_asset(spec(there), cache_dir=str(folder)).path == first.path
    assert os.stat(first.path).st_mtime_ns == stamp
    heavier = here.read_text().replace('density="1081"', 'density="1082"', 1)
    here.write_text(heavier)
    others = [
        usd_asset(spec(here), cache_dir=str(folder)), usd_asset(spec(there), False, str(folder)),
        usd_asset(replace(spec(there), is_visual=True), cache_dir=str(folder)),
    ]  # fmt: skip
    assert len({first.path, *(other.path for other in others)}) == 4
    assert sorted(os.listdir(folder)) == sorted(os.path.basename(a.path) for a in (first, *others))  # nothing half done


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("MIMICKIT_CACHE", raising=False)
    assert default_cache_dir() == str(tmp_path / "xdg" / "mimickit-hydra" / "usd")
    monkeypatch.setenv("MIMICKIT_CACHE", str(tmp_path / "own"))
    assert default_cache_dir() == str(tmp_path / "own" / "usd")
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("MIMICKIT_CACHE", str(blocked))
    with pytest.raises(EngineError, match=r"cannot write the USD asset .*set MIMICKIT_CACHE"):
        usd_asset(spec(ASSETS / OBJECTS[0]))


def test_the_ground(tmp_path):
    stage = Usd.Stage.Open(ground_file(str(tmp_path)))
    plane = stage.GetPrimAtPath("/ground/plane")
    assert plane.IsA(UsdGeom.Plane)
    assert plane.HasAPI(UsdPhysics.CollisionAPI)
    assert UsdPhysics.MaterialAPI(stage.GetPrimAtPath("/ground/material")).GetDynamicFrictionAttr().Get() == 1.0
