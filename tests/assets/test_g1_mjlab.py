"""The character g1_mjlab beside the model that its numbers come from: values, kinematics and simulated trajectories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.engines.interface import ObjectSpec, ResetState, SceneSpec
from mimickit_hydra.engines.registry import make_engine
from mimickit_hydra.engines.schema import MujocoEngineConfig
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.mjcf import read_robot
from mimickit_hydra.motion.rotations import quat_rotate

FILE = bundled_data() / "assets/g1_mjlab/g1_mjlab.xml"
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
ROBOT = np.load(GOLDEN / "tracking_g1.npz")


def test_its_values() -> None:
    robot = read_robot(FILE)
    assert robot.notes == []
    assert robot.body_names == ROBOT["body_names"].tolist()
    assert robot.dof_names == ROBOT["joint_names"].tolist()
    for ours, theirs in (
        (robot.kp, "stiffness"), (robot.kd, "damping"), (robot.armature, "armature"), (robot.masses, "mass"),
        (robot.torque_high, "effort_limit"), (-robot.torque_low, "effort_limit"), (robot.dof_low, "joint_range"),
        (robot.axes, "joint_axis"),
    ):  # fmt: skip
        value = ROBOT[theirs][:, 0] if theirs == "joint_range" else ROBOT[theirs]
        np.testing.assert_allclose(ours, value, atol=1e-6, err_msg=theirs)
    assert not robot.frictionloss.any()
    assert not robot.damping.any()


def test_its_kinematics() -> None:
    character = CharacterModel.from_file(FILE)
    root_pos, root_rot, dof = (torch.tensor(ROBOT[f"fk/in/{name}"]) for name in ("root_pos", "root_quat", "joint_pos"))
    body_pos, body_rot = character.forward_kinematics(root_pos, root_rot, character.dof_to_rot(dof))
    np.testing.assert_allclose(body_pos, ROBOT["fk/out/body_pos"], atol=2e-6)
    same = np.abs((body_rot.numpy() * ROBOT["fk/out/body_quat"]).sum(-1))
    np.testing.assert_allclose(same, 1.0, atol=2e-6)


def test_its_trajectories() -> None:
    """Forty substeps of random actions with contacts, beside MuJoCo with the original model in float64."""
    made = np.load(GOLDEN / "tracking_rollout.npz")
    rows = made["mujoco/rows"]
    config = MujocoEngineConfig(
        engine_name="mujoco", control_freq=50, sim_freq=200, iterations=10, ls_iterations=20, impratio=1.0
    )
    engine = make_engine(config, SceneSpec((ObjectSpec("character", str(FILE)),)), len(rows), "cpu")

    def start(name: str) -> torch.Tensor:
        return torch.tensor(made[f"init/{name}"][rows])

    rot = start("root_quat")
    spin = quat_rotate(rot, start("root_ang_vel_body"))
    state = ResetState(start("root_pos"), rot, start("root_lin_vel"), spin, start("joint_pos"), start("joint_vel"))
    engine.reset(torch.ones(len(rows), dtype=torch.bool), {0: state})
    for step, action in enumerate(made["in/action"][:, rows]):
        engine.set_command(torch.tensor(ROBOT["default_joint_pos"] + ROBOT["action_scale"] * action))
        engine.step()
        found, last = engine.states[0], 4 * step + 3
        for ours, theirs in (
            (found.root_pos, "root_pos"), (found.dof_pos, "joint_pos"), (found.root_vel, "root_lin_vel"),
            (found.dof_vel, "joint_vel"),
        ):  # fmt: skip
            assert ours.numpy() == pytest.approx(made[f"mujoco/{theirs}"][:, last], abs=1e-6), (step, theirs)
    engine.close()
