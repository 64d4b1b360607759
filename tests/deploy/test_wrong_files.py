"""Files that do not fit, or come from nobody knows where, are refused in one line."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from made_policies import Made  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from mimickit_hydra.cli.main import main  # noqa: E402
from mimickit_hydra.deploy import format as names  # noqa: E402
from mimickit_hydra.deploy.player import Player, check_mjcf  # noqa: E402
from mimickit_hydra.errors import UserError  # noqa: E402

Facts = dict[str, Any]


def refused(path: Path, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        Player(path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def entry(model: Any, key: str) -> Any:
    return next(one for one in model.metadata_props if one.key == key)


def with_facts(found: Made, folder: Path, change: Callable[[Facts], object]) -> Path:
    model = onnx.load(found.path)
    facts = json.loads(entry(model, names.FACTS).value)
    change(facts)
    entry(model, names.FACTS).value = json.dumps(facts)
    return saved(model, folder)


def saved(model: Any, folder: Path) -> Path:
    path = folder / "other.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def swap(facts: Facts) -> None:
    facts["joint_names"][0], facts["joint_names"][1] = facts["joint_names"][1], facts["joint_names"][0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.pop("joint_names"), "joint_names: found nothing, must be a list of names"),
        (lambda f: f["joint_names"].pop(), "must be a list of 27 finite numbers"),
        (swap, "metadata joint_names has 28 names that are not those of its table"),
        (lambda f: f["joint_stiffness"].pop(), "joint_stiffness: found 27 values, must be a list of 28 finite numbers"),
        (
            lambda f: f["joint_stiffness"].__setitem__(0, float("nan")),
            "joint_stiffness: found what is no finite number",
        ),
        (lambda f: f["joint_stiffness"].__setitem__(0, -1.0), "joint_stiffness: found -1, must be 0 or more"),
        (lambda f: f["joint_stiffness"].__setitem__(0, 7.0), "its metadata joint_stiffness is not that of its table"),
        (lambda f: f["action_scale"].__setitem__(3, 0.0), "action_scale: found 0, must be other than 0"),
        (lambda f: f.update(sim_freq=210), "sim_freq: found 210 Hz, must be a multiple of control_freq, 50 Hz"),
        (lambda f: f.update(control_freq=0), "control_freq: found 0, must be a whole number from 1 to 100000"),
        (lambda f: f.update(control_freq=True), "control_freq: found True, must be a whole number"),
        (lambda f: f.update(control_mode="torque"), "control_mode: found torque, must be pos or pd_explicit"),
        (lambda f: f.update(format=99), "format: found 99, must be 1: it was written by another version"),
        (lambda f: f["observations"].pop(), "but its terms have"),
        (lambda f: f["inputs"]["obs"].update(size=154), "inputs.obs: found 154, must be obs_size"),
        (lambda f: f["inputs"].update(wind={"size": 3}), "and it says that it takes"),
        (lambda f: f["scene"]["joints"].pop(), "but the joints of its scene have"),
        (lambda f: f["scene"]["joints"][0].__setitem__(0, "wheel"), "its scene has no joint 'wheel'"),
        (lambda f: f["scene"].update(root="saddle"), "its scene has no root 'saddle'"),
        (lambda f: f["scene"]["numbers"].update(body_mass=[1.0]), "its scene has no 1 numbers 'body_mass'"),
        (lambda f: f["scene"]["numbers"].update(__doc__=[1.0]), "its scene has no 1 numbers '__doc__'"),
        (lambda f: f.update(starts=[]), "starts: found [], must be a list of at least one state"),
        (lambda f: f["starts"][0].update(base_quat=[1.0]), "starts[0].base_quat: found 1 values"),
        (lambda f: f.update(sha256={}), "its mimickit_mjcf is not of it"),
    ],
)
def test_tables_that_do_not_fit(
    tracking: Made, tmp_path: Path, change: Callable[[Facts], object], expected: str
) -> None:
    refused(with_facts(tracking, tmp_path, change), expected)


def test_other_files(tracking: Made, tmp_path: Path) -> None:
    data = tracking.path.read_bytes()
    for content, expected in (
        (b"", "is damaged, or no ONNX file"),
        (b"hello, this is no model", "is damaged, or no ONNX file"),
        (data[: len(data) // 2], "is damaged, or no ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
        (b"<!doctype html><html>", "is a web page"),
    ):
        path = tmp_path / "x.onnx"
        path.write_bytes(content)
        refused(path, expected)
    refused(tmp_path / "nowhere.onnx", "no such file")
    refused(tmp_path, "is a folder")


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    with open(path, "wb") as file:
        file.truncate(2**28 + 1)
    refused(path, "bytes; at most")


def small_model(**node: Any) -> Any:
    graph = helper.make_graph(
        [helper.make_node(node.pop("op", "Identity"), ["x"], ["y"], **node)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    )  # fmt: skip
    return helper.make_model(graph)


def test_a_model_of_somebody_else(tmp_path: Path) -> None:
    refused(saved(small_model(), tmp_path), "has no metadata 'mimickit': it is no file of mimickit export --to onnx")


def test_operators_of_others(tmp_path: Path) -> None:
    refused(saved(small_model(op="Evil", domain="my.ops"), tmp_path), "has an operator of 'my.ops'")


def test_weights_in_other_files(tmp_path: Path) -> None:
    model = small_model()
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    item = tensor.external_data.add()
    item.key, item.value = "location", "../../etc/passwd"
    model.graph.initializer.append(tensor)
    refused(saved(model, tmp_path), "keeps weights in another file")
    del model.graph.initializer[:]
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    refused(saved(model, tmp_path), "keeps weights in another file")


def test_graphs_that_loop(tmp_path: Path) -> None:
    inner = small_model().graph
    refused(saved(small_model(op="Loop", body=inner), tmp_path), "has a graph inside a node (Loop)")
    model = small_model()
    function = helper.make_function("mine", "F", ["x"], ["y"], [], [helper.make_opsetid("", 17)])
    model.functions.append(function)
    refused(saved(model, tmp_path), "brings functions of its own")


def test_a_scene_that_was_changed(tracking: Made, tmp_path: Path) -> None:
    model = onnx.load(tracking.path)
    scene = entry(model, names.SCENE)
    scene.value = scene.value.replace("torso", "trunk", 1)
    refused(saved(model, tmp_path), "its mimickit_mjcf has changed since it was exported (sha256)")
    model.metadata_props.remove(scene)
    refused(saved(model, tmp_path), "its mimickit_mjcf is missing")


def test_an_observer_that_is_none(tracking: Made, tmp_path: Path) -> None:
    model = onnx.load(tracking.path)
    for text, expected in (("%%%", "its mimickit_observer is not in base64"), ("aGFsbG8=", "is damaged, or no ONNX")):
        entry(model, names.OBSERVER).value = text
        facts = json.loads(entry(model, names.FACTS).value)
        facts["sha256"][names.OBSERVER] = hashlib.sha256(text.encode()).hexdigest()
        entry(model, names.FACTS).value = json.dumps(facts)
        refused(saved(model, tmp_path), expected)


def test_an_observer_of_another_policy(tracking: Made, tmp_path: Path) -> None:
    """It makes fewer numbers than the policy takes: what once wrecked a robot."""
    model = onnx.load(tracking.path)
    observer = onnx.load_from_string(base64.b64decode(entry(model, names.OBSERVER).value))
    width = observer.graph.output[0].type.tensor_type.shape.dim[1]
    width.dim_value -= 6
    last = next(node for node in observer.graph.node if "obs" in node.output)
    last.output[0] = "all"
    ends = {"first": [0], "end": [width.dim_value], "axis": [1]}
    observer.graph.initializer.extend(helper.make_tensor(n, TensorProto.INT64, [1], value) for n, value in ends.items())
    observer.graph.node.append(helper.make_node("Slice", ["all", *ends], ["obs"]))
    text = base64.b64encode(observer.SerializeToString()).decode()
    entry(model, names.OBSERVER).value = text
    facts = json.loads(entry(model, names.FACTS).value)
    facts["sha256"][names.OBSERVER] = hashlib.sha256(text.encode()).hexdigest()
    entry(model, names.FACTS).value = json.dumps(facts)
    refused(saved(model, tmp_path), "its mimickit_observer gives")


def test_metadata_that_says_a_thing_twice(tracking: Made, tmp_path: Path) -> None:
    model = onnx.load(tracking.path)
    model.metadata_props.append(entry(model, "joint_names"))
    refused(saved(model, tmp_path), "says 'joint_names' twice")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<mujoco><asset><mesh file="/etc/passwd"/></asset></mujoco>', "names another file, '/etc/passwd'"),
        ('<mujoco><include file="a.stl"/></mujoco>', "has <include>"),
        ('<mujoco><extension><plugin plugin="x"/></extension></mujoco>', "has <extension>"),
        ('<mujoco><compiler meshdir="/etc"/></mujoco>', "names another file, '/etc'"),
        ('<mujoco><asset><texture fileright="b.png"/></asset></mujoco>', "names another file, 'b.png'"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><mujoco/>', "has a document type"),
        ("<mujoco>", "is not well-formed XML"),
    ],
)
def test_scenes_that_reach_out(text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected.replace("(", "\\(")):
        check_mjcf(text, {"a.stl"}, Path("p.onnx"))


def test_the_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(small_model(), tmp_path)
    assert main(["play", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_damage_anywhere(tracking: Made, tmp_path: Path) -> None:
    """Flipped bytes are refused or change nothing that matters; nothing else happens."""
    data, random = bytearray(tracking.path.read_bytes()), np.random.default_rng(0)
    for _ in range(30):
        broken = bytearray(data)
        for place in random.integers(0, len(data), size=20):
            broken[place] = random.integers(256)
        path = tmp_path / "x.onnx"
        path.write_bytes(broken)
        with contextlib.suppress(UserError):
            Player(path).play(seconds=0.05)
