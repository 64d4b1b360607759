"""Several processes of one run: whoever fails, its own line is what the user sees, and nobody stays behind."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mimickit_hydra.training import processes

ROOT = Path(__file__).resolve().parents[2]

WORKER = """
import os, sys, time, torch
from mimickit_hydra.errors import UserError
from mimickit_hydra.config.messages import one_line
from mimickit_hydra.training import processes

processes.GRACE = 2.0

def root_raises(comm, device):
    if comm.rank == 0:
        raise UserError("the disk is full")
    comm.all_reduce_sum_(torch.zeros(1))

def all_raise(comm, device):
    raise UserError(f"no good, says {comm.rank}")

def root_stops_first(comm, device):
    comm.all_reduce_sum_(torch.zeros(1))
    if comm.rank == 0:
        raise SystemExit(75)
    time.sleep(1.0)

def root_stops_and_the_other_never_ends(comm, device):
    comm.all_reduce_sum_(torch.zeros(1))
    if comm.rank == 0:
        raise SystemExit(75)
    time.sleep(600.0)

def other_raises(comm, device):
    if comm.rank == 1:
        raise UserError("the other's disk is full")
    comm.all_reduce_sum_(torch.zeros(1))

def one_of_three_raises(comm, device):
    if comm.rank == 2:
        raise UserError("the last one's disk is full")
    comm.all_reduce_sum_(torch.zeros(1))

def other_is_killed(comm, device):
    if comm.rank == 1:
        os.kill(os.getpid(), 9)
    comm.all_reduce_sum_(torch.zeros(1))

def other_of_four_is_killed(comm, device):
    if comm.rank == 2:
        os.kill(os.getpid(), 9)
    comm.all_reduce_sum_(torch.zeros(1))

def root_is_killed(comm, device):
    comm.all_reduce_sum_(torch.zeros(1))
    if comm.rank == 0:
        os.kill(os.getpid(), 9)
    comm.all_reduce_sum_(torch.zeros(1))

def root_is_killed_while_the_other_hears_nothing(comm, device):
    if comm.rank == 0:
        os.kill(os.getpid(), 9)
    time.sleep(600.0)

def other_dies_while_root_hears_nothing(comm, device):
    if comm.rank == 1:
        raise UserError("the other's disk is full")
    time.sleep(600.0)

def good(comm, device):
    return float(comm.all_reduce_sum_(torch.ones(1)))

if __name__ == "__main__":
    name = sys.argv[1]
    ranks = 4 if "four" in name else 3 if "three" in name else 2
    try:
        lost = lambda line: print("lost:", line, flush=True)
        print("returned", processes.launch(globals()[name], ["cpu"] * ranks, on_lost=lost))
    except UserError as error:
        print("root:", error)
        sys.exit(2)
"""
SLOW = pytest.mark.slow  # variations of the others
DIED = "process rank{} ended with exit code {}; its own message is above. All processes of this run stop."
KILLED = "process rank{} was killed{}. All processes of this run stop."


@pytest.mark.parametrize(
    ("worker", "code", "said", "beside"),
    [
        ("good", 0, "returned 2.0", ""),
        ("root_raises", 2, "root: the disk is full", ""),
        pytest.param("all_raise", 2, "root: no good, says 0", "rank 1: no good, says 1", marks=SLOW),
        pytest.param("root_stops_first", 75, "", "", marks=SLOW),
        ("root_stops_and_the_other_never_ends", 75, "", ""),
        ("other_raises", 2, "root: " + DIED.format(1, 1), "rank 1: the other's disk is full"),
        pytest.param(
            "one_of_three_raises", 2, "root: " + DIED.format(2, 1), "rank 2: the last one's disk is full", marks=SLOW
        ),
        pytest.param("other_is_killed", 2, "root: " + KILLED.format(1, " by SIGKILL"), "", marks=SLOW),
        pytest.param("other_of_four_is_killed", 2, "root: " + KILLED.format(2, " by SIGKILL"), "", marks=SLOW),
        ("root_is_killed", -9, "", "error: " + KILLED.format(0, "")),
        pytest.param(
            "root_is_killed_while_the_other_hears_nothing", -9, "", "error: " + KILLED.format(0, ""), marks=SLOW
        ),
        (
            "other_dies_while_root_hears_nothing", 1, "lost: " + DIED.format(1, 1),
            "rank 1: the other's disk is full\nerror: " + DIED.format(1, 1),
        ),
    ],
)  # fmt: skip
def test_whoever_fails_is_heard(tmp_path: Path, worker: str, code: int, said: str, beside: str) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    done = subprocess.run(
        [sys.executable, str(script), worker],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stdout.strip()) == (code, said), done.stderr
    other = ("[W", "waiting for ")  # torch's own warnings, a slow machine
    lines = [line for line in done.stderr.splitlines() if not line.startswith(other)]
    assert "\n".join(lines) == beside


def test_two_threads_that_ask_how_a_process_ended_are_both_told() -> None:
    context = multiprocessing.get_context("fork")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # one of seven was missed so
    try:
        for _ in range(60):
            child, done = context.Process(target=os._exit, args=(1,), daemon=True, name="rank1"), threading.Event()
            child.start()
            processes._watch([child], done, None)
            processes._join([child], 30.0)
            assert processes._who_failed([child]) == DIED.format(1, 1)
            done.set()
    finally:
        sys.setswitchinterval(interval)
