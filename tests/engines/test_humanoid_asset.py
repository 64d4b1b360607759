"""The bundled humanoid against the figures of its specification."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

ASSET = Path(__file__).parents[2] / "mimickit_hydra" / "data" / "assets" / "humanoid" / "humanoid.xml"
GOLDEN = Path(__file__).parents[1] / "golden" / "kinematics_humanoid.npz"

# kg, and what the joint above the body is worth: stiffness, damping, armature, torque
FIGURES = {
    "pelvis": (9.9956, None),
    "torso": (12.0135, (1000, 100, 0.02, 200)),
    "head": (3.8823, (100, 10, 0.01, 50)),
    "right_upper_arm": (1.6243, (400, 40, 0.02, 100)),
    "right_lower_arm": (1.0926, (300, 30, 0.01, 70)),
    "right_hand": (0.5000, None),
    "left_upper_arm": (1.6243, (400, 40, 0.02, 100)),
    "left_lower_arm": (1.0926, (300, 30, 0.01, 70)),
    "left_hand": (0.5000, None),
    "right_thigh": (4.7435, (500, 50, 0.02, 200)),
    "right_shin": (3.1192, (500, 50, 0.02, 150)),
    "right_foot": (0.9997, (400, 40, 0.01, 90)),
    "left_thigh": (4.7435, (500, 50, 0.02, 200)),
    "left_shin": (3.1192, (500, 50, 0.02, 150)),
    "left_foot": (0.9997, (400, 40, 0.01, 90)),
}


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_path(str(ASSET))


def test_masses(model):
    assert [model.body(b).name for b in range(1, model.nbody)] == list(FIGURES)
    np.testing.assert_allclose(model.body_mass[1:], [mass for mass, _ in FIGURES.values()], atol=5.1e-5)
    assert model.body_mass.sum() == pytest.approx(50.050, abs=5e-4)


@pytest.mark.parametrize("name", [name for name, (_, joint) in FIGURES.items() if joint])
def test_joint_figures(model, name):
    body = model.body(name).id
    joints = range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body])
    for j in joints:
        dof = model.jnt_dofadr[j]
        stiffness, damping, armature, torque = FIGURES[name][1]
        assert model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE
        assert model.jnt_stiffness[j] == stiffness
        assert model.dof_damping[dof] == damping
        assert model.dof_armature[dof] == armature
        np.testing.assert_array_equal(model.jnt_actfrcrange[j], [-torque, torque])
        assert model.jnt_limited[j]
        np.testing.assert_allclose(model.jnt_solimp[j, :3], [0, 0.99, 0.01])


def test_tree_and_ranges_equal_the_golden_character(model):
    golden = np.load(GOLDEN)
    np.testing.assert_array_equal(model.body_parentid[2:] - 1, golden["char/parent"][1:])
    np.testing.assert_allclose(model.body_pos[1:], golden["char/local_pos"], atol=1e-6)
    np.testing.assert_allclose(model.jnt_range[1:, 0], golden["char/dof_low"], atol=1e-6)
    np.testing.assert_allclose(model.jnt_range[1:, 1], golden["char/dof_high"], atol=1e-6)
    np.testing.assert_allclose(model.jnt_actfrcrange[1:, 1], golden["char/torque_limit"])


def test_soles_are_a_millimetre_above_the_ground(model):
    data = mujoco.MjData(model)
    data.qpos[2] = 0.882416
    mujoco.mj_kinematics(model, data)
    for side in ("left", "right"):
        foot = model.geom(side + "_foot").id
        assert data.geom_xpos[foot, 2] - model.geom_size[foot, 2] == pytest.approx(0.001, abs=1e-9)


def test_geoms_and_motors(model):
    assert (model.geom_condim == 1).all()
    np.testing.assert_allclose(model.geom_friction, np.tile([1.0, 0.05, 0.05], (18, 1)))
    np.testing.assert_allclose(model.geom_solimp[:, :3], np.tile([0.9, 0.99, 0.003], (18, 1)))
    np.testing.assert_allclose(model.geom_solref, np.tile([0.015, 1.0], (18, 1)))
    names = [model.joint(int(model.actuator_trnid[a, 0])).name for a in range(model.nu)]
    assert names[14:18] == ["right_hip_x", "right_hip_z", "right_hip_y", "right_knee"]
    assert sorted(names) == sorted(model.joint(j).name for j in range(1, model.njnt))
    np.testing.assert_array_equal(model.actuator_ctrlrange, np.tile([-1.0, 1.0], (28, 1)))
