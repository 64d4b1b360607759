"""Folders that are removed while a command works in them, or before it starts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mimickit_hydra.runs.repeat import expand

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["num_envs=4", "agent.iters_per_output=2", "agent.test_episodes=1", "test_episodes=1", "video=false"]


def start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.05)


@pytest.mark.parametrize("what", ["run", "here"])
def test_a_folder_removed_while_training_goes_on(tmp_path: Path, what: str) -> None:
    """The run's own directory says again what the run is; the one it was started in does not matter."""
    (tmp_path / "here").mkdir()
    run = tmp_path / "run"
    process = start(*SMALL, f"out_dir={run}", "max_minutes=0.08", "rand_seed=3", cwd=tmp_path / "here")
    wait_for(run / "checkpoints" / "last.pt")
    shutil.rmtree(tmp_path / what)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert (f"warning: {run} has been removed: its config is written again" in errors) == (what == "run")
    assert json.loads((run / "state.json").read_text())["state"] == "finished"
    assert {"config.yaml", "overrides.txt", "files.json", "log.txt", "metrics.json"} <= {p.name for p in run.iterdir()}
    assert "rand_seed=3" in expand([f"resume={run}"])


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"], ["num_envs=4"], ["--from", "run"]])
def test_a_command_without_a_current_folder(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "gone").mkdir()
    script = 'cd gone; rmdir ../gone; exec "$@"'
    command = ["bash", "-c", script, "-", sys.executable, str(ROOT / "train.py"), *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    if words == ["--help"]:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
