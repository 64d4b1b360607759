"""The lock of a run directory where files go, jobs are queued again, and machines are given up too early."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimickit_hydra.runs import lock as run_lock
from mimickit_hydra.runs.lock import RunLock, RunLockError, holder_elsewhere, read_holder, refuse_if_taken_over
from mimickit_hydra.runs.manifest import add_runs, create_sweep
from mimickit_hydra.runs.state import RUNNING, read_state, update_state
from mimickit_hydra.sweeps import runner as sweep_runner
from mimickit_hydra.sweeps.launcher import LaunchError
from mimickit_hydra.sweeps.runner import run_all
from mimickit_hydra.sweeps.schema import PackedLaunchConfig
from mimickit_hydra.sweeps.start import start_file
from mimickit_hydra.sweeps.submit import submit

HOLD = "import sys; from mimickit_hydra.runs.lock import RunLock as L; L(sys.argv[1]).__enter__(); print(1, flush=True)"


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A living process that works in ``tmp_path / "run"``."""
    (tmp_path / "run").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", f"{HOLD}; import time; time.sleep(60)", str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SLURM_JOB_ID": "7", "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    yield process
    process.kill()
    process.wait()


def sign(run_dir: Path, **fields: object) -> None:
    (run_dir / "run.lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "now", **fields}))


def test_a_removed_file_does_not_let_a_second_process_in(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        (tmp_path / "run.lock").unlink()
        with pytest.raises(RunLockError, match="another process is working in this run directory"):
            RunLock(tmp_path).__enter__()
    with RunLock(tmp_path):
        pass


def test_a_queued_again_job_waits_for_its_former_start(
    tmp_path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    began = time.monotonic()
    with pytest.raises(RunLockError, match=f"process {other.pid} on"):
        RunLock(tmp_path / "run").__enter__()
    assert time.monotonic() - began < 5
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    threading.Timer(0.6, other.kill).start()
    with RunLock(tmp_path / "run"):
        assert (read_holder(tmp_path / "run") or {})["pid"] == os.getpid()
    assert f"waiting for process {other.pid} on" in capsys.readouterr().out


def test_it_waits_only_so_long(tmp_path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(run_lock, "REQUEUE_SECONDS", 0.3)
    with pytest.raises(RunLockError, match=f"process {other.pid} on"):
        RunLock(tmp_path / "run").__enter__()


def test_one_whose_run_was_taken_over_elsewhere_leaves_it(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        refuse_if_taken_over(tmp_path)
        sign(tmp_path)
        with pytest.raises(RunLockError, match=r"process 1 on elsewhere .* has taken over this run"):
            refuse_if_taken_over(tmp_path)
    assert (read_holder(tmp_path) or {})["host"] == "elsewhere"  # nor does it take the other one's lock away


def test_a_refused_start_leaves_the_state_of_the_one_that_works(
    tmp_path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "run"
    before = update_state(run_dir, state=RUNNING, pid=other.pid)
    monkeypatch.setattr("mimickit_hydra.sweeps.start._run", lambda _path, run_dir: RunLock(run_dir).__enter__())
    with pytest.raises(RunLockError):
        start_file(run_dir / "frozen.yaml")
    assert read_state(run_dir) == before
    assert f"process {other.pid} on" in str(holder_elsewhere(run_dir, os.getpid()))
    assert holder_elsewhere(run_dir, other.pid) is None

    def refused(sweep: object, run: object) -> list[str]:
        return [sys.executable, "-c", "import sys; sys.exit(2)"]

    monkeypatch.setattr(sweep_runner, "command_of", refused)
    sweep = add_runs(create_sweep(tmp_path, []), [("run", [], [], "")])
    (outcome,) = run_all(sweep, sweep.runs)
    assert f"process {other.pid} on" in str(outcome.error)
    assert read_state(run_dir) == before


def test_what_runs_is_not_submitted_again(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    run_dir = tmp_path / "run"
    before = update_state(run_dir, state=RUNNING, pid=other.pid, host=os.uname().nodename)
    with pytest.raises(LaunchError, match=f"running already .process {other.pid} on"):
        submit(PackedLaunchConfig(launcher="packed"), [run_dir / "frozen.yaml"], name="x", cwd=str(tmp_path))
    assert read_state(run_dir) == before
