"""Policies as ONNX files: they agree with torch, and say what a controller has to know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from made_policies import METHODS, Made, policy  # noqa: E402

from mimickit_hydra.deploy import format as names  # noqa: E402
from mimickit_hydra.deploy.onnx_graph import session_of  # noqa: E402
from mimickit_hydra.errors import UserError  # noqa: E402


def keys_of(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def facts_of(path: Path) -> dict[str, object]:
    return json.loads(keys_of(path)[names.FACTS])


def test_the_layout_is_mjlabs(tracking: Made) -> None:
    graph = onnx.load(tracking.path).graph
    assert [i.name for i in graph.input] == ["obs", "time_step"]
    wanted = ["actions", *names.REFERENCE, "joint_targets"]
    assert [o.name for o in graph.output] == wanted
    shapes = {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim] for o in graph.output}
    bodies = len(tracking.parts.character.body_names)
    assert shapes["actions"] == [1, 28]
    assert shapes["body_quat_w"] == [1, bodies, 4]
    keys = keys_of(tracking.path)
    for key in (
        "run_path", "joint_names", "joint_stiffness", "joint_damping", "default_joint_pos", "command_names",
        "observation_names", "observation_terms_scale", "observation_terms_history_length",
        "observation_terms_flatten_history_dim", "observation_terms_clip", "action_scale", "anchor_body_name",
        "body_names",
    ):  # fmt: skip
        assert keys[key], key
    assert keys["command_names"] == "motion"
    assert keys["observation_names"].split(",")[:2] == ["command", "motion_anchor_pos_b"]
    assert keys["observation_terms_clip"].startswith("-inf;inf,")
    model = tracking.parts.engine.models[0]
    assert keys["joint_stiffness"] == ",".join(f"{value:.3f}" for value in model.kp)
    assert json.loads(keys[names.FACTS])["joint_stiffness"] == model.kp.tolist()


def test_actions_are_offsets_in_units_of_the_scale(tracking: Made) -> None:
    session, facts = session_of(tracking.path.read_bytes()), facts_of(tracking.path)
    obs = np.random.default_rng(0).normal(size=(1, tracking.parts.env.obs_size)).astype(np.float32)
    found = dict(
        zip([o.name for o in session.get_outputs()], session.run(None, {"obs": obs, "time_step": [[3.0]]}), strict=True)
    )
    targets = np.array(facts["default_joint_pos"]) + np.array(facts["action_scale"]) * found["actions"]
    np.testing.assert_allclose(targets, found["joint_targets"], atol=1e-6)
    env = tracking.parts.env
    env.reset_to(torch.tensor([0]), torch.tensor([2.0 * env.control_dt]))
    pose = env.frames.read(env._ahead)
    np.testing.assert_allclose(found["joint_pos"], pose.dof_pos, atol=1e-6)
    np.testing.assert_allclose(np.roll(found["body_quat_w"], -1, -1), pose.body_rot, atol=1e-6)
    np.testing.assert_allclose(found["body_lin_vel_w"], pose.body_vel, atol=1e-6)


def test_the_card_names_files_and_licences(tracking: Made) -> None:
    card = (tracking.path.with_suffix(".md")).read_text()
    assert keys_of(tracking.path)[names.CARD] == card
    assert "| humanoid_walk.npz |" in card
    assert "Zlib" in card
    assert tracking.parts.char_file.rpartition("/")[2] in card


def test_ten_thousand_states(tracking: Made) -> None:
    export = tracking.export
    worst = export.write(tracking.path.with_name("again.onnx"), "obs", "float32", states=10_000).compared.worst
    assert worst < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("form", ["obs", "state"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_agrees_with_torch(method: str, form: str, tmp_path: Path) -> None:
    with policy(method, tmp_path) as export:
        assert export.write(tmp_path / "p.onnx", form, "float32", states=10_000).compared.worst < 1e-5


@pytest.mark.parametrize(("precision", "most"), [("float16", 5e-3), ("int8", 0.2)])
def test_fewer_bits_cost_what_is_said(tracking: Made, precision: str, most: float, tmp_path: Path) -> None:
    done = tracking.export.write(tmp_path / "p.onnx", "obs", precision, states=100)
    assert 1e-6 < done.compared.mean < done.compared.worst < most
    assert done.size < tracking.done.size
    assert precision in (tmp_path / "p.md").read_text()


def test_raw_state_gives_what_the_env_shows(tmp_path: Path) -> None:
    with policy("deepmimic", tmp_path) as export:
        graph, seen, _ = export._observer()
        env, session = export.parts.env, session_of(graph.SerializeToString())
        assert seen == [*names.STATE, "time_step"]
        for number in range(3):
            env.reset_to(torch.tensor([0]), torch.tensor([0.1 * number]))
            for _ in range(3):
                env.step(env.command + 0.1)
            found = session.run(None, {**raw_state(env), "time_step": [[float(env.motion_time) / env.control_dt]]})[0]
            np.testing.assert_allclose(found, env.obs, atol=2e-5)


def raw_state(env: object) -> dict[str, np.ndarray]:
    from mimickit_hydra.motion.rotations import quat_rotate_inv

    state = env.engine.states[0]  # type: ignore[attr-defined]
    return {
        "base_pos": state.root_pos.numpy(), "base_quat": np.roll(state.root_rot.numpy(), 1, -1),
        "base_lin_vel": state.root_vel.numpy(),
        "base_ang_vel": quat_rotate_inv(state.root_rot, state.root_ang_vel).numpy(), "dof_pos": state.dof_pos.numpy(),
        "dof_vel": state.dof_vel.numpy(),
    }  # fmt: skip


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"engine\.control_mode: found torque, must be pos"),
        policy("deepmimic", tmp_path, "engine.control_mode=torque"),
    ):
        pass
