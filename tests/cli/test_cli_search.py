"""Sweeps through Hydra's sweepers: each run frozen when it is chosen, its number handed back, failures survived."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mimickit_hydra.cli.main import main as mimickit
from mimickit_hydra.cli.train import main
from mimickit_hydra.config.compose import compose
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.manifest import Sweep, SweepRun, add_runs, create_sweep, read_sweep, write_sweep
from mimickit_hydra.runs.state import read_state, update_state
from mimickit_hydra.sweeps import hydra_app
from mimickit_hydra.sweeps import runner as sweep_runner
from mimickit_hydra.sweeps.report import brief
from mimickit_hydra.sweeps.search import _search_summary, run_member

# Stands in for training: returns the learning rate, fails where it is large.
SCRIPT = """
import json, pathlib, sys, yaml
run = pathlib.Path(sys.argv[1])
rate = yaml.safe_load((run / "frozen.yaml").read_text())["agent"]["actor_optimizer"]["learning_rate"]
if float(rate) > 5e-4:
    print("the loss is not finite"); sys.exit(2)
(run / "result.json").write_text(json.dumps({"value": None if float(rate) < 1e-9 else float(rate)}))
"""


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path) -> None:
    def command(sweep: Sweep, run: SweepRun) -> list[str]:
        return [sys.executable, "-c", SCRIPT, str(sweep.run_dir(run))]

    monkeypatch.setattr(sweep_runner, "command_of", command)
    monkeypatch.chdir(tmp_path)


def _hydra(sweep: Path, number: int, overrides: list[str]) -> Any:
    return SimpleNamespace(
        sweep=SimpleNamespace(dir=str(sweep)),
        job=SimpleNamespace(env_set={}, env_copy=[], chdir=False),
        verbose=False,
        overrides=SimpleNamespace(task=overrides),
        runtime=SimpleNamespace(output_dir=str(sweep / f"{number}_run"), choices={"engine": "mujoco"}),
    )


def test_a_run_that_a_sweeper_chose(tmp_path: Path) -> None:
    write_sweep(create_sweep(tmp_path / "s", ["num_envs=8"], sweeper="optuna", trials=2))
    key = "agent.actor_optimizer.learning_rate"

    def member(number: int, rate: str) -> float:
        overrides = ["num_envs=8", f"{key}={rate}"]
        return run_member(compose(overrides), _hydra(tmp_path / "s", number, overrides))

    assert member(0, "0.0002") == 0.0002
    with pytest.raises(UserError, match="the loss is not finite"):
        member(1, "0.5")
    with pytest.raises(UserError, match="learning_rate: found -1"):
        member(2, "-1")
    with pytest.raises(UserError, match="a search needs a number"):
        member(3, "1e-10")
    assert member(0, "0.0003") == 0.0003  # a search that goes on counts from 0 again
    sweep = read_sweep(tmp_path / "s")
    assert [run.varied for run in sweep.runs] == [
        [f"{key}={rate}"] for rate in ("0.0002", "0.5", "-1", "1e-10", "0.0003")
    ]
    states = [read_state(sweep.run_dir(run)) for run in sweep.runs]
    assert [state.state for state in states if state] == ["finished", "failed", "failed", "finished", "finished"]
    assert len({run.dir for run in sweep.runs}) == 5


def test_settings_are_brief_in_output() -> None:
    assert brief(["agent.model.action_std=0.0530499275", "rand_seed=3"]) == "model.action_std=0.05305 rand_seed=3"


@pytest.mark.skipif(importlib.util.find_spec("optuna") is not None, reason="Optuna is installed")
def test_without_optuna_it_is_said_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "sweep=optuna_ppo", "num_envs=8"]) == 2
    assert capsys.readouterr().err == "hydra/sweeper=optuna: not installed; pip install 'mimickit-hydra[optuna]'\n"


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs Optuna")
def test_a_search_and_what_is_left_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warnings.simplefilter("ignore")
    rates = "agent.actor_optimizer.learning_rate=choice(0.0001,0.0002,0.5)"
    code = main(["-m", "sweep=optuna_ppo", "num_envs=8", rates, "hydra.sweeper.n_trials=4", "out_dir=s"])
    sweep = read_sweep(tmp_path / "s")
    assert (sweep.sweeper, sweep.trials, len(sweep.runs)) == ("optuna", 4, 4)
    failed = sum("learning_rate=0.5" in " ".join(run.varied) for run in sweep.runs)
    assert code == (1 if failed else 0)
    assert len([run for run in sweep.runs if (sweep.run_dir(run) / "result.json").exists()]) == 4 - failed
    mimickit(["sweep", "resume", "s"])
    after = read_sweep(tmp_path / "s").runs
    assert len(after) == 4 + failed
    values = [tuple(run.varied) for run in after]
    assert len(set(values)) == len(values)  # nothing is tried twice
    best = max(json.loads(path.read_text())["value"] for path in (tmp_path / "s").glob("*/result.json"))
    assert f"best: {best:.4g}" in capsys.readouterr().out


@pytest.fixture
def minimising(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A sweeper ``optuna`` that minimises unless told, as Optuna does; collects the command lines it would get."""
    from hydra.core.config_store import ConfigStore

    fields = {"_target_": "nowhere.Sweeper", "direction": "minimize", "n_trials": 2, "n_jobs": 1, "params": None}
    repo = ConfigStore.instance().repo
    monkeypatch.setattr(ConfigStore.instance(), "repo", copy.deepcopy(repo))
    ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node=fields, provider="test")
    got: list[list[str]] = []
    monkeypatch.setattr(hydra_app, "multirun", lambda overrides, task: got.append(list(overrides)))
    return got


DIRECTION = "hydra.sweeper.direction"
RATES = "agent.discount=interval(0.9,0.99)"


def test_a_search_maximises_unless_told(minimising: list[list[str]], tmp_path: Path) -> None:
    assert main(["-m", "hydra/sweeper=optuna", RATES, "out_dir=a"]) == 0
    assert f"{DIRECTION}=maximize" in minimising[0]
    assert f"{DIRECTION}=maximize" in read_sweep(tmp_path / "a").command  # so that it goes on like this too
    assert main(["-m", "hydra/sweeper=optuna", f"{DIRECTION}=minimize", RATES, "out_dir=b"]) == 0
    assert f"{DIRECTION}=maximize" not in minimising[1]


def test_the_direction_of_a_file_counts(minimising: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "conf" / "sweep").mkdir(parents=True)
    (tmp_path / "conf" / "sweep" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [override /hydra/sweeper: optuna]\nhydra: {sweeper: {direction: minimize}}\n"
    )
    assert main(["-m", "--config-dir", "conf", "sweep=mine", RATES, "out_dir=a"]) == 0
    assert not any(text.startswith(DIRECTION) for text in minimising[0])


def test_several_directions_are_refused(minimising: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "hydra/sweeper=optuna", f"{DIRECTION}=[minimize,maximize]", RATES]) == 2
    assert "must be one direction: a run returns one number" in capsys.readouterr().err


def test_the_best_is_what_the_search_looks_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = add_runs(create_sweep(tmp_path / "s", [], trials=2), [("a", [], [], ""), ("b", [], [], "")])
    for run, value in zip(sweep.runs, (1.0, 2.0), strict=True):
        (sweep.run_dir(run) / "result.json").write_text(json.dumps({"value": value}))
        update_state(sweep.run_dir(run), state="finished")
    for maximizes, best in ((True, "best: 2 "), (False, "best: 1 ")):
        _search_summary(sweep, maximizes)
        assert best in capsys.readouterr().out


def test_two_searches_of_one_second(minimising: list[list[str]], tmp_path: Path) -> None:
    fixed = "hydra/sweeper=optuna"
    (tmp_path / "conf" / "debug").mkdir(parents=True)
    (tmp_path / "conf" / "debug" / "d.yaml").write_text("# @package _global_\nhydra: {sweep: {dir: m/same}}\n")
    for _ in range(2):
        assert main(["-m", "--config-dir", "conf", "debug=d", fixed, RATES]) == 0
    assert [path.name for path in sorted((tmp_path / "m").iterdir())] == ["same", "same-2"]


def test_text_reaches_a_sweeper_as_text(minimising: list[list[str]]) -> None:
    words = ["logger.wandb_project=1e3,007,x", "agent.discount=choice(1e-1,2e-1)"]
    assert main(["-m", "hydra/sweeper=optuna", *words, "out_dir=a"]) == 0
    assert ["logger.wandb_project='1e3','007',x", words[1]] == minimising[0][1:3]
