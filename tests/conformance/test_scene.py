"""What an engine says about its scene: order, names, limits, gains, masses."""

import numpy as np
import pytest
import torch

from mimickit_hydra.engines.interface import EngineError

BODIES = [
    "pelvis", "torso", "head", "right_upper_arm", "right_lower_arm", "right_hand", "left_upper_arm", "left_lower_arm",
    "left_hand", "right_thigh", "right_shin", "right_foot", "left_thigh", "left_shin", "left_foot",
]  # fmt: skip
PARENTS = [-1, 0, 1, 1, 3, 4, 1, 6, 7, 0, 9, 10, 0, 12, 13]
DOFS = [0, 3, 3, 3, 1, 0, 3, 1, 0, 3, 1, 3, 3, 1, 3]
MASSES = [9.9956, 12.0135, 3.8823, *[1.6243, 1.0926, 0.5] * 2, *[4.7435, 3.1192, 0.9997] * 2]
KP = [1000] * 3 + [100] * 3 + ([400] * 3 + [300]) * 2 + ([500] * 4 + [400] * 3) * 2
TORQUE = [200] * 3 + [50] * 3 + ([100] * 3 + [70]) * 2 + ([200] * 3 + [150] + [90] * 3) * 2


def test_bodies_and_dofs_are_depth_first(lab):
    model = lab.make().models[0]
    assert model.body_names == BODIES
    assert model.parents.tolist() == PARENTS
    assert model.dof_dims.tolist() == DOFS
    assert model.num_dofs == 28
    assert model.num_bodies == 15


def test_gains_limits_and_masses_come_from_the_asset(lab):
    model = lab.make().models[0]
    np.testing.assert_allclose(model.kp, KP)
    np.testing.assert_allclose(model.kd, np.array(KP) / 10)
    np.testing.assert_allclose(model.torque_limits, TORQUE)
    np.testing.assert_allclose(model.body_masses, MASSES, atol=6e-5)
    assert model.body_masses.sum() == pytest.approx(50.050, abs=5e-4)
    abdomen_and_elbow = [0, 1, 2, 9, 13]
    np.testing.assert_allclose(model.dof_low[abdomen_and_elbow], [-1.0472, -1.0472, -1.2217, 0, -2.7925], atol=1e-6)
    np.testing.assert_allclose(model.dof_high[abdomen_and_elbow], [1.0472, 1.5708, 1.2217, 2.7925, 0], atol=1e-6)


def test_state_shapes_and_types(lab):
    engine = lab.make(num_envs=5)
    state = engine.states[0]
    shapes = {"root_pos": (5, 3), "root_rot": (5, 4), "root_vel": (5, 3), "root_ang_vel": (5, 3)}
    shapes |= {"dof_pos": (5, 28), "dof_vel": (5, 28), "body_pos": (5, 15, 3), "body_rot": (5, 15, 4)}
    shapes |= {"body_vel": (5, 15, 3), "body_ang_vel": (5, 15, 3)}
    shapes |= {"contact_forces": (5, 15, 3), "ground_contact_forces": (5, 15, 3)}
    assert {name: tuple(tensor.shape) for name, tensor in vars(state).items()} == shapes
    assert all(tensor.dtype == torch.float32 for tensor in vars(state).values())
    assert engine.diverged.shape == (5,)


def test_a_new_engine_stands_where_the_scene_says(lab):
    engine = lab.make()
    torch.testing.assert_close(engine.states[0].root_pos, torch.tensor([0.0, 0.0, 0.882416]).repeat(3, 1))
    torch.testing.assert_close(engine.states[0].body_pos[:, 0], engine.states[0].root_pos)


def test_state_tensors_are_the_same_objects_for_ever(lab):
    engine = lab.make()
    before = {name: (id(t), t.data_ptr()) for name, t in vars(engine.states[0]).items()}
    lab.reset_all(engine, lab.random(engine))
    lab.run(engine, 2, lab.standing_pose(engine))
    engine.load_state_dict(engine.state_dict())
    assert {name: (id(t), t.data_ptr()) for name, t in vars(engine.states[0]).items()} == before


def test_time_steps(lab):
    engine = lab.make(control_freq=30, sim_freq=240)
    assert engine.control_dt == pytest.approx(1 / 30)
    assert engine.sim_dt == pytest.approx(1 / 240)


@pytest.mark.parametrize(("control", "sim"), [(30, 100), (30, 20), (0, 120), (-30, 120)])
def test_sim_freq_must_be_a_multiple(lab, control, sim):
    with pytest.raises(EngineError, match=r"engine\.sim_freq must be a positive multiple"):
        lab.make(control_freq=control, sim_freq=sim)


@pytest.mark.parametrize("num_envs", [0, -1])
def test_num_envs_must_be_positive(lab, num_envs):
    with pytest.raises(EngineError, match="num_envs must be at least 1"):
        lab.make(num_envs=num_envs)


def test_closing_twice_is_safe(lab):
    engine = lab.make()
    engine.close()
    engine.close()


def test_options_reach_the_solver_of_mujoco_warp(lab):
    """What newton and mjwarp have in common, and no other engine."""
    if lab.name not in ("newton", "mjwarp"):
        pytest.skip("has no arrays of MuJoCo Warp")
    options = {"iterations": 7, "ls_iterations": 9, "impratio": 4.0, "njmax": 60, "nconmax": 13}
    more = {"tolerance": 1e-4, "ls_tolerance": 0.1, "jacobian": "sparse"}
    scene = lab.make(lab.ball(), num_envs=2, sim_freq=240, **options, **more).scene
    option = scene.warp_model.opt
    assert (option.iterations, option.ls_iterations, scene.warp_model.is_sparse) == (7, 9, True)
    found = [float(array.numpy()[0]) for array in (option.tolerance, option.ls_tolerance, option.impratio_invsqrt)]
    assert found == pytest.approx([1e-4, 0.1, 0.5])
    assert float(option.timestep.numpy()[0]) == pytest.approx(1 / 240)
    assert (scene.data.njmax, scene.data.naconmax) == (60, 26)
    assert scene.data.qpos.shape == (2, 7)
