"""Whether a run's process or job still lives, and how to ask it to stop: local processes, tmux sessions, Slurm jobs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.runtime.state_file import PREEMPTED, QUEUED, RUNNING, RunState, is_alive, process_exists

SILENT_S = 15 * 60  # a run on another machine that has not written for so long is taken for dead
RUNNER = "runner.json"  # in a sweep's directory while a process of this machine runs its members


class JobError(UserError):
    """A run cannot be stopped or attached to; the message is one line."""


class Jobs:
    """The living jobs of this machine and its cluster, asked for once."""

    @cached_property
    def slurm(self) -> dict[str, str] | None:
        """State of each job in the queue by its id (``12`` or ``12_3``); None where there is no Slurm."""
        text = _output("squeue", "--noheader", "--array", "--me", "--format=%i %T")
        return None if text is None else dict(line.split(None, 1) for line in text.splitlines() if " " in line)

    @cached_property
    def tmux(self) -> set[str]:
        """Names of the sessions."""
        return set((_output("tmux", "list-sessions", "-F", "#{session_name}") or "").split())

    def is_busy(self, state: RunState) -> bool:
        """Whether somebody runs it now, or will run it without being asked again."""
        if state.state == RUNNING:
            if state.launcher == "slurm" and state.job_id is not None and self.slurm is not None:
                return state.job_id in self.slurm
            alive = is_alive(state)
            return time.time() - state.updated < SILENT_S if alive is None else alive
        return state.state in (QUEUED, PREEMPTED) and self._has_job(state)

    def waits(self, state: RunState) -> bool:
        """Whether a run that says it is running waits in the queue again: its node has died, for instance."""
        queue = self.slurm if state.launcher == "slurm" and state.job_id is not None else None
        return state.state == RUNNING and queue is not None and queue.get(state.job_id or "") == "PENDING"

    def _has_job(self, state: RunState) -> bool:
        if state.job_id is None:
            return False
        if state.launcher == "slurm":
            return self.slurm is None or state.job_id in self.slurm  # asked on another machine: believed
        if state.launcher == "tmux":
            return state.job_id in self.tmux
        return state.launcher == "packed" and state.job_id.isdigit() and process_exists(int(state.job_id))


def stop(state: RunState) -> str:
    """Ask the run to save and stop; say what was done. JobError where it cannot be reached from here."""
    if state.launcher == "slurm" and state.job_id is not None:
        if _output("scancel", state.job_id) is None:
            raise JobError(f"job {state.job_id}: scancel failed or is not on this machine")
        return f"scancel {state.job_id}"
    if state.state == RUNNING and state.pid is not None:
        if state.host != socket.gethostname():
            raise JobError(f"process {state.pid} runs on {state.host}; cancel it there")
        return _terminate(state.pid)
    if state.launcher == "tmux" and state.job_id is not None:
        if _output("tmux", "kill-session", "-t", f"={state.job_id}") is None:
            raise JobError(f"session {state.job_id}: tmux could not end it")
        return f"ended session {state.job_id}"
    if state.launcher == "packed" and state.job_id is not None:
        return _terminate(int(state.job_id))
    raise JobError("nothing of it runs")


def _terminate(pid: int) -> str:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return f"process {pid} has ended meanwhile"
    except PermissionError:
        raise JobError(f"process {pid} belongs to somebody else") from None
    return f"sent SIGTERM to process {pid}"


# ---------------------------------------------------------------------------------------------- the runner of a sweep


@contextlib.contextmanager
def runner_of(sweep_dir: Path) -> Iterator[None]:
    """Say in the sweep's directory, while the context lasts, that this process runs its members."""
    path = sweep_dir / RUNNER
    with contextlib.suppress(OSError):
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n", encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def living_runner(sweep_dir: Path) -> RunState | None:
    """The process that runs the members of the sweep here, if there is one."""
    try:
        found = json.loads((sweep_dir / RUNNER).read_text(encoding="utf-8"))
        state = RunState(state=RUNNING, pid=int(found["pid"]), host=str(found["host"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state if is_alive(state) is not False else None


def _output(*command: str) -> str | None:
    """What a command prints; None where it is not here or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


__all__ = ["RUNNER", "JobError", "Jobs", "living_runner", "runner_of", "stop"]
