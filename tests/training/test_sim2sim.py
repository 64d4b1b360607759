"""A policy on several engines: what is kept of its run, the table, the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimickit_hydra.cli.main import main
from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.engines.registry import engine_problem
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.saved import choices_header
from mimickit_hydra.training.run import run
from mimickit_hydra.training.sim2sim import parse_engines, runs_by_engine, trained_engine
from mimickit_hydra.view.sim2sim_report import table, write_results

OVERRIDES = [
    "num_envs=4", "engine.num_threads=1", "engine.sim_freq=120", "agent.steps_per_iter=8", "agent.test_episodes=1",
    "agent.model.actor_net=fc_2layers_128units", "agent.model.critic_net=fc_2layers_128units", "test_episodes=0",
    "env.episode_length=0.3", "max_samples=32", "rand_seed=7", "logger=txt",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("sim2sim") / "run"
    cfg = compose([*OVERRIDES, f"out_dir={out_dir}"])
    choices = {"engine": "mujoco", "method": "deepmimic", "compute": "cpu"}
    text = choices_header(choices) + resolved_yaml(cfg)
    run(to_run(cfg), resolved_yaml=text, overrides=OVERRIDES, out_dir=str(out_dir))
    return out_dir


def test_an_engine_gets_what_holds_for_every_engine(trained: Path) -> None:
    found = runs_by_engine(str(trained), ["mujoco"], ["test_episodes=3"])["mujoco"]
    assert found.mode == "test"
    assert found.engine.sim_freq == 120
    assert found.agent.model.actor_net == "fc_2layers_128units"
    assert found.devices == ["cpu"]
    assert found.test_episodes == 3


def test_every_engine_takes_the_rates_of_the_training(tmp_path: Path) -> None:
    """isaac_lab's own default is 120 Hz, at which a policy of another rate falls for no fault of the simulator."""
    overrides = [text for text in OVERRIDES if not text.startswith("engine.sim_freq")]
    cfg = compose([*overrides, "engine.control_mode=pd_explicit"])
    header = choices_header({"engine": "mujoco", "method": "deepmimic", "compute": "cpu"})
    (tmp_path / "config.yaml").write_text(header + resolved_yaml(cfg))
    found = runs_by_engine(str(tmp_path), ["isaac_lab"], [])["isaac_lab"]
    assert (found.engine.sim_freq, found.engine.control_mode) == (240, "pd_explicit")


@pytest.mark.parametrize("text", ["- a list", "engine: word", "agent: {}", "\xff"])
def test_a_config_that_is_no_runs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"config\.yaml"):
        trained_engine(str(tmp_path))


def test_the_command(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim2sim", str(trained), "engine=mujoco", "test_episodes=2", "num_envs=2"]) == 0
    printed = capsys.readouterr().out
    assert "mujoco (trained)" in printed
    content = json.loads((trained / "sim2sim.json").read_text())
    assert content["trained_on"] == "mujoco"
    assert content["engines"]["mujoco"]["episodes"] >= 2
    assert (trained / "sim2sim.png").read_bytes().startswith(b"\x89PNG")


def test_a_trained_policy_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["engine=mujoco", "test_episodes=1", "num_envs=1", "env.episode_length=0.2"]
    assert main(["sim2sim", "model=humanoid_walk", *words]) == 0
    out = Path("outputs", "humanoid_walk")
    assert json.loads((out / "sim2sim.json").read_text())["trained_on"] == "mujoco"
    assert sorted(path.name for path in out.iterdir()) == ["sim2sim", "sim2sim.json", "sim2sim.png"]


@pytest.mark.slow
@pytest.mark.skipif(bool(engine_problem("newton")), reason=engine_problem("newton") or "-")
def test_the_other_engine(trained: Path) -> None:
    assert main(["sim2sim", str(trained), "engine=newton,mujoco", "test_episodes=2", "num_envs=2"]) == 0
    engines = json.loads((trained / "sim2sim.json").read_text())["engines"]
    assert list(engines) == ["newton", "mujoco"]
    assert engines["newton"]["return"] == pytest.approx(engines["mujoco"]["return"], rel=0.5)


def test_the_table_compares_with_the_engine_of_the_training() -> None:
    metrics = {"episodes": 4, "episode_length": 30.0, "success_rate": 0.5, "root_pos_err": 0.1, "body_pos_err": 0.05}
    rows = table({"newton": {**metrics, "return": 90.0}, "mujoco": {**metrics, "return": 81.0}}, "newton")
    assert rows[1][:5] == ("newton (trained)", "4", "90.0", "30", "50")
    assert [row[-1] for row in rows[1:]] == ["100 %", "90 %"]


def test_without_a_return_the_length_is_compared_and_errors_only_where_there_are_any(tmp_path: Path) -> None:
    metrics = {"episodes": 4, "return": 0.0, "success_rate": 1.0}
    results = {"newton": {**metrics, "episode_length": 200.0}, "mujoco": {**metrics, "episode_length": 150.0}}
    assert table(results, "newton") == [
        ("engine", "episodes", "episode (steps)", "success (%)", "of the trained"),
        ("newton (trained)", "4", "200", "100", "100 %"),
        ("mujoco", "4", "150", "100", "75 %"),
    ]
    assert all(path.exists() for path in write_results(tmp_path, results, "newton"))


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "needs different engines"), ("mujoco,mujoco", "needs different engines"), ("mujco", "nearest: mujoco")],
)
def test_engines_are_checked(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_engines(text)


def test_the_engines_must_be_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["sim2sim", str(tmp_path), "num_envs=2"]) == 2
    assert "name the engines once" in capsys.readouterr().err
