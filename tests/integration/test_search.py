"""Searches by Optuna whose runs start in the background of this machine, or as Slurm jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest_tools import has_saved, mimickit, submit, wait_until
from tiny_run import SAMPLES, TINY

from mimickit_hydra.runs.jobs import living_runner
from mimickit_hydra.runs.manifest import read_sweep

pytest.importorskip("optuna", reason="pip install 'mimickit-hydra[optuna]'")
pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="pip install 'mimickit-hydra[launch]'")

# A step size that ends in numbers that are not finite is among the choices: a trial that fails.
SEARCH = ["-m", "sweep=optuna_ppo", *TINY, "agent.actor_optimizer.learning_rate=choice(0.0001,1e30)", "out_dir=s"]
SLURM = ["launch=slurm", "launch.cpus=1", "launch.mem=500MB", "launch.time=60"]


def states(cwd: Path) -> list[str]:
    said = json.loads(mimickit("status", "s", "--json", cwd=cwd).stdout or "[]")
    return [entry["state"] for entry in said]


def is_over(cwd: Path) -> bool:
    return living_runner(cwd / "s") is None and bool(read_sweep(cwd / "s").runs)


@pytest.mark.slow
@pytest.mark.parametrize("launch", [["launch=packed", "launch.parallel=2"], [*SLURM, "hydra.sweeper.n_jobs=2"]])
def test_trials_side_by_side_some_of_which_fail(
    launch: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if SLURM[0] in launch:
        request.getfixturevalue("slurm")
    submit(*SEARCH, f"max_samples={2 * SAMPLES}", "hydra.sweeper.n_trials=4", *launch, cwd=tmp_path)
    wait_until(lambda: is_over(tmp_path), "the end of the search", 240)
    found = states(tmp_path)
    assert set(found) == {"finished", "failed"}
    assert len(found) == 4
    said = (tmp_path / "s" / "search.log").read_text()
    assert f"4 runs: {found.count('finished')} finished, {found.count('failed')} failed" in said
    assert "best: " in said


@pytest.mark.slow
def test_a_cancelled_search_saves_and_goes_on(tmp_path: Path) -> None:
    words = [text for text in SEARCH if "1e30" not in text]
    submit(*words, "max_samples=1e9", "hydra.sweeper.n_trials=2", "launch=packed", cwd=tmp_path)
    wait_until(lambda: len(list((tmp_path / "s").glob("*/log.txt"))) == 2, "both trials", 120)
    for run_dir in sorted((tmp_path / "s").glob("*/")):
        wait_until(lambda run_dir=run_dir: has_saved(run_dir), "a checkpoint", 60)  # type: ignore[misc]
    assert mimickit("sweep", "resume", "s", cwd=tmp_path).returncode == 2  # somebody is at it
    mimickit("cancel", "s", cwd=tmp_path)
    wait_until(lambda: living_runner(tmp_path / "s") is None, "the end of the search", 60)
    assert states(tmp_path) == ["stopped", "stopped"]
    assert "stopped; go on with: mimickit sweep resume" in (tmp_path / "s" / "search.log").read_text()
