"""``state.json``: what a run directory says about its run to whoever looks in from outside. Imports nothing heavy.

Submission writes ``queued``; the process that trains (rank 0) writes the rest. Every write replaces the whole file, so
a reader never sees half of one. A process that was killed leaves ``running`` behind: :func:`is_alive` and ``updated``
tell such a run from a living one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimickit_hydra.runtime.files import write_text_atomic

FILE = "state.json"
QUEUED = "queued"  # submitted, has not started
RUNNING = "running"
PREEMPTED = "preempted"  # saved and stopped by a signal; the launcher starts it again by itself
FINISHED = "finished"
FAILED = "failed"  # ``error`` says why in one line
STOPPED = "stopped"  # saved and stopped by a signal; nobody starts it again unless asked (resume=)
STATES = (QUEUED, RUNNING, PREEMPTED, FINISHED, FAILED, STOPPED)
ALIVE = (QUEUED, RUNNING, PREEMPTED)


@dataclass(frozen=True)
class RunState:
    """One moment of a run. Numbers are None while nobody knows them."""

    state: str = QUEUED
    pid: int | None = None  # of the process that trains, or trained last
    host: str | None = None  # where ``pid`` counts
    job_id: str | None = None  # the scheduler's name: a Slurm job (12 or 12_3), a tmux session
    launcher: str = "local"  # local | packed | slurm | tmux
    samples: int | None = None
    samples_per_second: float | None = None
    eta_s: float | None = None  # seconds left, None where no budget is set
    updated: float = 0.0  # seconds since 1970, of this write
    error: str | None = None
    started: float | None = None  # seconds since 1970, of the latest start
    starts: int = 0  # processes that began this run, resumes included
    timeouts: int = 0  # times that the scheduler's time limit stopped it


def state_path(run_dir: Path | str) -> Path:
    return Path(run_dir) / FILE


def read_state(run_dir: Path | str) -> RunState | None:
    """The state in a run directory; None where there is no file or none that can be read."""
    try:
        found = json.loads(state_path(run_dir).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("state") not in STATES:
        return None
    known = {field.name for field in dataclasses.fields(RunState)}
    return RunState(**{key: value for key, value in found.items() if key in known})


def write_state(run_dir: Path | str, state: RunState) -> RunState:
    """Replace the file, with ``updated`` set to now. OSError where the directory cannot be written to."""
    state = dataclasses.replace(state, updated=time.time())
    text = json.dumps({key: _plain(value) for key, value in dataclasses.asdict(state).items()}, indent=2)
    write_text_atomic(state_path(run_dir), text + "\n")
    return state


def update_state(run_dir: Path | str, **changes: Any) -> RunState:
    """Change some fields and keep the others."""
    return write_state(run_dir, dataclasses.replace(read_state(run_dir) or RunState(), **changes))


def this_process() -> dict[str, Any]:
    """The fields that name the process calling this."""
    return {"pid": os.getpid(), "host": socket.gethostname()}


def process_exists(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a process that ended but was not waited for still has a number
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return status.rpartition(")")[2].split()[:1] != ["Z"]


def is_alive(state: RunState) -> bool | None:
    """Whether the process that wrote ``state`` still runs; None where that cannot be told from this machine."""
    if state.pid is None or state.host is None:
        return None
    return process_exists(state.pid) if state.host == socket.gethostname() else None


class StateReporter:
    """Writes the state of the run that this process trains, at most every few seconds while it goes on.

    A write that fails is passed over: the run matters more than what is said about it.
    """

    def __init__(self, run_dir: Path | str, interval: float = 5.0) -> None:
        self._run_dir = Path(run_dir)
        self._interval = interval
        self._last = 0.0

    def start(self, **fields: Any) -> None:
        """The run begins or goes on in this process."""
        before = read_state(self._run_dir) or RunState()
        changes = {"state": RUNNING, "error": None, "started": time.time(), "starts": before.starts + 1}
        self._update(**changes, **this_process(), **fields)

    def progress(self, samples: int, samples_per_second: float, eta_s: float) -> None:
        now = time.monotonic()
        if self._last == 0.0 or now - self._last >= self._interval:
            self._last = now
            self._update(state=RUNNING, samples=samples, samples_per_second=samples_per_second, eta_s=eta_s)

    def end(self, state: str, error: str | None = None) -> None:
        """The last word: ``finished``, ``stopped`` or ``failed`` with the reason in one line."""
        self._update(state=state, error=error, **({"eta_s": 0.0} if state == FINISHED else {}))

    def _update(self, **changes: Any) -> None:
        with contextlib.suppress(OSError):
            update_state(self._run_dir, **changes)


def _plain(value: Any) -> Any:
    """JSON has no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


__all__ = [
    "ALIVE", "FAILED", "FINISHED", "PREEMPTED", "QUEUED", "RUNNING", "STATES", "STOPPED", "RunState", "StateReporter",
    "is_alive", "process_exists", "read_state", "state_path", "this_process", "update_state", "write_state",
]  # fmt: skip
