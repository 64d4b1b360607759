"""MuJoCo is imported whatever MUJOCO_GL says, which the variable keeps."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BODY = "import os; from mimickit_hydra.mj import mujoco; mujoco.MjModel; print(os.environ['MUJOCO_GL'])"


@pytest.mark.parametrize("asked", ["nonsense", "osmesa", "cgl", "disable"])
def test_every_value_of_mujoco_gl(asked: str) -> None:
    environment = {**os.environ, "MUJOCO_GL": asked}
    done = subprocess.run([sys.executable, "-c", BODY], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{asked}\n"), done.stderr
