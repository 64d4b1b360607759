"""What other programs ask of such a file and do with it: LeRobot's controller of mjlab's policies, RoboJuDo's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from made_policies import Made  # noqa: E402

from mimickit_hydra.deploy.onnx_graph import session_of  # noqa: E402

JOINTS = 28


@pytest.fixture(scope="module")
def session(tracking: Made) -> Any:
    return session_of(tracking.path.read_bytes())


def listed(session: Any, key: str) -> list[str]:
    return [text.strip() for text in session.get_modelmeta().custom_metadata_map[key].split(",") if text.strip()]


def test_lerobot(session: Any) -> None:
    """It splits four lists at commas, feeds what is not time_step with the observation, and asks for actions."""
    for key in ("default_joint_pos", "action_scale", "joint_stiffness", "joint_damping"):
        assert len([float(text) for text in listed(session, key)]) == JOINTS
    inputs = {i.name: i for i in session.get_inputs()}
    assert inputs["time_step"].type == "tensor(float)"
    others = [name for name in inputs if name != "time_step"]
    assert len(others) == 1
    obs = np.zeros((1, inputs[others[0]].shape[1]), np.float32)
    found = session.run(["actions"], {others[0]: obs, "time_step": np.zeros((1, 1), np.float32)})[0]
    assert found.reshape(-1).shape == (JOINTS,)


def test_robojudo(session: Any, tracking: Made) -> None:
    """It checks names, shapes and counts, and that the terms of the observation add up to its width."""
    inputs = {i.name: i.shape for i in session.get_inputs()}
    assert set(inputs) == {"obs", "time_step"}
    assert inputs["time_step"] == [1, 1]
    outputs = {o.name: o.shape for o in session.get_outputs()}
    bodies, names = listed(session, "body_names"), listed(session, "joint_names")
    assert listed(session, "anchor_body_name")[0] in bodies
    assert len(set(names)) == JOINTS
    for name in ("actions", "joint_pos", "joint_vel"):
        assert outputs[name] == [1, JOINTS]
    assert outputs["body_pos_w"] == [1, len(bodies), 3]
    assert outputs["body_quat_w"] == [1, len(bodies), 4]
    sizes = {
        "command": 2 * JOINTS, "motion_anchor_pos_b": 3, "motion_anchor_ori_b": 6, "base_lin_vel": 3,
        "base_ang_vel": 3, "joint_pos": JOINTS, "joint_vel": JOINTS, "actions": JOINTS,
    }  # fmt: skip
    assert listed(session, "observation_names") == list(sizes)
    assert sum(sizes.values()) == inputs["obs"][1] == tracking.parts.env.obs_size


def test_the_action_of_the_step_before_is_the_output(tracking: Made) -> None:
    """Controllers feed the output ``actions`` back as the term ``actions``, and add it to ``default_joint_pos``."""
    env, agent = tracking.parts.env, tracking.parts.agent
    env.set_mode(True)
    env.reset()
    session = session_of(tracking.path.read_bytes())
    feed = {"obs": env.obs.numpy().copy(), "time_step": np.zeros((1, 1), np.float32)}
    env.step(agent.act(env.obs))
    np.testing.assert_allclose(env.obs[:, -JOINTS:], session.run(["actions"], feed)[0], atol=1e-5)


def test_the_reference_that_is_seen_is_one_step_ahead(session: Any, tracking: Made) -> None:
    """Controllers make the term ``command`` of the outputs: at step k of a clip they have to be those of k + 1."""
    env, agent = tracking.parts.env, tracking.parts.agent
    env.set_mode(True)
    env.reset_to(torch.zeros(1, dtype=torch.int64), torch.zeros(1))
    for step in range(3):
        feed = {"obs": env.obs.numpy(), "time_step": np.full((1, 1), step + 1.0, np.float32)}
        joints = np.concatenate(session.run(["joint_pos", "joint_vel"], feed), axis=-1)
        np.testing.assert_allclose(env.obs[:, : 2 * JOINTS], joints, atol=1e-5)
        env.step(agent.act(env.obs))
    assert np.abs(joints[:, JOINTS:]).max() > 0.1  # it moves, so that another frame would be seen


def test_targets_by_mjlabs_keys_alone(session: Any, tracking: Made) -> None:
    """``default_joint_pos + action_scale * actions``, at three decimals, are the targets of the env."""
    env, agent = tracking.parts.env, tracking.parts.agent
    env.set_mode(True)
    env.reset_to(torch.zeros(1, dtype=torch.int64), torch.zeros(1))
    feed = {"obs": env.obs.numpy().copy(), "time_step": np.zeros((1, 1), np.float32)}
    actions = session.run(["actions"], feed)[0]
    default, scale = (np.array(listed(session, key), float) for key in ("default_joint_pos", "action_scale"))
    env.step(agent.act(env.obs))
    found = default + scale * actions
    rounding = 5.1e-4 * (1.0 + np.abs(actions))
    assert (np.abs(found - env.last_command.numpy()) <= rounding).all()
    assert np.abs(found - default).max() > 10 * rounding.min()  # so that another scale would be seen
