"""Poses and velocities: what a reset reads back, forward kinematics, and finite differences."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.rotations import (
    exp_map_to_quat,
    quat_conj,
    quat_diff_angle,
    quat_mul,
    quat_rotate,
    quat_to_exp_map,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "kinematics_humanoid.npz"
HALF_TURN = 0.5**0.5


def test_body_poses_equal_golden_kinematics(lab):
    golden = np.load(GOLDEN)
    dof = torch.from_numpy(golden["dof/in/dof"]).float()
    engine = lab.make(num_envs=len(dof))
    state = lab.rest(
        engine, dof_pos=dof, root_pos=torch.from_numpy(golden["dof/in/root_pos"]),
        root_rot=torch.from_numpy(golden["dof/in/root_rot"]),
    )  # fmt: skip
    lab.reset_all(engine, state)
    got = engine.states[0]
    torch.testing.assert_close(got.body_pos, torch.from_numpy(golden["dof/out/body_pos"]).float(), atol=1e-5, rtol=0)
    angle = quat_diff_angle(got.body_rot, torch.from_numpy(golden["dof/out/body_rot"]).float())
    assert angle.abs().max() < 2e-3  # arccos near one: float32 resolves no better


def test_body_poses_equal_the_character_model(lab):
    engine = lab.make()
    character = CharacterModel.from_file(lab.humanoid.asset_file)
    state = lab.random(engine, seed=3)
    lab.reset_all(engine, state)
    pos, rot = character.forward_kinematics(state.root_pos, state.root_rot, character.dof_to_rot(state.dof_pos))
    torch.testing.assert_close(engine.states[0].body_pos, pos, atol=1e-5, rtol=0)
    assert (quat_mul(quat_conj(engine.states[0].body_rot), rot)[..., :3]).abs().max() < 1e-5


def test_reset_reads_back_at_once(lab):
    engine = lab.make()
    state = lab.random(engine, seed=1, speed=3.0)
    lab.reset_all(engine, state)
    got = engine.states[0]
    for name in ("root_pos", "root_vel", "root_ang_vel", "dof_pos", "dof_vel"):
        torch.testing.assert_close(getattr(got, name), getattr(state, name), atol=2e-5, rtol=1e-5, msg=name)
    same = (got.root_rot * state.root_rot).sum(-1, keepdim=True).sign()
    torch.testing.assert_close(got.root_rot * same, state.root_rot, atol=1e-6, rtol=0)
    for part in ("pos", "rot", "vel", "ang_vel"):
        torch.testing.assert_close(getattr(got, "body_" + part)[:, 0], getattr(got, "root_" + part))


def test_kinematics_after_a_turned_reset(lab):
    engine = lab.make()
    turned = torch.tensor([0.0, 0.0, HALF_TURN, HALF_TURN])
    lab.reset_all(engine, lab.rest(engine, root_rot=turned, root_pos=torch.tensor([1.0, 0.0, 1.2])))
    thigh = engine.states[0].body_pos[:, engine.models[0].body_names.index("left_thigh")]
    # 0.0849 m to the left of the pelvis; after a quarter turn left that is towards -x
    torch.testing.assert_close(
        thigh - engine.states[0].root_pos, torch.tensor([-0.084887, 0, 0]).repeat(3, 1), atol=1e-5, rtol=0
    )


def test_angles_come_back_in_the_shortest_form(lab):
    engine = lab.make()
    dof = torch.zeros(3, 28)
    dof[:, 3:6] = torch.tensor([0.0, 0.0, 3.3])  # neck, beyond half a turn
    lab.reset_all(engine, lab.rest(engine, dof_pos=dof))
    torch.testing.assert_close(engine.states[0].dof_pos[:, 5], torch.full((3,), 3.3 - 2 * torch.pi), atol=1e-5, rtol=0)


def test_body_velocities_after_reset_follow_from_the_joint_velocities(lab):
    engine = lab.make()
    elbow, rate = 9, 2.0
    dof_vel = torch.zeros(3, 28)
    dof_vel[:, elbow] = rate
    spin = torch.tensor([0.0, 0.0, 1.5])
    lab.reset_all(engine, lab.rest(engine, dof_vel=dof_vel, root_ang_vel=spin, root_vel=torch.tensor([0.3, 0.0, 0.0])))
    state, model = engine.states[0], engine.models[0]
    arm, hand = model.body_names.index("right_lower_arm"), model.body_names.index("right_hand")
    torch.testing.assert_close(
        state.body_ang_vel[:, arm], torch.tensor([0.0, 0.0, 3.5]).repeat(3, 1), atol=1e-5, rtol=0
    )
    arm_vel = state.root_vel + torch.linalg.cross(spin.repeat(3, 1), state.body_pos[:, arm] - state.root_pos)
    torch.testing.assert_close(state.body_vel[:, arm], arm_vel, atol=1e-5, rtol=0)
    reach = state.body_pos[:, hand] - state.body_pos[:, arm]
    hand_vel = arm_vel + torch.linalg.cross(torch.tensor([0.0, 0.0, 3.5]).repeat(3, 1), reach)
    torch.testing.assert_close(state.body_vel[:, hand], hand_vel, atol=1e-5, rtol=0)


@pytest.fixture
def flight(lab, snapshot):
    """Three states 0.5 ms apart of a humanoid in free flight; velocities are taken from the middle one."""
    engine = lab.make(control_mode="none", control_freq=2000, sim_freq=2000)
    lab.reset_all(engine, lab.random(engine, seed=5, height=5.0, speed=2.0))
    lab.run(engine, 5)
    frames = []
    for _ in range(3):
        frames.append(snapshot(engine.states[0]))
        engine.step()
    return frames, 2 * engine.control_dt


def test_linear_velocities_are_those_of_link_origins(flight):
    (before, now, after), dt = flight
    torch.testing.assert_close((after["root_pos"] - before["root_pos"]) / dt, now["root_vel"], atol=2e-2, rtol=1e-2)
    torch.testing.assert_close((after["body_pos"] - before["body_pos"]) / dt, now["body_vel"], atol=4e-2, rtol=1e-2)
    assert now["body_vel"].abs().max() > 2.0  # the test sees something


def test_angular_velocities_are_in_world_axes(flight):
    (before, now, after), dt = flight
    for part in ("root", "body"):
        turn = quat_mul(after[part + "_rot"], quat_conj(before[part + "_rot"]))
        torch.testing.assert_close(quat_to_exp_map(turn) / dt, now[part + "_ang_vel"], atol=5e-2, rtol=1e-2)


def test_ball_velocities_are_in_the_child_frame(flight):
    (before, now, after), dt = flight
    ball = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 14, 15, 16])
    q0 = exp_map_to_quat(before["dof_pos"][:, ball].reshape(3, -1, 3))
    q1 = exp_map_to_quat(after["dof_pos"][:, ball].reshape(3, -1, 3))
    want = quat_to_exp_map(quat_mul(quat_conj(q0), q1)) / dt
    got = now["dof_vel"][:, ball].reshape(3, -1, 3)
    torch.testing.assert_close(want, got, atol=6e-2, rtol=1e-2)
    in_parent = quat_rotate(exp_map_to_quat(now["dof_pos"][:, ball].reshape(3, -1, 3)), got)
    assert (want - in_parent).abs().max() > 0.5  # the other convention would be seen


def test_hinge_velocities(flight):
    (before, now, after), dt = flight
    hinge = torch.tensor([9, 13, 17, 24])
    got = (after["dof_pos"] - before["dof_pos"])[:, hinge] / dt
    torch.testing.assert_close(got, now["dof_vel"][:, hinge], atol=5e-2, rtol=1e-2)


def test_free_fall(lab):
    engine = lab.make()
    lab.reset_all(engine, lab.rest(engine, height=3.0))
    lab.run(engine, 3, torch.zeros(3, 28))
    t = 0.1
    fall = engine.states[0].root_pos[:, 2] - 3.0
    # semi-implicit steps of dt fall g t (t + dt) / 2
    torch.testing.assert_close(fall, torch.full((3,), -9.81 * t * (t + engine.sim_dt) / 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(engine.states[0].root_vel[:, 2], torch.full((3,), -0.981), atol=1e-4, rtol=0)
