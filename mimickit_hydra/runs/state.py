"""The state of a run in ``state.json``, for readers outside of the run. Imports nothing heavy.

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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimickit_hydra.errors import UserError
from mimickit_hydra.files import write_text_atomic
from mimickit_hydra.foreign import read_json

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
    born: str | None = None  # when ``pid`` began, as :func:`birth` says: numbers are given again
    job_born: str | None = None  # of launch=packed, whose job is a process: when that began


def state_path(run_dir: Path | str) -> Path:
    return Path(run_dir) / FILE


def read_state(run_dir: Path | str) -> RunState | None:
    """The state in a run directory; None where there is no file or it cannot be read."""
    try:
        found = read_json(state_path(run_dir))
    except UserError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("state"), str) or found["state"] not in STATES:
        return None
    kept = {field.name: found[field.name] for field in dataclasses.fields(RunState) if _fits(field, found)}
    return RunState(**kept)


def _fits(field: dataclasses.Field[Any], found: Mapping[str, Any]) -> bool:
    """Whether ``found`` holds a value of the kind that the field declares; whole numbers of at most 64 bits."""
    value, kind = found.get(field.name), str(field.type)
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, int):
        return kind.startswith(("int", "float")) and abs(value) < 2**63
    if isinstance(value, float):
        return kind.startswith("float") and math.isfinite(value)
    return isinstance(value, str) and kind.startswith("str")


def write_state(run_dir: Path | str, state: RunState) -> RunState:
    """Replace the file, with ``updated`` set to now. OSError where the directory cannot be written to.

    A folder of that name, which no run makes, is kept under another: one such run would stop the sweep it belongs to.
    """
    state = dataclasses.replace(state, updated=time.time())
    text = json.dumps({key: _plain(value) for key, value in dataclasses.asdict(state).items()}, indent=2)
    path = state_path(run_dir)
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{FILE}.{time.time_ns()}"))
    write_text_atomic(path, text + "\n")
    return state


def update_state(run_dir: Path | str, **changes: Any) -> RunState:
    """Change some fields and keep the others."""
    return write_state(run_dir, dataclasses.replace(read_state(run_dir) or RunState(), **changes))


def this_process() -> dict[str, Any]:
    """The fields of a state that name the calling process."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "born": birth(os.getpid())}


def birth(pid: int) -> str | None:
    """Which start of the machine, and when after it, a process began; None where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    fields = _stat(pid)
    return f"{boot} {fields[19]}" if len(fields) > 19 else None


def _stat(pid: int) -> list[str]:
    """What the system says about a process, from its state on; empty where it says nothing."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def process_exists(pid: int, born: object = None) -> bool:
    """Whether a process with this id runs on this machine, and is the one that was ``born`` then."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    except OverflowError:  # no number of a process
        return False
    if _stat(pid)[:1] == ["Z"]:  # a process that ended but was not waited for still has a number
        return False
    return born is None or birth(pid) in (None, born)


def is_alive(state: RunState) -> bool | None:
    """Whether the process that wrote ``state`` still runs; None where this machine cannot tell."""
    if state.pid is None or state.host is None:
        return None
    return process_exists(state.pid, state.born) if state.host == socket.gethostname() else None


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

    def put_back(self, state: RunState) -> None:
        """What was said before :meth:`start` still holds."""
        with contextlib.suppress(OSError):
            write_state(self._run_dir, state)

    def _update(self, **changes: Any) -> None:
        with contextlib.suppress(OSError):
            update_state(self._run_dir, **changes)


def _plain(value: Any) -> Any:
    """JSON has no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
