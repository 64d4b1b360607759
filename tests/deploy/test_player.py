"""The player beside the engine: the exported file does what the policy does in our own env."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from made_policies import METHODS, Made, made

from mimickit_hydra.cli.main import main
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.deploy.player import Player, Trouble, check_mjcf
from mimickit_hydra.deploy.scene import scene_of
from mimickit_hydra.engines.interface import ObjectSpec, SceneSpec
from mimickit_hydra.engines.mujoco.engine import MujocoEngine
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL
from mimickit_hydra.envs.tasks.task import Task
from mimickit_hydra.mj import mujoco
from mimickit_hydra.training.evaluate import evaluate
from mimickit_hydra.view.render import backends, probe


def in_the_env(found: Made, start: dict[str, Any], latents: np.ndarray | None = None) -> tuple[int, float, bool]:
    """Steps, return and failure of an episode that starts there."""
    env, agent = found.parts.env, found.parts.agent
    env.set_mode(True)
    env.reset_to(torch.tensor([0]), torch.tensor([start["time"]]))
    steps, total = 0, 0.0
    while True:
        if latents is None:
            action = agent.act(env.obs)
        else:
            action = agent.act_with_latents(env.obs, torch.tensor(latents, dtype=torch.float32)[None])
        _, reward, done, _ = env.step(action)
        steps, total = steps + 1, total + float(reward)
        if int(done) != DONE_NULL:
            return steps, total, int(done) == DONE_FAIL


def assert_same(found: Made, starts: int) -> None:
    player = Player(found.path)
    wanted, seen = [], []
    for number in range(starts):
        skill = None
        if player.facts.latents:
            skill = np.random.default_rng(0).normal(size=player.facts.latents)
            skill /= np.linalg.norm(skill)
        wanted.append(in_the_env(found, player.facts.starts[number], skill))
        outcome = player.play(number)
        seen.append((outcome.steps, outcome.total, outcome.failed))
    returns = [np.mean([total for _, total, _ in one]) for one in (wanted, seen)]
    np.testing.assert_allclose(returns[1], returns[0], rtol=0.02, atol=1e-6)
    failures = [np.mean([failed for *_, failed in one]) for one in (wanted, seen)]
    assert abs(failures[1] - failures[0]) <= 0.02
    assert np.mean([one[0] for one in seen]) == pytest.approx(np.mean([one[0] for one in wanted]), rel=0.02)


def test_return_and_success_are_those_of_the_engine(tracking: Made) -> None:
    assert_same(tracking, 4)


def test_return_and_success_are_those_of_mode_test(
    tracking: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``mode=test`` from the beginning of the clip, and the same start of the file."""
    monkeypatch.setattr(tracking.parts.env.reference, "_random_start", False)
    wanted = evaluate(tracking.parts, tmp_path, episodes=1, video=False)
    outcome = Player(tracking.path).play(0)
    assert outcome.total == pytest.approx(wanted["return"], rel=0.02)
    assert (not outcome.failed) == bool(wanted["success_rate"])
    assert outcome.steps == wanted["episode_length"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["obs", "state"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str, form: str, tmp_path: Path) -> None:
    with made(method, tmp_path, form=form) as found:
        assert_same(found, 8)


@pytest.mark.slow
def test_smp(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    small = ["num_attention_heads=1", "num_layers=1", "batch_size=64", "num_samples_stat=500", "num_iterations=2"]
    words = [f"prior.{word}" for word in (*small, "output_iter=2", "device=cpu", "model_ema=false")]
    assert main(["prior", "train", str(tmp_path / "prior"), "motion=humanoid_walk", *words]) == 0
    prior = [f"agent.smp_prior_model={tmp_path / 'prior' / 'model.pt'}", "agent.enable_gsi=false"]
    with made("smp", tmp_path, *prior) as found:
        assert found.export.write(tmp_path / "p.onnx", "obs", "float32", 10_000).compared.worst < 1e-5
        assert_same(found, 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("deepmimic", ["observe=robot"]),
        ("tracking", ["observe=robot"]),
        ("amp", ["observe=robot", "env.observations.joint_pos.history=2"]),
        ("deepmimic", ["env.action_about=reference"]),
        ("tracking", ["env.action_about=reference"]),
        ("deepmimic", ["env.enable_phase_obs=true", "env.enable_tar_obs=false"]),
    ],
)
def test_other_observations_and_actions(method: str, words: list[str], tmp_path: Path) -> None:
    with made(method, tmp_path, *words) as found:
        assert_same(found, 4)


def test_the_simulation_is_the_engines(tracking: Made) -> None:
    engine, model = tracking.parts.engine, Player(tracking.path).model
    for name in ("body_mass", "body_inertia", "geom_size", "geom_pos", "dof_armature", "actuator_gainprm", "jnt_range"):
        np.testing.assert_array_equal(getattr(model, name), getattr(engine.scene.model, name))  # type: ignore[attr-defined]
    assert model.opt.timestep == engine.sim_dt


def test_delay_and_noise_change_what_happens(tracking: Made) -> None:
    player = Player(tracking.path)
    plain, again = player.play(0), player.play(0)
    np.testing.assert_array_equal(plain.poses, again.poses)
    for trouble in (Trouble(delay=0.02), Trouble(noise=1.0)):
        other = player.play(0, trouble)
        assert not np.allclose(plain.poses[1], other.poses[1], atol=1e-6)
    late = player.play(0, Trouble(delay=0.02)).poses[0]
    assert not np.array_equal(late, player.play(0, Trouble(delay=0.005)).poses[0])


MESH = """<mujoco model="r"><compiler meshdir="parts" angle="radian"/><asset><mesh name="m" file="m.obj"/></asset>
<worldbody><body name="base" pos="0 0 1"><freejoint/><geom type="mesh" mesh="m" mass="1"/>
<body name="arm" pos="0 0 0.2"><joint name="j" axis="0 1 0" range="-1 1" armature="0.0123456789"/>
<geom type="mesh" mesh="m" mass="0.5"/></body></body>
</worldbody><actuator><position joint="j" kp="30" kv="1"/></actuator></mujoco>"""


def test_meshes_travel_with_the_scene(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    corners = "v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nv 0 0 0.1\n"
    (tmp_path / "parts" / "m.obj").write_text(corners + "f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    (tmp_path / "r.xml").write_text(MESH)
    run = to_run(compose(["engine=mujoco", f"env.char_file={tmp_path / 'r.xml'}"]))
    scene = SceneSpec((ObjectSpec("character", str(tmp_path / "r.xml")),))
    engine = MujocoEngine(run.engine, scene, 1)
    text, facts = scene_of(engine, run)
    assert list(facts["files"]) == ["0.obj"]
    assert str(tmp_path) not in text
    check_mjcf(text, set(facts["files"]), tmp_path)
    files = {name: base64.b64decode(data) for name, data in facts["files"].items()}
    model = mujoco.MjModel.from_xml_string(text, assets=files)
    assert facts["joints"] == [["obj0/j", 1]]
    for name, values in facts["numbers"].items():
        getattr(model, name)[...] = np.reshape(values, getattr(model, name).shape)
    for name in ("body_inertia", "mesh_vert", "dof_armature", "actuator_biasprm"):
        np.testing.assert_array_equal(getattr(model, name), getattr(engine.scene.model, name))


def test_a_film(tracking: Made, tmp_path: Path) -> None:
    if "egl" not in backends() or probe("egl") is None:
        pytest.skip("no EGL here")
    out = tmp_path / "there" / "film.mp4"
    code = "import sys; from mimickit_hydra.deploy.play import main; sys.exit(main(sys.argv[1:]))"
    words = [str(tracking.path), "--seconds", "0.2", "--video", str(out)]
    env = {**os.environ, "MUJOCO_GL": "egl"}
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 1000
    assert [path.name for path in out.parent.iterdir()] == ["film.mp4"]


def test_it_needs_numpy_mujoco_and_onnxruntime_alone(tracking: Made) -> None:
    code = """
import sys
ALLOWED = {"numpy", "mujoco", "onnxruntime", "mimickit_hydra"}
HIDDEN = {"torch", "hydra", "omegaconf", "onnx", "scipy", "yaml", "matplotlib", "rich", "jinja2", "imageio"}
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
from mimickit_hydra.deploy.play import main
code = main([sys.argv[1], "--seconds", "0.1"])
assert not HIDDEN & {name.partition(".")[0] for name in sys.modules}
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tracking.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "inference" in done.stdout


def test_without_onnxruntime(tracking: Made) -> None:
    code = "import sys; sys.modules['onnxruntime'] = None; from mimickit_hydra.deploy.play import main; "
    words = [sys.executable, "-c", code + "sys.exit(main(sys.argv[1:]))", str(tracking.path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: mimickit play needs onnxruntime; pip install onnxruntime\n"


def test_the_command_says_how_it_went(tracking: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", str(tracking.path), "--episodes", "2", "--seconds", "0.1"]) == 0
    said = capsys.readouterr().out
    assert "return" in said
    assert "success 100 %" in said
    assert "ms on one core" in said
    for words, expected in (
        (["--noise", "-1"], "--noise: found -1"),
        (["--episodes", "0"], "--episodes: found 0"),
        (["--seconds", "0"], "--seconds: found 0"),
        (["--goal", "x"], "--goal: found 'x'"),
    ):
        assert main(["play", str(tracking.path), *words]) == 2
        assert expected in capsys.readouterr().err


class Given:
    """Stands in for the ``new_goal`` of a task: the goals of a file, each once its time has come."""

    def __init__(self, part: Task, goals: list[Any]) -> None:
        self._part, self._goals, self.taken = part, goals, list[Any]()

    def __call__(self, view: Any, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.taken or float(view.time) >= self.taken[-1][0]:  # else what is made here is not kept
            self.taken.append(self._goals[len(self.taken)])
        until, goal = self.taken[-1]
        place = view.character.root_pos[:, :2] if self._part.goal_about_root else 0.0
        return torch.tensor(goal, dtype=torch.float32)[None] + place, torch.tensor([until])


@pytest.mark.parametrize("task", ["location", pytest.param("steering", marks=pytest.mark.slow)])
def test_a_task_is_judged_by_the_goals_in_the_file(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The env, given those goals for the ones that it would draw, counts the same return."""
    often = ["env.tar_change_time_min=0.2", "env.tar_change_time_max=0.4"]
    with made("amp", tmp_path, f"env={task}", *often) as found:
        player = Player(found.path)
        part = next(part for part in found.parts.env.parts if isinstance(part, Task))
        for number in range(2):
            given = Given(part, player.facts.starts[number]["goals"])
            monkeypatch.setattr(part, "new_goal", given)
            wanted, seen = in_the_env(found, player.facts.starts[number]), player.play(number)
            assert len(given.taken) > 1  # it came to a second one
            assert seen.total == pytest.approx(wanted[1], rel=0.02)
            assert (seen.steps, seen.failed) == (wanted[0], wanted[2])
        assert player.play(0, command=[1.0] * player.facts.command_size).total is None
