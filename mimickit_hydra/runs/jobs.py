"""Whether a run's process or job is alive, and how to ask it to stop: local processes, tmux sessions, Slurm jobs."""

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

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_json
from mimickit_hydra.runs.state import PREEMPTED, QUEUED, RUNNING, RunState, is_alive, process_exists, this_process
from mimickit_hydra.waiting import waiting_for

SILENT_S = 15 * 60  # a run on another machine that has not written for so long is taken for dead
_HELD = ("launch failed requeued held", "JobHoldMaxRequeue")  # by Slurm itself: a disk or a node has failed
RUNNER = "runner.json"  # in a sweep's directory while a process of this machine runs its members


class JobError(UserError):
    """A run that cannot be stopped or attached to; the message is one line."""


class Jobs:
    """The living jobs of this machine and its cluster, asked for once."""

    @cached_property
    def slurm(self) -> dict[str, str] | None:
        """State of each job in the queue by its id (``12`` or ``12_3``); None where there is no Slurm."""
        text = _output("squeue", "--noheader", "--array", "--me", "--format=%i %T")
        return None if text is None else dict(line.split(None, 1) for line in text.splitlines() if " " in line)

    @cached_property
    def reasons(self) -> dict[str, str]:
        """Why each of the user's jobs waits, in squeue's words, by the job's id; empty where there is no Slurm."""
        text = _output("squeue", "--noheader", "--array", "--me", "--states=PENDING", "--format=%i %r") or ""
        return dict(line.split(None, 1) for line in text.splitlines() if " " in line)

    def reason(self, state: RunState) -> str:
        """Why a run's job waits, and what lets it go on where Slurm itself has held it; empty where that is not known.

        A job is held, and never starts by itself, where a node could not start it: after a fault of the node's.
        """
        reason = self._reason(state)
        return f"{reason}; scontrol release {state.job_id} lets it go on" if reason in _HELD else reason

    def holds(self, state: RunState) -> str:
        """Why Slurm itself has held a run's job; empty where it has not."""
        reason = self._reason(state)
        return reason if reason in _HELD else ""

    def _reason(self, state: RunState) -> str:
        return self.reasons.get(state.job_id or "", "") if state.launcher == "slurm" else ""

    @cached_property
    def tmux(self) -> set[str]:
        """Names of the living tmux sessions."""
        return set((_output("tmux", "list-sessions", "-F", "#{session_name}") or "").split())

    def is_busy(self, state: RunState) -> bool:
        """Whether somebody runs this run now, or will run it without being asked again."""
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
        return (
            state.launcher == "packed" and state.job_id.isdigit() and process_exists(int(state.job_id), state.job_born)
        )


def stop(state: RunState) -> str:
    """Ask a run to save and stop; returns a line on what was done. JobError where it cannot be reached from here."""
    if state.launcher == "slurm" and state.job_id is not None:
        if _output("scancel", state.job_id) is None:
            raise JobError(f"job {state.job_id}: scancel failed or is not on this machine")
        return f"scancel {state.job_id}"
    if state.state == RUNNING and state.pid is not None:
        if state.host != socket.gethostname():
            raise JobError(f"process {state.pid} runs on {state.host}; cancel it there")
        return _terminate(state.pid, state.born)
    if state.launcher == "tmux" and state.job_id is not None:
        if _output("tmux", "kill-session", "-t", f"={state.job_id}") is None:
            raise JobError(f"session {state.job_id}: tmux could not end it")
        return f"ended session {state.job_id}"
    if state.launcher == "packed" and state.job_id is not None:
        return _terminate(int(state.job_id), state.job_born)
    raise JobError("nothing of it runs")


def release(state: RunState, jobs: Jobs) -> str | None:
    """Let the job of a run go on that Slurm has held after a failure of its own: a line on it; None without one.

    What its user or an administrator holds stays held.
    """
    reason = jobs.holds(state)
    if state.job_id is None or not reason:
        return None
    if _output("scontrol", "release", state.job_id) is None:
        return f"Slurm holds job {state.job_id} ({reason}): scontrol release {state.job_id}"
    return f"Slurm held job {state.job_id} ({reason}): released"


def _terminate(pid: int, born: str | None) -> str:
    try:
        if process_exists(pid, born):
            os.kill(pid, signal.SIGTERM)
            return f"sent SIGTERM to process {pid}"
    except ProcessLookupError:
        pass
    except PermissionError:
        raise JobError(f"process {pid} belongs to somebody else") from None
    return f"process {pid} has ended meanwhile"


# ---------------------------------------------------------------------------------------------- the runner of a sweep


@contextlib.contextmanager
def runner_of(sweep_dir: Path) -> Iterator[None]:
    """Record in a sweep's directory, while the context lasts, that this process runs its members."""
    path = sweep_dir / RUNNER
    with contextlib.suppress(OSError):
        path.write_text(json.dumps(this_process()) + "\n", encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def living_runner(sweep_dir: Path) -> RunState | None:
    """The process that runs the members of the sweep here, if there is one."""
    try:
        found = read_json(sweep_dir / RUNNER)
        state = RunState(state=RUNNING, pid=int(found["pid"]), host=str(found["host"]), born=found.get("born"))
    except (UserError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return state if is_alive(state) is not False else None


def _output(*command: str) -> str | None:
    """What a command prints; None where the command is missing or fails."""
    try:
        with waiting_for(f"an answer of {command[0]}"):
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
