"""``mimickit robustness``: what is varied reaches its own environments alone, and the report says what came of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mimickit_hydra.cli.main import main
from mimickit_hydra.cli.robustness import names_of
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.events import Delay
from mimickit_hydra.errors import UserError
from mimickit_hydra.training import robustness
from mimickit_hydra.training.build import build


def test_every_condition_is_in_its_own_environments() -> None:
    axes = list(robustness.AXES)
    conditions = robustness.conditions_of(axes)
    run = to_run(compose(["randomize=robot", "engine.num_threads=1", "rand_seed=1"]))
    env = build(robustness.prepared(run, axes), Comm(), torch.device("cpu"), num_envs=len(conditions)).env
    events = {event.config.name: event for event in env.events}
    for event in events.values():
        if isinstance(event, Delay):
            event.drawn.zero_()
    for k, condition in enumerate(conditions):
        robustness._arrange(events, axes, condition, slice(k, k + 1), torch.device("cpu"))
    env.set_mode(True)
    engine, world = env.engine, env.events[0].world
    for k, (axis, value) in enumerate((one.axis, one.value) for one in conditions[:-1]):
        mass = float((world.varied["mass"] / engine.model_values("mass"))[k].mean())
        assert mass == pytest.approx(value if axis == "mass" else 1.0)
        kp = float((world.varied["kp"] / engine.model_values("kp"))[k].mean())
        assert kp == pytest.approx(value if axis == "strength" else 1.0)
        assert float(world.varied["friction"][k, 0]) == pytest.approx(value if axis == "friction" else 1.0)
        assert float(events["delay_action_delay"].steps[k]) == pytest.approx(30 * value if axis == "delay" else 0.0)
        assert float(events["push_push"].most[k, 0]) == pytest.approx(value if axis == "push" else 0.0)
        assert float(events["noise_sensor_noise"].scale[k]) == pytest.approx(value if axis == "noise" else 0.0)
    assert 0.4 <= float(world.varied["friction"][-1, 0]) <= 1.2
    assert float(events["push_push"].most[-1, 0]) == 0.5


def test_axes_are_those_of_the_engine() -> None:
    assert robustness.axes_of("mujoco") == list(robustness.AXES)
    assert robustness.axes_of("isaac_gym") == ["delay", "push", "noise"]
    with pytest.raises(UserError, match="vary: found 'weight'"):
        robustness.parse_axes("mass,weight")


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["runs/plain", "runs/randomized/"], ["plain", "randomized"]),
        (["a/run", "b/run", "a/other"], ["a/run", "b/run", "a/other"]),
        (["."], ["here"]),
        (["../here", "."], ["here", "here"]),
    ],
)
def test_policies_are_told_apart(
    folders: list[str], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert names_of([Path(folder) for folder in folders]) == names


def test_a_trained_policy_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["robustness", "model=humanoid_walk", "vary=push", "test_episodes=1", "env.episode_length=0.2"]) == 0
    out = Path("outputs", "humanoid_walk")
    rows = json.loads((out / "robustness.json").read_text())["humanoid_walk"]
    assert [row["value"] for row in rows] == list(robustness.AXES["push"].values)
    assert capsys.readouterr().out.endswith(f"{out / 'robustness.json'}\n{out / 'robustness.png'}\n")


@pytest.mark.parametrize("words", [["robustness"], ["sim2sim", "engine=mujoco"]])
@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("model=humanoid_walc", "model: found 'humanoid_walc', must be one of"),
        ("humanoid_walk", "humanoid_walk: no such run; the trained policy of this name is model=humanoid_walk"),
        ("model=humanoid_walk", "outputs/humanoid_walk: cannot be made"),
    ],
)
def test_what_cannot_be_is_said_before_a_test(
    words: list[str], policy: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").write_text("in the way")
    assert main([words[0], policy, *words[1:]]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(message)
    assert said.err.count("\n") == 1
    assert "testing" not in said.out


@pytest.mark.slow
def test_the_command_writes_a_table_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = ["debug=tiny", "video=false", "rand_seed=1", "randomize=light", "observe=robot", f"out_dir={out}"]
    assert main(["train", *words]) == 0
    assert main(["robustness", str(out), "vary=friction,push", "test_episodes=1"]) == 0
    rows = json.loads((out / "robustness.json").read_text())["run"]
    assert [row["axis"] for row in rows] == ["friction"] * 6 + ["push"] * 5 + ["together"]
    assert all(0.0 <= row["success_rate"] <= 1.0 for row in rows)
    assert (out / "robustness.png").read_bytes().startswith(b"\x89PNG")
    assert "success (%)" in capsys.readouterr().out
    assert main(["robustness", str(tmp_path / "none")]) == 2
