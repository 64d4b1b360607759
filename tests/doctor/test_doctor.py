"""``mimickit doctor``: what it finds, what it says to do, and that nothing it tries can take it down."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mimickit_hydra.cli.main import main
from mimickit_hydra.doctor import engine_health, health
from mimickit_hydra.doctor.health import ABSENT, FAIL, OK, WARN, Finding
from mimickit_hydra.doctor.trial import run_program, run_python
from mimickit_hydra.plugins import ENGINES


@pytest.fixture
def fit_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own parts are not looked at."""
    monkeypatch.setattr(health, "check_machine", lambda out_dir: [Finding("python", OK, "3.11")])


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    code = main(["doctor", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


# ---------------------------------------------------------------------------------------------------------- the command


def test_a_run_that_can_start(fit_machine: None, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = doctor(capsys, "method=amp", "agent.discount=0.9", "num_envs=4")
    assert (code, found["usable"], found["engine"]) == (0, True, "mujoco")
    (engine,) = found["engines"]
    assert engine["state"] in (OK, WARN)
    assert engine["details"]["step"]["step_ms"] > 0.0
    assert engine["details"]["interpreter"] == sys.executable
    assert found["config"]["agent.discount"] == 0.9
    assert [Path(file["found"]).name for file in found["files"]] == ["humanoid.xml", "humanoid_walk.npz"]
    assert found["preset"]["name"] == "amp_humanoid"
    assert not found["preset"]["named"]
    assert {"key": "agent.discount", "preset": 0.95, "run": 0.9} in found["preset"]["differences"]


def test_a_run_whose_files_are_not_here(
    fit_machine: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MIMICKIT_DATA", raising=False)
    assert main(["doctor", "experiment=amp_g1", "num_envs=64", "--no-step"]) == 1
    out = capsys.readouterr().out
    assert "char_file: data/assets/g1/g1.xml" in out  # the effective config
    assert "2 of 2 are missing" in out
    assert "next: mimickit assets fetch g1" in out
    assert "as experiment=amp_g1" in out
    assert out.count("num_envs  ") == 1  # the one value that differs


def test_a_robot_that_no_command_moves_is_of_no_use(fit_machine: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The walker of these tests with another file, whose motors state no gains."""
    folder = Path(__file__).parents[1] / "engines" / "data"
    words = ["--no-step", "--config-dir", str(folder / "conf"), "character=walker", "motion=walker_stand"]
    words += ["num_envs=4", f"data_root=[{folder}]", "character.char_file=mjcf/motor_gear.xml"]
    assert main(["doctor", *words]) == 1
    out = capsys.readouterr().out
    assert "4 of 4 joints have no gains" in out
    assert "next: add character.gains=from_inertia" in out
    assert main(["doctor", *words, "character.gains=from_inertia"]) == 0


def test_the_default_engine_decides(
    fit_machine: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {"mujoco": OK, "newton": FAIL, "mjwarp": ABSENT, "isaac_lab": ABSENT, "isaac_gym": WARN}
    monkeypatch.setattr(engine_health, "check_engine", lambda name, *_, **__: Finding(name, states[name], "found"))
    code, found = doctor(capsys)
    assert (code, found["usable"]) == (0, True)
    assert {finding["topic"]: finding["state"] for finding in found["engines"]} == states
    states["mujoco"] = FAIL
    assert main(["doctor"]) == 1
    assert "engine=mujoco, the default, cannot be used: mujoco" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["engine=mujco"], "engine=mujco: no such option; nearest: mujoco"),
        (["num_env=3"], "num_env: unknown key; nearest: "),
        (["--timeout", "0"], "--timeout 0: must be more than 0 seconds"),
        (["--jsno"], "unrecognized arguments: --jsno"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    assert main(["doctor", *arguments]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.slow
def test_the_smoke_run_keeps_to_itself(
    fit_machine: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, found = doctor(capsys, "method=amp", "num_envs=64", "mode=train", "--smoke", "--no-step")
    assert code == 0
    assert found["smoke"][0]["details"]["episodes"] == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_whole_of_it_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = doctor(capsys)
    assert code == 0
    assert [finding["topic"] for finding in found["machine"]] == [
        "python",
        "gpu",
        "rendering",
        "video",
        "run directory",
    ]
    assert [finding["topic"] for finding in found["engines"]] == list(ENGINES)


# ------------------------------------------------------------------------------------------------- trying and looking


def test_what_crashes_or_hangs_is_a_line() -> None:
    assert run_python(["-c", "print('{\"a\": 1}')"], 20) == {"a": 1}
    assert run_python(["-c", "import os; os.kill(os.getpid(), 11)"], 20)["error"].startswith("was killed by signal 11")
    assert run_python(["-c", "import time; time.sleep(60)"], 0.5) == {"error": "did not answer within 0.5 s"}
    assert run_python(["-c", "print(1)"], 20) == {"error": "printed no result: 1"}
    assert run_python(["-c", "raise ValueError('no')"], 20)["error"] == "ended with exit code 1: ValueError: no"
    assert "cannot be started" in run_python([], 20, "/nowhere/python")["error"]
    assert run_program([sys.executable, "-c", "pass"], 20) is None


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        engine_health, "_look", lambda *_: {"python": "3.11.2", "missing": ["newton"], "versions": {}}
    )  # fmt: skip
    found = engine_health.check_engine("newton", ["engine=newton"])
    assert (found.state, "not installed in this Python (no module newton)" in found.text) == (ABSENT, True)
    assert 'pip install "mimickit-hydra[newton]"' in found.next
    assert "MIMICKIT_NEWTON_PYTHON=" in found.next
    assert engine_health.check_engine("newton", ["engine=newton"], needed=True).state == FAIL


def test_an_interpreter_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = engine_health.check_engine("isaac_gym", [], python=str(tmp_path / "python"))
    assert (found.state, "does not exist" in found.text) == (FAIL, True)
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho no; exit 3\n")
    other.chmod(0o755)
    monkeypatch.setenv("MIMICKIT_ISAAC_GYM_PYTHON", str(other))
    found = engine_health.check_engine("isaac_gym", [])
    assert (found.state, "ended with exit code 3" in found.text) == (FAIL, True)
    assert "MIMICKIT_ISAAC_GYM_PYTHON" in found.next


def test_versions_that_no_test_has_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    look = {"python": "3.11.9", "missing": [], "versions": {"mujoco": "3.99.0", "torch": "2", "numpy": "2"}}
    monkeypatch.setattr(engine_health, "_look", lambda *_: look)
    found = engine_health.check_engine("mujoco", [], step=False)
    assert found.state == WARN
    assert "mujoco 3.99.0 (tested: 4.0.0, 3.17.0)" in found.next
    monkeypatch.setattr(engine_health, "run_python", lambda *_: {"error": "was killed by signal 11: no message"})
    found = engine_health.check_engine("mujoco", [])
    assert found.state == FAIL
    assert found.next.startswith("install the versions that were tested: mujoco 3.99.0")


def test_cards_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    card = {"name": "NVIDIA H200", "driver": "570.1", "memory": "143771 MiB", "used": "0 MiB"}
    torch = {"torch": "2.13.0", "cuda": None, "available": False, "devices": []}
    monkeypatch.setattr(health, "_nvidia_smi", lambda: [card])
    monkeypatch.setattr(health, "run_python", lambda *_: torch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "built for the CPU alone" in health.check_gpu().text
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert health.check_gpu().next == "unset CUDA_VISIBLE_DEVICES"
    torch.update(cuda="13.0", available=True, devices=["NVIDIA H200"])
    found = health.check_gpu()
    assert (found.state, found.text) == (OK, "cuda:0 NVIDIA H200, driver 570.1, CUDA 13.0 in torch")


def test_room_for_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert health.check_room(str(tmp_path / "not" / "yet")).state == OK
    assert not (tmp_path / "not").exists()
    assert health.check_room("/proc/run").state == FAIL
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    assert "1.0 GB free" in health.check_room(str(tmp_path)).text
