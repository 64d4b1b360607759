"""Locks, full disks, damaged files and dead workers, with real processes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest_tools import ROOT, wait_until
from tiny_run import SAMPLES, TINY, assert_equal, assert_same_run, iteration_of

from mimickit_hydra.cli.train import main
from mimickit_hydra.runs.lock import RunLock, RunLockError, read_holder
from mimickit_hydra.runs.state import is_alive, read_state
from mimickit_hydra.sweeps.expand import plan_sweep
from mimickit_hydra.training.checkpoint import list_checkpoints, load_checkpoint


def command(*overrides: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *TINY, *overrides]


def start(*overrides: str, **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(*overrides), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, **options
    )  # type: ignore[call-overload, no-any-return]


def saved(run_dir: Path, count: int = 1) -> bool:
    return bool(list_checkpoints(run_dir)) and iteration_of(run_dir) >= count


def train_here(*overrides: str) -> None:
    """The same in this process, which has imported everything, for runs that nothing happens to."""
    assert main([*TINY, *overrides]) == 0


@pytest.mark.slow
def test_one_run_directory_two_processes_a_kill_and_a_cut_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = tmp_path / "run", tmp_path / "other"
    first = start(f"out_dir={path}", "max_samples=1e9")
    try:
        wait_until(lambda: saved(path, 3), "a checkpoint")
        first.send_signal(signal.SIGSTOP)  # still there, but what it trains meanwhile would be trained twice more below
        second = start(f"resume={path}")
        out, _ = second.communicate(timeout=60)
        assert second.returncode == 2
        assert len(out.splitlines()) == 1
        assert f"process {first.pid} on " in out
        assert "is working in this run directory" in out
        state = read_state(path)
        assert state is not None
        assert (state.state, state.pid, is_alive(state)) == ("running", first.pid, True)
    finally:
        first.kill()
        first.wait()
    assert read_holder(path) is not None  # the lock of a killed process stays, and is taken over
    assert is_alive(state) is False
    with open(path / "log.txt", "a") as log:
        log.write("123   45.6  ")  # a line cut short
    newest = list_checkpoints(path)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])  # and a checkpoint
    iterations = iteration_of(path) + 4
    train_here(f"resume={path}", f"max_samples={iterations * SAMPLES}")
    said = capsys.readouterr().out
    assert f"taking over from process {first.pid} on " in said
    assert "truncated or not an archive (" in said
    assert read_holder(path) is None
    train_here(f"out_dir={other}", f"max_samples={iterations * SAMPLES}")
    assert_same_run(path, other)


def test_a_lock_is_exclusive_and_released(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        with pytest.raises(RunLockError, match=f"process {os.getpid()} on .* is working in this run directory"):
            RunLock(tmp_path).__enter__()
        assert read_holder(tmp_path) is not None
    assert read_holder(tmp_path) is None
    with RunLock(tmp_path) as lock:
        assert lock.taken_over is None


def test_a_holder_on_another_machine_is_believed_while_it_renews(tmp_path: Path) -> None:
    file = tmp_path / "run.lock"
    file.write_text('{"pid": 1, "host": "elsewhere", "since": "now", "job_id": "7"}\n')
    with pytest.raises(RunLockError, match="process 1 on elsewhere"):
        RunLock(tmp_path).__enter__()
    long_ago = time.time() - 3600
    os.utime(file, (long_ago, long_ago))
    with RunLock(tmp_path) as lock:
        assert lock.taken_over is not None
        assert "elsewhere" in lock.taken_over


def test_a_requeued_job_takes_its_own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.lock").write_text('{"pid": 1, "host": "elsewhere", "since": "now", "job_id": "7"}\n')
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with RunLock(tmp_path) as lock:
        assert lock.taken_over is not None


@pytest.mark.slow
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """The disk ends in the middle of a checkpoint; with room again the run goes on from the one before."""
    path = tmp_path / "run"
    train_here(f"out_dir={path}", f"max_samples={4 * SAMPLES}")
    before = iteration_of(path)
    size = list_checkpoints(path)[-1].stat().st_size

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = start(f"resume={path}", f"max_samples={8 * SAMPLES}", preexec_fn=small_disk)
    out, _ = done.communicate(timeout=90)
    assert done.returncode == 2, out
    assert "cannot write checkpoint" in out
    assert f"{list_checkpoints(path)[-1]} is still good" in out
    assert iteration_of(path) == before
    assert not list(path.glob("checkpoints/.*.tmp"))
    state = read_state(path)
    assert state is not None
    assert state.state == "failed"
    assert "cannot write checkpoint" in (state.error or "")
    train_here(f"resume={path}", f"max_samples={8 * SAMPLES}")
    assert iteration_of(path) == 8


def test_a_signal_ends_a_long_test_and_no_row_is_lost(tmp_path: Path) -> None:
    path, other = tmp_path / "run", tmp_path / "other"
    long = ["agent.test_episodes=16", "env.episode_length=2.0"]  # tests take much longer than iterations
    process = start(f"out_dir={path}", "max_samples=1e9", *long)
    wait_until(lambda: saved(path), "a checkpoint", 90)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGUSR1)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 75, out
    assert time.monotonic() - began < 20
    state = read_state(path)
    assert state is not None
    assert state.state == "stopped"
    iterations = iteration_of(path) + 1
    budget = f"max_samples={iterations * SAMPLES}"
    train_here(f"resume={path}", budget, *long)
    train_here(f"out_dir={other}", budget, *long)
    assert_same_run(path, other)


def test_a_signal_while_torch_is_imported_is_kept(tmp_path: Path) -> None:
    """As for a job whose end is near when it starts: it stops in order, and says that there is nothing to save."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (planned,) = plan_sweep([*TINY, "max_samples=1e9", f"out_dir={tmp_path}", "hydra.sweep.subdir=run"]).runs
    (run_dir / "frozen.yaml").write_text(planned.frozen)
    process = subprocess.Popen(
        [sys.executable, "-m", "mimickit_hydra.sweeps.start", str(run_dir / "frozen.yaml")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    status = Path(f"/proc/{process.pid}/status")
    wait_until(lambda: caught(status) & 1 << signal.SIGUSR2 - 1 != 0, "the handlers")
    assert not (run_dir / "state.json").exists()
    process.send_signal(signal.SIGUSR2)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 75, out
    assert "stopped by SIGUSR2 before training began" in out
    state = read_state(run_dir)
    assert state is not None
    assert state.state == "stopped"


def caught(status: Path) -> int:
    """The signals that a process handles, a bit each."""
    return next(int(line.split()[1], 16) for line in status.read_text().splitlines() if line.startswith("SigCgt"))


def test_a_dead_worker_ends_the_run(tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = start(f"out_dir={path}", "devices=[cpu,cpu]", "max_samples=1e9")
    wait_until(lambda: saved(path), "a checkpoint", 120)
    children = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True)
    (worker,) = map(int, children.stdout.split())
    os.kill(worker, signal.SIGKILL)
    out, _ = process.communicate(timeout=30)
    assert process.returncode != 0, out
    assert "rank1" in out
    assert "All processes of this run stop" in out


SMALL_WORLD = [
    "method=supermimic", "env=tracking", "agent.warmup_steps=16", "agent.buffer_steps=32", "agent.holdout_envs=1",
    "agent.world_warmup=2", "agent.window=3", "agent.first_window=2", "agent.window_iters=4", "agent.horizon=2",
    "agent.model.world_net=[32,32]",
]  # fmt: skip
FOUR = "devices=[cpu,cpu,cpu,cpu]"


@pytest.mark.slow
@pytest.mark.timeout(900)  # of a busy machine: eight processes start one after the other
@pytest.mark.parametrize(
    "words",
    [["method=deepmimic"], ["method=amp", "agent.disc_buffer_size=100"], SMALL_WORLD],
    ids=["deepmimic", "amp", "supermimic"],
)
def test_one_of_four_processes_is_killed(words: list[str], tmp_path: Path) -> None:
    path, other = tmp_path / "run", tmp_path / "other"
    process = start(*words, f"out_dir={path}", FOUR, "max_samples=1e9")
    wait_until(lambda: saved(path, 3), "a checkpoint", 240)
    children = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True)
    os.kill(sorted(map(int, children.stdout.split()))[1], signal.SIGKILL)
    out, _ = process.communicate(timeout=60)  # which is when the last of them has closed its output
    assert process.returncode == 2, out
    line = "process rank2 was killed by SIGKILL. All processes of this run stop."
    assert [said for said in out.splitlines() if "rank" in said] == [line]
    state = read_state(path)
    assert state is not None
    assert (state.state, state.error) == ("failed", line)

    for devices in ("devices=[cpu,cpu]", "devices=[cpu,cpu,cpu,cpu,cpu]"):
        refused = start(f"resume={path}", devices)
        out, _ = refused.communicate(timeout=120)
        assert refused.returncode == 2
        (line,) = out.splitlines()
        assert "its checkpoints are of 4 processes" in line
    iterations = iteration_of(path) + 4
    train_here(f"resume={path}", f"max_samples={4 * iterations * SAMPLES}")
    train_here(*words, f"out_dir={other}", FOUR, f"max_samples={4 * iterations * SAMPLES}")
    assert_same_run(path, other, ranks=4)
    models = [load_checkpoint(path, rank=rank, world_size=4).payload["agent"] for rank in range(4)]
    for rank in (1, 2, 3):
        for part in ("model", "normalizers", "optimizers"):
            assert_equal(models[0][part], models[rank][part], f"{part} of rank {rank}")
