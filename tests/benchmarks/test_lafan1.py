"""``benchmarks/lafan1.py``: when its target is reached, and the whole command on tables that are made here."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "lafan1.py"


def test_first_is_a_return_and_strict_three_without_a_failure(script) -> None:
    points = [(0.5, 3), (0.83, 2), (0.83, 0), (0.84, 0), (0.81, 0), (0.82, 0), (0.9, 0), (0.9, 0), (0.9, 0)]
    curve = [{"seconds": 10.0 * i, "return": value, "failed": failed} for i, (value, failed) in enumerate(points)]
    assert script.reached(curve) == (10.0, 70.0)
    assert script.reached(curve[:7]) == (10.0, None)
    assert script.reached(curve[:1]) == (None, None)


def test_another_engine_tests_the_networks_that_were_trained(script, tmp_path: Path) -> None:
    """A checkpoint of a GPU, with its recipe, where the engine's own recipe has other networks."""
    clip = Path(script.__file__).resolve().parents[1] / "mimickit_hydra/data/motions/g1/g1_humanoid_walk.npz"
    (tmp_path / clip.name).write_bytes(clip.read_bytes())
    args = argparse.Namespace(method="supermimic", engine="mujoco", clips=tmp_path, num_envs=4, overrides=[])
    (here, cpu), (there, mimickit) = (script.composed(args, 0, ["cpu"], recipe) for recipe in ("", "mimickit"))
    assert (cpu, mimickit) == ("cpu", "mimickit")
    assert (here.agent.model.world_net, there.agent.model.world_net) == ([256, 256], [1024, 1024, 1024])


@pytest.mark.slow
def test_one_command_trains_and_judges(tmp_path: Path) -> None:
    data = tmp_path / "g1"
    data.mkdir()
    for number, rows in enumerate((40, 60)):
        table = np.zeros((rows, 36))
        table[:, 2], table[:, 6] = 0.78, 1.0
        table[:, 22] = 0.1 * np.sin(np.arange(rows) / 5)
        np.savetxt(data / f"clip{number}.csv", table, delimiter=",", fmt="%.6f")
    out = tmp_path / "out.json"
    words = ["--engine", "mujoco", "--device", "cpu", "--num-envs", "4", "--minutes", "0.02", "--every", "1"]
    command = [sys.executable, str(SCRIPT), str(data), *words, "--keep", str(tmp_path / "kept"), "--out", str(out)]
    done = subprocess.run([*command, "compute=cpu"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert row["clips"] == 2
    assert row["first_s"] is None
    assert all(0.0 < point["return"] < 1.0 for point in row["curve"])
    assert {one["clip"] for one in row["last"]} == {"clip0", "clip1"}
    (data / "clip1.csv").write_text("1,2,3\n", encoding="utf-8")
    done = subprocess.run([*command[:-4], "compute=cpu"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "clip1.csv" in done.stderr.splitlines()[-1]
