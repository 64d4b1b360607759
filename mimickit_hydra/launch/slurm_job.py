"""What runs inside a Slurm job: the run itself, and after a signal the decision whether the job queues again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.runtime.lock import job_id
from mimickit_hydra.runtime.signals import STOPPED_EXIT_CODE
from mimickit_hydra.runtime.state_file import FAILED, PREEMPTED, STOPPED, read_state, update_state

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
        run_dir = Path(self.frozen).parent
        if _rank() == 0:
            _print_to(run_dir / "output.log")
        code = self._run()
        if code == STOPPED_EXIT_CODE and _rank() == 0 and self._goes_on(run_dir):
            return
        if code != 0:
            raise SystemExit(code)

    def _run(self) -> int:
        from mimickit_hydra.cli.main import main

        try:
            return main(["train", "--frozen", self.frozen])
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else 1

    def _goes_on(self, run_dir: Path) -> bool:
        """Queue the job again after a preemption, or after the time limit if that has not come too often."""
        job = _show_job()
        if not self.requeue:
            return False
        if job.get("JobState") != "RUNNING":  # Slurm has decided already: cancelled, or preempted without a grace time
            if job.get("PreemptTime", "None") == "None":
                return False
            update_state(run_dir, state=PREEMPTED)
            return True
        state = read_state(run_dir)
        timeouts = state.timeouts if state is not None else 0
        if self._at_time_limit(job):
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

    def _at_time_limit(self, job: dict[str, str]) -> bool:
        try:
            end = time.mktime(time.strptime(job.get("EndTime", ""), "%Y-%m-%dT%H:%M:%S"))
        except ValueError:  # no time limit
            return False
        return end - time.time() <= self.signal_delay + _CLOCK_SLACK


def _requeue(run_dir: Path) -> bool:
    """Ask Slurm to queue this job again."""
    done = subprocess.run(["scontrol", "requeue", str(job_id())], capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        return True
    line = f"the job could not be queued again: {' '.join(done.stderr.split())}"
    update_state(run_dir, state=FAILED, error=line)
    print(f"{line}; continue with resume={run_dir}", flush=True)
    return False


def _show_job() -> dict[str, str]:
    done = subprocess.run(["scontrol", "show", "job", "-o", str(job_id())], capture_output=True, text=True, timeout=60)
    return dict(_FIELD.findall(done.stdout))


def _rank() -> int:
    return int(os.environ.get("SLURM_PROCID", "0"))


def _print_to(path: Path) -> None:
    """Everything this process prints from here on goes to the end of ``path``."""
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
