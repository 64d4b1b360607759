"""Killed without warning at twenty random moments, a run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import assert_same_run

HERE = Path(__file__).resolve().parent


@pytest.mark.slow
def test_twenty_random_kills_lose_nothing(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    done = subprocess.run(
        [sys.executable, str(HERE / "kill_points.py"), str(killed), str(whole), "20", "3"],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": f"{HERE.parents[1]}:{HERE.parent}", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kills) == 20
    assert all(kill["killed"] for kill in kills)
    saved = [kill["iteration"] for kill in kills]
    assert saved == sorted(saved)  # never behind a checkpoint that was there before
    assert saved[-1] > 0
    assert_same_run(killed, whole)
