"""A robot's file means the same to every engine: what MuJoCo makes of it."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from mimickit_hydra.engines.interface import EngineError, ObjectSpec
from mimickit_hydra.motion.mjcf import read_robot

FILES = Path(__file__).parents[1] / "engines" / "data" / "mjcf"
NAMES = ("base", "comment_dashes", "frame_offset", "joint_pos", "no_body_name", "position_actuators", "settotalmass")


@pytest.mark.parametrize("name", NAMES)
def test_bodies_masses_gains_and_limits_are_the_files(lab, name):
    file = FILES / f"{name}.xml"
    engine = lab.make(ObjectSpec("robot", str(file), start_pos=(0.0, 0.0, 1.0)), num_envs=1)
    robot, facts = read_robot(file), engine.models[0]
    assert facts.body_names == robot.body_names
    for field in ("dof_low", "dof_high", "torque_limits", "kp", "kd", "target_low", "target_high"):
        np.testing.assert_allclose(getattr(facts, field), getattr(robot, field), rtol=1e-6, err_msg=field)
    plain = mujoco.MjModel.from_xml_path(str(file))
    data = mujoco.MjData(plain)
    np.testing.assert_allclose(facts.body_masses, plain.body_mass[1:], rtol=1e-4)
    pose = torch.tensor([[0.3, -0.5, -0.2, -0.9]])
    lab.reset_all(engine, lab.rest(engine, height=2.0, dof_pos=pose))
    data.qpos[:7], data.qpos[7:] = [0, 0, 2, 1, 0, 0, 0], pose[0]
    mujoco.mj_kinematics(plain, data)
    np.testing.assert_allclose(engine.states[0].body_pos[0], data.xpos[1:], atol=1e-5)


def test_parts_are_simulated_or_refused_by_name(lab, tmp_path):
    """The two shins tied together: they stay so, or nothing is built."""
    text = (FILES / "base.xml").read_text()
    tie = '<equality><connect name="tie" body1="l_shin" body2="r_shin" anchor="0 -0.1 -0.3"/></equality></mujoco>'
    file = tmp_path / "tied.xml"
    file.write_text(text.replace("</mujoco>", tie))
    tied = ObjectSpec("robot", str(file), start_pos=(0.0, 0.0, 1.0))
    if lab.name not in ("mujoco", "mjwarp"):
        with pytest.raises(EngineError, match="does not simulate its equality tie; use engine=mujoco"):
            lab.make(tied)
        return
    engine = lab.make(tied)
    lab.reset_all(engine, lab.rest(engine, height=2.0))
    lab.run(engine, 5, torch.tensor([[1.0, 0.0, -1.0, 0.0]]).repeat(3, 1))
    shins = engine.states[0].body_pos[0, [2, 4]]
    assert (shins[0] - shins[1]).abs()[0] < 0.05  # apart without the tie
