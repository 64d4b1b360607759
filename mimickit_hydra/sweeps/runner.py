"""Runs the members of a sweep on this machine, each in a process of its own, so that a crash ends one run alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import open_plain, read_json
from mimickit_hydra.runs.lock import holder_elsewhere
from mimickit_hydra.runs.manifest import Sweep, SweepRun
from mimickit_hydra.runs.state import FAILED, FINISHED, RUNNING, STOPPED, RunState, read_state, update_state
from mimickit_hydra.sweeps import launcher

RESULT = "result.json"  # the number that a run returned
SAVED_EXIT_CODES = (75,)  # stopped by a signal with everything saved
_POLL_S = 0.1
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Outcome:
    run: SweepRun
    state: str
    error: str | None = None
    value: float | None = None
    seconds: float = 0.0


@dataclass
class _Active:
    run: SweepRun
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)


def command_of(sweep: Sweep, run: SweepRun) -> list[str]:
    """The command that starts a run of the sweep, or goes on with it where it has a checkpoint."""
    return launcher.command_of(sweep.path / run.config)


def run_all(
    sweep: Sweep, runs: Sequence[SweepRun], *, parallel: int = 1, report: Callable[[str, Outcome], None] | None = None
) -> list[Outcome]:
    """Run them ``parallel`` at a time and return how each ended, in the order given.

    ``report`` is called with ``"start"`` and ``"end"`` when it happens. SIGINT and SIGTERM reach the runs, which save
    and stop; those that have not started stay as they are.
    """
    report = report or (lambda _what, _outcome: None)
    waiting, active, done = list(runs), list[_Active](), dict[int, Outcome]()
    with _passing_on(active) as stopping:
        while active or (waiting and not stopping):
            while waiting and len(active) < parallel and not stopping:
                run = waiting.pop(0)
                report("start", Outcome(run, RUNNING))
                try:
                    active.append(_Active(run, _start(sweep, run)))
                except OSError as error:  # its directory is gone, for instance: the others go on
                    done[run.number] = outcome = Outcome(run, FAILED, f"could not be started: {error}")
                    report("end", outcome)
            for entry in [entry for entry in active if entry.process.poll() is not None]:
                active.remove(entry)
                done[entry.run.number] = outcome = _outcome(sweep, entry)
                report("end", outcome)
            if active:
                time.sleep(_POLL_S)
    return [done[run.number] for run in runs if run.number in done]


def _start(sweep: Sweep, run: SweepRun) -> subprocess.Popen[bytes]:
    run_dir = sweep.run_dir(run)
    cwd = sweep.cwd if os.path.isdir(sweep.cwd) else None
    with contextlib.ExitStack() as opened:
        output: Any = subprocess.DEVNULL
        with contextlib.suppress(OSError):  # a run without its output is better than none
            output = opened.enter_context(open(run_dir / launcher.LOG, "ab"))
        return subprocess.Popen(
            command_of(sweep, run),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=launcher.environment(),
            start_new_session=True,
        )


@contextlib.contextmanager
def _passing_on(active: list[_Active]) -> Iterator[list[int]]:
    """Collect stop signals in the list that is yielded, and hand them to the runs.

    The runs are sessions of their own, so a Ctrl-C of the terminal reaches them only through here, and once.
    """
    received: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        received.append(number)
        for entry in active:
            with contextlib.suppress(ProcessLookupError):
                entry.process.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    before: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # not the main thread: whoever is, handles signals
        before = {number: signal.signal(number, handle) for number in _STOPPING}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _outcome(sweep: Sweep, entry: _Active) -> Outcome:
    run_dir, code = sweep.run_dir(entry.run), entry.process.returncode
    seconds = time.monotonic() - entry.began
    found = read_state(run_dir) or RunState()
    if code == 0:
        state, error = FINISHED, None
    elif code in SAVED_EXIT_CODES:
        state, error = STOPPED, None
    elif line := holder_elsewhere(run_dir, entry.process.pid):  # which goes on: its state stays
        return Outcome(entry.run, FAILED, line, None, seconds)
    else:
        said = code > 0 or found.pid == entry.process.pid  # and not by a start before this one, which was killed
        state, error = FAILED, _why(run_dir, code, found if said else RunState())
    if found.state != state or found.error != error:
        with contextlib.suppress(OSError):  # a full disk must not end the sweep
            update_state(run_dir, state=state, error=error)
    return Outcome(entry.run, state, error, read_result(run_dir) if state == FINISHED else None, seconds)


def _why(run_dir: Path, code: int, found: RunState) -> str:
    """Why a run failed, in one line: what it said itself, or how its process ended."""
    if found.state == FAILED and found.error:
        return found.error
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return last_line(run_dir / launcher.LOG) or f"ended with exit code {code}"


def last_line(path: Path) -> str:
    """The last line that is not blank; empty where there is none."""
    try:
        with open_plain(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except (UserError, OSError):
        return ""
    return lines[-1] if lines else ""


def read_result(run_dir: Path) -> float | None:
    """The number that a run returned; None where it returned none."""
    try:
        value = read_json(run_dir / RESULT)["value"]
    except (UserError, KeyError, TypeError):
        return None
    return float(value) if isinstance(value, (int, float)) else None
