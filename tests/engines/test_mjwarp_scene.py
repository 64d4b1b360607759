"""What MuJoCo Warp is given of a scene: MuJoCo's own model; the physics itself is tests/conformance."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest
from test_robot_files import FILES, USABLE, legs

from mimickit_hydra.engines.interface import EngineError, ObjectSpec, SceneSpec
from mimickit_hydra.engines.mujoco.engine import MujocoEngine
from mimickit_hydra.engines.registry import engine_problem

pytestmark = pytest.mark.skipif(bool(engine_problem("mjwarp")), reason=engine_problem("mjwarp") or "-")

HUMANOID = Path(__file__).parents[2] / "mimickit_hydra" / "data" / "assets" / "humanoid" / "humanoid.xml"
VERTICES = ("0 0 0", "0.1 0 0", "0 0.1 0", "0 0 0.1")
FACES = ("1 3 2", "1 2 4", "1 4 3", "2 3 4")
STONE = """<mujoco><asset><mesh name="stone" file="stone.obj"/></asset><worldbody><body name="stone"><freejoint/>
<geom type="mesh" mesh="stone" mass="2"/></body></worldbody></mujoco>"""


def options(**values: Any) -> SimpleNamespace:
    config = SimpleNamespace(
        control_mode="pos", control_freq=30, sim_freq=240, iterations=100, ls_iterations=50, impratio=10.0,
        num_threads=1, njmax=0, nconmax=0,
    )  # fmt: skip
    vars(config).update(values)
    return config


def robot(file: Path, **values: Any) -> ObjectSpec:
    return ObjectSpec("robot", str(file), **values)


def build(*objects: ObjectSpec, num_envs: int = 2, **values: Any) -> Any:
    import warp as wp

    from mimickit_hydra.engines.warp.mjwarp_engine import build_scene

    return build_scene(options(**values), SceneSpec(objects), num_envs, wp.get_device("cpu"))


def bits(model: mujoco.MjModel) -> bytes:
    """All arrays and options of a model."""
    buffer = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


@pytest.fixture
def stone(tmp_path: Path) -> Path:
    (tmp_path / "stone.obj").write_text("\n".join([f"v {v}" for v in VERTICES] + [f"f {f}" for f in FACES]))
    (tmp_path / "stone.xml").write_text(STONE)
    return tmp_path / "stone.xml"


@pytest.mark.parametrize("mode", ["none", "pos", "vel", "torque", "pd_explicit"])
def test_the_model_is_that_of_the_mujoco_engine_to_the_bit(mode: str, stone: Path) -> None:
    files = [HUMANOID] if mode != "pos" else [HUMANOID, *(FILES / f"{name}.xml" for name in USABLE)]
    for file in files:
        objects = robot(file), ObjectSpec("stone", str(stone), articulated=False, start_pos=(1.0, 0.0, 0.5))
        theirs = MujocoEngine(options(control_mode=mode), SceneSpec(objects), 1)
        ours = build(*objects, control_mode=mode)
        assert bits(ours.mujoco_model) == bits(theirs.scene.model), file.name
        for name in ("body_mass", "body_inertia", "dof_armature", "geom_size", "geom_margin", "actuator_gainprm"):
            array = getattr(ours.warp_model, name).numpy()
            array = array[0] if array.ndim > getattr(theirs.scene.model, name).ndim else array
            np.testing.assert_array_equal(array, getattr(theirs.scene.model, name).astype(np.float32), err_msg=name)
        theirs.close()


def test_without_self_collisions_and_as_a_visual_object_too() -> None:
    for values in ({"enable_self_collisions": False}, {"is_visual": True, "disable_motors": True}, {"fix_root": True}):
        theirs = MujocoEngine(options(), SceneSpec((robot(HUMANOID, **values),)), 1)
        assert bits(build(robot(HUMANOID, **values)).mujoco_model) == bits(theirs.scene.model), values
        theirs.close()


def test_parts_that_newton_is_not_given_are_in_it(tmp_path: Path) -> None:
    loop = '<equality><connect name="loop" body1="l_shin" body2="r_shin" anchor="0 0 0"/></equality>'
    pair = '<contact><pair geom1="l_foot" geom2="trunk"/><exclude body1="l_shin" body2="r_shin"/></contact>'
    scene = build(robot(legs(tmp_path, loop + pair)))
    model = scene.mujoco_model
    assert (model.neq, model.npair, model.nexclude) == (1, 1, 1)
    assert scene.data.njmax >= build(robot(legs(tmp_path, pair))).data.njmax + 3  # the rows of the loop


def test_what_mujoco_warp_does_not_simulate_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from mimickit_hydra.engines.warp import mjwarp_engine

    def refuse(_: Any) -> None:
        raise NotImplementedError("Body plugins\nnot supported.")

    monkeypatch.setattr(mjwarp_engine.mjw, "put_model", refuse)
    with pytest.raises(EngineError) as error:
        build(robot(HUMANOID))
    line = str(error.value)
    assert line.startswith("engine=mjwarp: ")
    assert line.endswith("does not simulate it: Body plugins not supported.; use engine=mujoco")


@pytest.mark.parametrize("module", ["mjwarp_engine", "engine", "scene"])
def test_it_is_imported_whatever_mujoco_gl_says(module: str) -> None:
    """Also by a worker, which imports nothing else of the package before."""
    command = [sys.executable, "-c", f"import mimickit_hydra.engines.warp.{module}"]
    done = subprocess.run(command, env={**os.environ, "MUJOCO_GL": "nonsense"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
