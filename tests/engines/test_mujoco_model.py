"""The compiled MuJoCo model, by value."""

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mimickit_hydra.engines.interface import EngineError, ObjectSpec, SceneSpec
from mimickit_hydra.engines.mujoco.model import SolverOptions, build_model, exp_map_to_quat_wxyz
from mimickit_hydra.engines.mujoco.readout import quat_wxyz_to_exp_map

ASSET = Path(__file__).parents[2] / "mimickit_hydra" / "data" / "assets" / "humanoid" / "humanoid.xml"
HUMANOID = ObjectSpec("humanoid", str(ASSET), start_pos=(0.0, 0.0, 0.882416))
ELBOW = 9


def build(mode="pos", *objects, **options):
    return build_model(SceneSpec(objects or (HUMANOID,)), mode, **options)


def write(tmp_path, bodies, header=""):
    path = tmp_path / "asset.xml"
    path.write_text(f"<mujoco>{header}<worldbody>{bodies}</worldbody></mujoco>")
    return ObjectSpec("thing", str(path))


def test_three_hinges_become_a_ball():
    model = build().model
    assert (model.nbody, model.njnt, model.nq, model.nv, model.nu, model.ngeom) == (16, 13, 43, 34, 28, 19)
    kinds = model.jnt_type.tolist()
    ball, hinge = int(mujoco.mjtJoint.mjJNT_BALL), int(mujoco.mjtJoint.mjJNT_HINGE)
    assert kinds[1:] == [ball, ball, ball, hinge, ball, hinge, ball, hinge, ball, ball, hinge, ball]
    assert model.jnt_limited.tolist() == [int(kind == hinge) for kind in kinds]
    assert not model.jnt_stiffness.any()
    assert not model.dof_damping.any()
    assert model.dof_armature[6:12].tolist() == [0.02] * 3 + [0.01] * 3


def test_actuators_of_position_control():
    scene = build("pos")
    model, facts = scene.model, scene.layouts[0].model
    np.testing.assert_array_equal(model.actuator_gainprm[:, 0], facts.kp)
    np.testing.assert_array_equal(model.actuator_biasprm[:, 0], 0)
    np.testing.assert_array_equal(model.actuator_biasprm[:, 1], -facts.kp)
    np.testing.assert_array_equal(model.actuator_biasprm[:, 2], -facts.kd)
    np.testing.assert_array_equal(model.actuator_gear[:3, :3], np.eye(3))
    assert not model.actuator_ctrllimited.any()
    np.testing.assert_array_equal(model.actuator_forcerange[:3], [[-200, 200]] * 3)
    for ranges in (model.jnt_actfrcrange[4], model.actuator_forcerange[9]):  # an elbow: clamped in both places
        np.testing.assert_array_equal(ranges, [-70, 70])
    assert scene.layouts[0].ctrl == slice(0, 28)


def test_actuators_of_the_other_modes():
    velocity, torque = build("vel").model, build("torque").model
    kd = build().layouts[0].model.kd
    np.testing.assert_array_equal(velocity.actuator_gainprm[:, 0], kd)
    np.testing.assert_array_equal(velocity.actuator_biasprm[:, 1:3], np.stack([0 * kd, -kd], axis=1))
    np.testing.assert_array_equal(torque.actuator_gainprm[:, 0], 1)
    assert not torque.actuator_biasprm.any()
    assert build("none").model.nu == 0
    assert build("pos", replace(HUMANOID, disable_motors=True)).model.nu == 0


def test_solver_and_ground():
    model = build("pos", timestep=1 / 120, options=SolverOptions(iterations=7, ls_iterations=9, impratio=3.0)).model
    option = model.opt
    assert option.timestep == 1 / 120
    assert (option.iterations, option.ls_iterations, option.impratio, option.tolerance) == (7, 9, 3.0, 1e-8)
    assert option.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    assert option.solver == mujoco.mjtSolver.mjSOL_NEWTON
    assert option.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL
    ground = model.geom("ground")
    assert ground.condim == 3
    np.testing.assert_allclose(ground.friction, [1.0, 0.005, 0.0001])


def test_degrees_and_defaults_of_an_asset_are_honoured(tmp_path):
    thing = write(
        tmp_path,
        '<body name="a"><freejoint/><geom size="0.1"/><body name="b" pos="0 0 1"><joint axis="0 0 1" range="-90 45"/>'
        '<geom size="0.1"/></body></body>',
        '<default><joint stiffness="7" damping="3"/></default>',
    )
    facts = build("pos", thing).layouts[0].model
    np.testing.assert_allclose([facts.dof_low[0], facts.dof_high[0]], [-np.pi / 2, np.pi / 4])
    assert (facts.kp[0], facts.kd[0], facts.torque_limits[0]) == (7, 3, 1e6)
    model = build("pos", thing).model
    np.testing.assert_allclose(model.jnt_range[1], [-np.pi / 2, np.pi / 4])


def test_the_same_asset_twice_has_its_own_numbers():
    scene = build("pos", HUMANOID, replace(HUMANOID, name="other", is_visual=True))
    assert scene.layouts[1].body_ids.tolist() == list(range(16, 31))
    assert scene.layouts[1].root_qpos == 43
    assert scene.layouts[1].ctrl == slice(28, 56)
    assert scene.layouts[1].contact_bodies.size == 0
    assert not scene.model.geom_contype[19:].any()


def test_a_fixed_root_is_a_mocap_body():
    scene = build("pos", replace(HUMANOID, fix_root=True))
    assert scene.model.nmocap == 1
    assert scene.model.nq == 36
    data = mujoco.MjData(scene.model)
    mujoco.mj_forward(scene.model, data)
    assert data.ncon == 0  # the pelvis overlaps the torso by design
    assert not scene.layouts[0].floating


def set_pose(scene, data, obj, root_pos, root_rot, dof_pos):
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


@pytest.mark.parametrize("fix_root", [False, True])
def test_poses_against_golden_kinematics(fix_root):
    golden = np.load(Path(__file__).parents[1] / "golden" / "kinematics_humanoid.npz")
    scene = build("none", replace(HUMANOID, fix_root=fix_root), contact_sensors=False)
    assert scene.model.nsensor == 0
    data = mujoco.MjData(scene.model)
    for k in (0, 3, 12):
        set_pose(scene, data, 0, golden["dof/in/root_pos"][k], golden["dof/in/root_rot"][k], golden["dof/in/dof"][k])
        mujoco.mj_kinematics(scene.model, data)
        np.testing.assert_allclose(data.xpos[scene.layouts[0].body_ids], golden["dof/out/body_pos"][k], atol=1e-5)


def test_exponential_maps_and_quaternions():
    rng = np.random.default_rng(0)
    axis = rng.normal(size=(200, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.concatenate([rng.uniform(0, np.pi, 190), [0, 1e-15, 1e-9, 1e-6, 1e-4, 3.1415, 3.14159, 1, 2, 3]])
    exp_map = axis * angle[:, None]
    quat = exp_map_to_quat_wxyz(exp_map)
    np.testing.assert_allclose(quat[:, 0], np.cos(angle / 2), atol=1e-15)
    np.testing.assert_allclose(quat[:, 1:], axis * np.sin(angle / 2)[:, None], atol=1e-15)
    np.testing.assert_allclose(quat_wxyz_to_exp_map(quat), exp_map, atol=1e-12)
    np.testing.assert_allclose(quat_wxyz_to_exp_map(-quat), exp_map, atol=1e-12)


FREE = '<freejoint/><geom size="0.1"/>'
BAD_ASSETS = {
    "two roots": ('<body name="a"><geom size=".1"/></body><body name="b"><geom size=".1"/></body>', "exactly one body"),
    "slide": (
        f'<body name="a">{FREE}<body name="b"><joint type="slide"/><geom size=".1"/></body></body>',
        "body 'b' must have no joint or hinges, found slide",
    ),
    "hinged root": (
        '<body name="a"><joint axis="1 0 0"/><geom size=".1"/></body>',
        "the root, 'a', may have",
    ),
    "massless": (f'<body name="a">{FREE}<body name="b"><joint axis="1 0 0"/></body></body>', "MuJoCo cannot build it"),
    "not xml": ("<body", "not a valid MJCF file"),
}


@pytest.mark.parametrize("case", list(BAD_ASSETS))
def test_bad_assets_are_one_line(tmp_path, case):
    bodies, message = BAD_ASSETS[case]
    with pytest.raises(EngineError) as error:
        build("pos", write(tmp_path, bodies))
    assert message in str(error.value)
    assert "asset.xml" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(EngineError, match=r"nowhere\.xml: asset file of object 'humanoid' not found"):
        build("pos", replace(HUMANOID, asset_file=str(tmp_path / "nowhere.xml")))
    usd = tmp_path / "humanoid.usd"
    usd.write_text("")
    with pytest.raises(EngineError, match=r"must be MJCF \(\.xml\)"):
        build("pos", replace(HUMANOID, asset_file=str(usd)))
