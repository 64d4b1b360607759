"""Sweeps whose processes, nodes, disk and files fail at random end as if nothing had happened, or say why.

``MIMICKIT_TEST_CHAOS`` says for how many seconds things fail: 15 without it, 240 in ``.ci/nightly``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest_tools import HERE, ROOT

SECONDS = int(os.environ.get("MIMICKIT_TEST_CHAOS", "15"))
RUNS = 2 if SECONDS < 60 else 4
SEED = os.environ.get("MIMICKIT_TEST_CHAOS_SEED", "3")


def chaos(tmp_path: Path, launcher: str) -> None:
    """The script, whose lines are shown if it fails."""
    done = subprocess.run(
        [sys.executable, str(HERE / "chaos.py"), str(tmp_path / "chaos"), launcher, str(SECONDS), SEED, str(RUNS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{HERE.parent}"},
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(480 + 5 * SECONDS)
def test_a_packed_sweep_survives(tmp_path: Path) -> None:
    chaos(tmp_path, "packed")


@pytest.mark.slow
@pytest.mark.timeout(480 + 5 * SECONDS)
def test_a_sweep_on_slurm_survives(slurm: Path, tmp_path: Path) -> None:
    chaos(tmp_path, "slurm")
