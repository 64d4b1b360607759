"""``launch=slurm``, ``tmux`` and ``packed`` against the real programs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from conftest_tools import train, wait_until
from tiny_run import SAMPLES, TINY, assert_same_run, iteration_of

from mimickit_hydra.runtime.checkpoint import list_checkpoints
from mimickit_hydra.runtime.state_file import RunState, read_state

SLURM = ["launch=slurm", "launch.cpus=1", "launch.mem=500MB", "launch.time=60"]


def state_of(run_dir: Path) -> RunState:
    found = read_state(run_dir)
    return found if found is not None else RunState()


def has_saved(run_dir: Path, iterations: int = 1) -> bool:
    return bool(list_checkpoints(run_dir)) and iteration_of(run_dir) >= iterations


def reference(path: Path, iterations: int, *overrides: str, ranks: int = 1) -> Path:
    done = train(*TINY, *overrides, f"out_dir={path}", f"max_samples={iterations * SAMPLES * ranks}", cwd=path.parent)
    assert done.returncode == 0, done.stderr
    return path


def end_at(run_dir: Path, iterations: int, ranks: int = 1) -> None:
    """Give a run whose budget is endless an end, in its frozen config."""
    file = run_dir / "frozen.yaml"
    file.write_text(
        re.sub(r"(?m)^max_samples: .*$", f"max_samples: {iterations * SAMPLES * ranks}.0", file.read_text())
    )


@pytest.mark.slow
def test_slurm_preemption_and_time_limit_and_cancel_with_two_tasks(slurm: Path, tmp_path: Path) -> None:
    """One job: preempted by another, signalled as at a time limit, each time going on in its directory; then equal."""
    path = tmp_path / "run"
    words = [*TINY, "max_samples=1e9", *SLURM, "launch.tasks=2", f"out_dir={path}"]
    done = train(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    job = state_of(path).job_id
    assert f"submitted   job {job}" in done.stdout
    assert "run" in done.stdout
    wait_until(lambda: has_saved(path), "a checkpoint", 90)
    urgent = ["sbatch", "-p", "urgent", "-c", "4", "--output=/dev/null", "--wrap", "sleep 1"]
    subprocess.run(urgent, check=True, capture_output=True)
    wait_until(lambda: state_of(path).state == "preempted", "the preemption")
    wait_until(lambda: state_of(path).starts == 2, "the second start", 90)
    preempted_at = iteration_of(path)
    wait_until(lambda: has_saved(path, preempted_at + 1), "another checkpoint", 90)
    subprocess.run(["scancel", "--signal=USR2", str(job)], check=True)
    wait_until(lambda: state_of(path).state == "preempted", "the requeue after SIGUSR2")
    iterations = iteration_of(path) + 4
    end_at(path, iterations, ranks=2)
    wait_until(lambda: state_of(path).state == "finished", "the end", 120)
    assert state_of(path).job_id == job
    assert state_of(path).starts == 3
    other = reference(tmp_path / "other", iterations, "devices=[cpu,cpu]", ranks=2)
    assert_same_run(path, other, ranks=2)


def test_slurm_sweep_is_frozen_and_a_cancelled_job_stays_cancelled(slurm: Path, tmp_path: Path) -> None:
    done = train("-m", *TINY, "rand_seed=1,2", "max_samples=1e9", *SLURM, "out_dir=s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = sorted((tmp_path / "s").glob("*_deepmimic_humanoid_mujoco"))
    assert len(runs) == 2
    jobs = [state_of(run).job_id for run in runs]
    assert [job.split("_")[1] for job in jobs if job] == ["0", "1"]
    wait_until(lambda: has_saved(runs[0]), "a checkpoint", 90)
    subprocess.run(["scancel", str(jobs[0]).split("_")[0]], check=True)
    wait_until(lambda: state_of(runs[0]).state == "stopped", "the saved stop")
    wait_until(lambda: not squeue(), "an empty queue")
    assert state_of(runs[0]).state == "stopped"
    assert has_saved(runs[0])


def squeue() -> str:
    return subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout.strip()


def test_tmux_session_outlives_the_shell_and_can_be_attached(tmux: None, tmp_path: Path) -> None:
    path = tmp_path / "run.1"
    done = train(*TINY, "max_samples=1e9", "launch=tmux", f"out_dir={path}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    session = "mk_train_mujoco_run-1"
    assert f"submitted   session {session}" in done.stdout
    panes = tmux_says("list-panes", "-t", session, "-F", "#{pane_current_command}")
    assert len(panes.splitlines()) == 2
    assert "top" in panes
    wait_until(lambda: has_saved(path), "a checkpoint", 90)
    assert "samples" in tmux_says("capture-pane", "-p", "-t", f"{session}:0.0")  # what one who attaches sees
    subprocess.run(["tmux", "send-keys", "-t", f"{session}:0.0", "C-c"], check=True)
    wait_until(lambda: state_of(path).state == "stopped", "the saved stop")
    wait_until(
        lambda: subprocess.run(["tmux", "has-session", "-t", session], capture_output=True).returncode != 0, "end"
    )
    assert "everything is saved" in (path / "output.log").read_text()


def tmux_says(*arguments: str) -> str:
    return subprocess.run(["tmux", *arguments], capture_output=True, text=True, check=True).stdout


def test_packed_runs_a_limited_number_side_by_side(tmp_path: Path) -> None:
    words = [
        "-m",
        *TINY,
        "rand_seed=1,2",
        f"max_samples={2 * SAMPLES}",
        "launch=packed",
        "launch.parallel=1",
        "out_dir=s",
    ]
    done = train(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = sorted((tmp_path / "s").glob("*_deepmimic_humanoid_mujoco"))
    wait_until(lambda: all(state_of(run).state == "finished" for run in runs), "both ends", 120)
    first, second = (state_of(run) for run in runs)
    assert first.updated <= (second.started or 0.0)
    assert json.loads((runs[0] / "result.json").read_text())
