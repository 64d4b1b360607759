"""engine=isaac_gym on the emulated simulator, beyond the conformance suite, in processes of its own."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.engines.registry import engine_problem
from mimickit_hydra.engines.subprocess import wire
from mimickit_hydra.motion.mjcf import read_robot

SCRIPT = Path(__file__).parent / "isaac_gym_script.py"
PYTHON38 = os.environ.get("MIMICKIT_TEST_PYTHON38", "")


def run(check: str, python: str = sys.executable, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [python, str(SCRIPT), check, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("fine\n")
    return done.stdout


def test_after_torch_it_says_how_to_host_it() -> None:
    line = run("too_late").splitlines()[0]
    assert line.startswith("engine=isaac_gym: isaacgym cannot be imported here (torch was imported before isaacgym")
    assert "MIMICKIT_ISAAC_GYM_PYTHON" in line


@pytest.mark.parametrize("check", ["gpu_pipeline", "other_order", "strict_emulator"])
def test_on_the_emulation(check: str) -> None:
    run(check)


@pytest.mark.slow
@pytest.mark.parametrize("check", ["too_late", "gpu_pipeline", "other_order", "strict_emulator"])
@pytest.mark.skipif(not PYTHON38, reason="needs MIMICKIT_TEST_PYTHON38=/path/to/python, as .ci/isaac_gym makes one")
def test_on_the_emulation_in_python_38(check: str, tmp_path: Path) -> None:
    humanoid = bundled_data() / "assets" / "humanoid" / "humanoid.xml"
    (tmp_path / "robot").write_bytes(wire.pack(dataclasses.asdict(read_robot(humanoid))))
    run(check, PYTHON38, str(tmp_path / "robot"))


def test_where_it_is_not_installed_a_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MIMICKIT_ISAAC_GYM_PYTHON", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    line = engine_problem("isaac_gym")
    assert line.startswith("engine=isaac_gym needs the Python package isaacgym, not found")
    assert "developer.nvidia.com/isaac-gym" in line
    assert "3.8" in line
    assert "MIMICKIT_ISAAC_GYM_PYTHON" in line
