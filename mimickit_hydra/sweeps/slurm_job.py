"""The code inside a Slurm job: the run itself and, after a signal, the decision whether the job queues again."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.runs.lock import job_id
from mimickit_hydra.runs.state import (
    FAILED,
    PREEMPTED,
    STOPPED,
    RunState,
    read_state,
    update_state,
)
from mimickit_hydra.training.signals import STOPPED_EXIT_CODE, StopSignal
from mimickit_hydra.waiting import waiting_for

_CLOCK_SLACK = 90.0  # s; Slurm looks at time limits only now and then
_FIELD = re.compile(r"(\w+)=(\S*)")


@dataclass(frozen=True)
class SlurmJob:
    """Called once in every task of the job, and again in the same directory after each requeue."""

    frozen: str
    requeue: bool
    max_timeouts: int
    signal_delay: int

    def __call__(self) -> None:
        """Run, and end the process with the run's exit code unless that is 0."""
        with StopSignal():  # in place of submitit's handlers, which would requeue without a checkpoint
            self._call()

    def _call(self) -> None:
        run_dir = Path(self.frozen).parent
        if _rank() == 0:
            _print_to(run_dir / "output.log")
        name_the_first_node()
        code = self._run()
        if code == STOPPED_EXIT_CODE and _rank() == 0 and self._goes_on(run_dir):
            return
        if code != 0:
            raise SystemExit(code)

    def _run(self) -> int:
        from mimickit_hydra.sweeps.start import main

        try:
            return main([self.frozen])
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else 1

    def _goes_on(self, run_dir: Path) -> bool:
        """Queue the job again after a preemption, or after the time limit if that has not come too often."""
        job = _show_job()
        if not self.requeue:
            return False
        if was_requeued(job):  # Slurm has done it already: scontrol requeue, or a preemption without a grace time
            update_state(run_dir, state=PREEMPTED)
            return True
        if job.get("JobState") != "RUNNING":  # cancelled
            return False
        state = read_state(run_dir) or RunState()
        timeouts = state.timeouts
        if is_at_time_limit(job, self.signal_delay + _CLOCK_SLACK):
            timeouts += 1
            if timeouts > self.max_timeouts:
                line = (
                    f"reached the time limit {timeouts} times, launch.max_timeouts={self.max_timeouts} allows no more"
                )
                update_state(run_dir, state=STOPPED, timeouts=timeouts, error=line)
                print(f"{line}; continue with resume={run_dir}", flush=True)
                return False
        update_state(run_dir, state=PREEMPTED, timeouts=timeouts)
        print(f"job {job_id()} queues again and will go on in {run_dir}", flush=True)
        return _requeue(run_dir)


# ------------------------------------------------------------------------------------------------------- asking Slurm


def was_requeued(job: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether Slurm has put this very start of the job back into the queue; a cancelled job it has not."""
    return _count(job.get("Restarts")) > _count(environ.get("SLURM_RESTART_COUNT"))


def is_at_time_limit(job: Mapping[str, str], margin: float, now: float | None = None) -> bool:
    """Whether the job's end is less than ``margin`` seconds away, and not because another job takes its place."""
    if _seconds(job.get("PreemptTime")) is not None:
        return False
    end = _seconds(job.get("EndTime"))
    return end is not None and end - (time.time() if now is None else now) <= margin


def _requeue(run_dir: Path) -> bool:
    """Ask Slurm to queue this job again."""
    with waiting_for("an answer of scontrol"):
        done = _ask("requeue", str(job_id()))
    if done.returncode == 0:
        return True
    line = f"the job could not be queued again: {' '.join(done.stderr.split())}"
    update_state(run_dir, state=FAILED, error=line)
    print(f"{line}; continue with resume={run_dir}", flush=True)
    return False


def _show_job() -> dict[str, str]:
    return dict(_FIELD.findall(_scontrol("show", "job", "-o", str(job_id()))))


def _scontrol(*arguments: str) -> str:
    with waiting_for("an answer of scontrol"):
        return _ask(*arguments).stdout


def _ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What scontrol answers; nothing, and why, where it is not there or takes a minute."""
    try:
        return subprocess.run(["scontrol", *arguments], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(["scontrol"], 1, "", str(error))


def _count(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def _seconds(text: str | None) -> float | None:
    """A time as Slurm writes it, in seconds since 1970; None for ``None``, ``Unknown`` and the like."""
    try:
        return time.mktime(time.strptime(text or "", "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None


# --------------------------------------------------------------------------------------------------------- this task


def name_the_first_node() -> None:
    """Set MASTER_ADDR to the address that Slurm knows, where a node's name in Slurm is no host name."""
    nodes = os.environ.get("SLURM_STEP_NODELIST")
    if "MASTER_ADDR" in os.environ or nodes is None or os.environ.get("SLURM_STEP_NUM_TASKS", "1") == "1":
        return
    name = (_scontrol("show", "hostnames", nodes).split() or [""])[0]
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        address = dict(_FIELD.findall(_scontrol("show", "node", "-o", name))).get("NodeAddr")
        if address:
            os.environ["MASTER_ADDR"] = address


def _rank() -> int:
    return int(os.environ.get("SLURM_PROCID", "0"))


def _print_to(path: Path) -> None:
    """Everything this process prints from here on goes to the end of ``path``, if that can be written to."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        print(f"{path}: cannot be written to ({error.strerror}); what is said follows here", flush=True)
        return
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
