"""``mimickit status``, ``attach`` and ``cancel`` on run directories with living, dead and finished processes."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimickit_hydra.cli.main import main
from mimickit_hydra.runs.find import find_runs
from mimickit_hydra.runs.jobs import Jobs, runner_of, stop
from mimickit_hydra.runs.manifest import add_runs, create_sweep
from mimickit_hydra.runs.state import RunState, birth, read_state, write_state

WAITS = "import time; time.sleep(60)"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", WAITS])
    yield process
    process.kill()
    process.wait()


def _run(path: Path, **state: object) -> Path:
    path.mkdir(parents=True)
    write_state(path, RunState(**state))  # type: ignore[arg-type]
    return path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: subprocess.Popen[bytes]) -> Path:
    monkeypatch.chdir(tmp_path)
    host = socket.gethostname()
    day = tmp_path / "outputs" / "2026-11-23"
    _run(day / "a", state="running", pid=process.pid, host=host, samples=2048, samples_per_second=1234.0, eta_s=3661.0)
    _run(day / "b", state="running", pid=2**22 - 1, host=host)
    _run(day / "c", state="failed", error="Actor_Loss is not finite")
    _run(day / "d", state="queued", launcher="tmux", job_id="mk_no_such_session")
    sweep = create_sweep(tmp_path / "multirun" / "s", ["rand_seed=1,2"])
    add_runs(sweep, [(f"{n}_run", [], [f"rand_seed={n}"], "num_envs: 8\n") for n in range(2)])
    write_state(tmp_path / "multirun" / "s" / "0_run", RunState(state="finished"))
    (tmp_path / "multirun" / "s" / "0_run" / "log.txt").write_text("Iteration  Samples\n0  64\n1  128\n2  19")
    return tmp_path


def test_every_run_in_a_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:6]] == [
        ["outputs/2026-11-23/a", "running"], ["outputs/2026-11-23/b", "lost"], ["outputs/2026-11-23/c", "failed"],
        ["outputs/2026-11-23/d", "lost"], ["multirun/s/0_run", "finished"], ["multirun/s/1_run", "missing"],
    ]  # fmt: skip
    assert "2,048 samples, 1,234 samples/s, ends in 1:01:01" in lines[0]
    assert "Actor_Loss is not finite" in lines[2]
    assert lines[4].endswith("rand_seed=0, 128 samples")
    assert lines[6] == "6 runs: 1 running, 2 lost, 1 failed, 1 finished, 1 missing"


def test_status_for_programs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "multirun", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [(record["state"], record["samples"], record["varied"]) for record in records] == [
        ("finished", 128, ["rand_seed=0"]), ("missing", None, ["rand_seed=1"])
    ]  # fmt: skip


def test_what_waits_in_a_sweep_is_queued_while_its_runner_lives(runs: Path) -> None:
    sweep = runs / "multirun" / "s"
    with runner_of(sweep):
        assert [run.state for run in find_runs([sweep])] == ["finished", "queued"]
        assert main(["sweep", "resume", str(sweep)]) == 2
    assert [run.state for run in find_runs([sweep])] == ["finished", "missing"]


def test_a_local_run_is_asked_to_stop(
    runs: Path, process: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cancel", "outputs"]) == 0
    assert f"outputs/2026-11-23/a: sent SIGTERM to process {process.pid}" in capsys.readouterr().out
    assert process.wait(10) == -15
    assert main(["cancel", "outputs"]) == 0
    assert "nothing runs" in capsys.readouterr().out


def test_a_run_elsewhere_cannot_be_reached(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _run(runs / "far", state="running", pid=1, host="another-machine")
    assert main(["cancel", str(folder)]) == 1
    assert "runs on another-machine; cancel it there" in capsys.readouterr().err


def test_slurm_is_asked_by_its_own_commands(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = runs / "tools"
    tools.mkdir()
    for name, text in (("squeue", "echo '12_0 PENDING'; echo '13 RUNNING'"), ("scancel", f"echo $@ >> {runs}/asked")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    for job in ("12_0", "12_1"):
        _run(runs / "cluster" / job, state="queued", launcher="slurm", job_id=job)
    assert [run.state for run in find_runs([runs / "cluster"])] == ["queued", "lost"]
    assert Jobs().is_busy(RunState(state="preempted", launcher="slurm", job_id="13"))
    assert main(["cancel", "cluster"]) == 0
    assert (runs / "asked").read_text() == "12_0\n"
    state = read_state(runs / "cluster" / "12_0")
    assert state is not None
    assert state.state == "stopped"


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_tmux_session_is_found_and_ended(runs: Path) -> None:
    name = f"mk_test_{runs.name}"
    subprocess.run(["tmux", "new-session", "-d", "-s", name, "sleep 60"], check=True)
    try:
        folder = _run(runs / "t", state="queued", launcher="tmux", job_id=name)
        assert [run.state for run in find_runs([folder])] == ["queued"]
        assert main(["cancel", str(folder)]) == 0
        assert subprocess.run(["tmux", "has-session", "-t", f"={name}"], capture_output=True).returncode != 0
    finally:
        subprocess.run(["tmux", "kill-session", "-t", f"={name}"], capture_output=True)


def test_attach_follows_what_a_run_prints(
    runs: Path, process: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs / "outputs" / "2026-11-23" / "a"
    assert main(["attach"]) == 2
    assert "prints to its own terminal" in capsys.readouterr().err
    (folder / "output.log").write_text("iter 0\n")
    process.kill()
    process.wait()
    from mimickit_hydra.cli.control import attach

    assert attach(find_runs([folder])[0]) == 0
    assert capsys.readouterr().out == "iter 0\n"


def test_attach_says_what_a_run_without_output_waits_for(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mimickit_hydra.waiting.FIRST_S", 0.05)
    folder = _run(runs / "t", state="queued", launcher="packed", job_id="1")
    run, end = find_runs([folder])[0], time.monotonic() + 1.0
    monkeypatch.setattr(Jobs, "is_busy", lambda self, state: time.monotonic() < end)
    from mimickit_hydra.cli.control import attach

    assert attach(run) == 0
    assert capsys.readouterr().err.startswith("waiting for packed 1 to start t (0 s)\n")


def test_a_number_that_another_process_has_now_is_not_the_run(
    runs: Path, process: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    host, job = socket.gethostname(), str(process.pid)
    ours, former = birth(process.pid), "of-a-former-start 12"
    for name, born, state in (("same", ours, "running"), ("other", former, "lost"), ("unknown", None, "running")):
        folder = _run(runs / name, state="running", pid=process.pid, host=host, born=born)
        assert [run.state for run in find_runs([folder])] == [state]
    for name, born, state in (("a", ours, "queued"), ("b", former, "lost")):
        folder = _run(runs / "packed" / name, state="queued", launcher="packed", job_id=job, job_born=born)
        assert [run.state for run in find_runs([folder])] == [state]
    assert "ended meanwhile" in stop(RunState(state="running", pid=process.pid, host=host, born=former))
    assert process.poll() is None


def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 2
    assert capsys.readouterr().err == "no runs in outputs or multirun of the current directory\n"
    assert main(["status", "nowhere"]) == 2
    assert capsys.readouterr().err == "nowhere: no such directory\n"


@pytest.mark.parametrize("manifest", ["runs: [", "runs: 3\n", "runs: [{number: 0, dir: ../x}]\n"])
def test_an_unreadable_sweep_is_a_row_and_the_others_are_shown(
    manifest: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = _run(runs / "multirun" / "broken" / "0_run", state="finished").parent
    (broken / "sweep.yaml").write_text(manifest)
    assert main(["status", "multirun"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["multirun/broken", "failed"], ["multirun/broken/0_run", "finished"],
        ["multirun/s/0_run", "finished"], ["multirun/s/1_run", "missing"],
    ]  # fmt: skip
    assert ": not " in lines[0]
    assert main(["report", "multirun"]) == 0
    assert "4 runs" in capsys.readouterr().out
    assert ": not " in (runs / "multirun" / "report.html").read_text()
