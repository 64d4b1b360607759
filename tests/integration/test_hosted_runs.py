"""Runs whose engine lives in another process: the same numbers, exact resume, and one line when the worker is lost."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest_tools import ROOT, submit, train, wait_until
from tiny_run import SAMPLES, TINY, assert_same_run, iteration_of

from mimickit_hydra.runs.state import read_state
from mimickit_hydra.training.checkpoint import list_checkpoints

HOSTED = f"engine.python={sys.executable}"


def workers_of(pid: int) -> list[int]:
    """Children of a run that are engine workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    mark = b"engines.subprocess.worker"
    return [int(child) for child in children if mark in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.slow
def test_a_hosted_run_stopped_and_resumed_equals_one_in_process(tmp_path: Path) -> None:
    plain, hosted = tmp_path / "plain", tmp_path / "hosted"
    every = [*TINY, "agent.iters_per_output=1"]  # a row at the end of the first part is in both logs then
    submit(*every, f"max_samples={6 * SAMPLES}", f"out_dir={plain}", cwd=tmp_path)
    submit(*every, HOSTED, f"max_samples={4 * SAMPLES}", f"out_dir={hosted}", cwd=tmp_path)
    submit(*every, HOSTED, f"max_samples={6 * SAMPLES}", f"resume={hosted}", cwd=tmp_path)
    assert_same_run(plain, hosted)
    worker = json.loads((hosted / "versions.json").read_text())["engine=mujoco"]
    assert worker["executable"] == sys.executable
    assert worker["python"] == platform.python_version()


@pytest.mark.slow
def test_a_lost_worker_ends_the_run_with_one_line_and_it_resumes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, str(ROOT / "train.py"), *TINY, HOSTED, "max_samples=1e9", f"out_dir={run}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        try:
            wait_until(lambda: bool(list_checkpoints(run)), "a checkpoint")
            (worker,) = workers_of(process.pid)
            os.kill(worker, signal.SIGKILL)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode not in (0, -signal.SIGKILL)
    lines = [line for line in err.splitlines() if "engine=mujoco" in line]
    assert len(lines) == 1, err
    assert "was killed by SIGKILL when asked to" in lines[0]
    assert "Traceback" not in err
    state = read_state(run)
    assert state is not None
    assert state.state == "failed"
    assert "SIGKILL" in (state.error or "")
    goal = iteration_of(run) + 2
    done = train(*TINY, HOSTED, f"max_samples={goal * SAMPLES}", f"resume={run}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert iteration_of(run) == goal


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_stops_the_run_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """As Ctrl-C in a terminal and Slurm at its time limit do it: the worker goes on until the run has been saved."""
    run = tmp_path / "run"
    command = [sys.executable, str(ROOT / "train.py"), *TINY, HOSTED, "max_samples=1e9", f"out_dir={run}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: bool(list_checkpoints(run)), "a checkpoint")
            (worker,) = workers_of(process.pid)
            for pid in (worker, process.pid):
                os.kill(pid, number)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "Traceback" not in err
    state = read_state(run)
    assert state is not None
    assert state.state in ("stopped", "preempted"), state
    assert not Path(f"/proc/{worker}").exists()


@pytest.mark.slow
def test_several_processes_host_one_engine_each(tmp_path: Path) -> None:
    plain, hosted = tmp_path / "plain", tmp_path / "hosted"
    several = [*TINY, "devices=[cpu,cpu]", f"max_samples={4 * 2 * SAMPLES}"]
    submit(*several, f"out_dir={plain}", cwd=tmp_path)
    submit(*several, HOSTED, f"out_dir={hosted}", cwd=tmp_path)
    assert_same_run(plain, hosted, ranks=2)
