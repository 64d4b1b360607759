"""Sweeps through Hydra's sweepers: each run frozen when it is chosen, its number handed back, failures survived."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mimickit_hydra.cli.main import main as mimickit
from mimickit_hydra.cli.search import run_member
from mimickit_hydra.cli.sweep import brief
from mimickit_hydra.cli.train import main
from mimickit_hydra.config.compose import compose
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.runtime import sweep_runner
from mimickit_hydra.runtime.state_file import read_state
from mimickit_hydra.runtime.sweep_file import Sweep, SweepRun, create_sweep, read_sweep, write_sweep

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
