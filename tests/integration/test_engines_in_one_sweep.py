"""One shell, one command, every engine: each in the interpreter that has it, Isaac Gym as its emulation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimickit_hydra.engines.registry import engine_problem

ROOT = Path(__file__).parents[2]
SWEEP = ["num_envs=4", "max_samples=256", "compute=cpu"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_over_all_engines_that_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newton and Isaac Lab run where they are installed, here or in ``MIMICKIT_NEWTON_PYTHON`` and the like."""
    monkeypatch.setenv("MIMICKIT_ISAAC_GYM_PYTHON", os.environ.get("MIMICKIT_TEST_PYTHON38") or sys.executable)
    monkeypatch.setenv("MIMICKIT_ISAAC_GYM_PYTHONPATH", str(ROOT / "tests" / "emulator"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    names = [name for name in ("mujoco", "newton", "isaac_lab", "isaac_gym") if not engine_problem(name)]
    assert {"mujoco", "isaac_gym"} <= set(names)
    command = [sys.executable, "train.py", "-m", f"engine={','.join(names)}", *SWEEP, f"hydra.sweep.dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in names:
        (run,) = tmp_path.glob(f"*_{name}")
        assert json.loads((run / "state.json").read_text())["state"] == "finished"
        assert (run / "metrics.json").is_file()
    assert f"{len(names)} runs: {len(names)} finished" in done.stdout
    assert "the emulation of the tests" in (run / "output.log").read_text()
