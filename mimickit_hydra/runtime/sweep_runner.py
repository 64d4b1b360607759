"""Runs the members of a sweep on this machine, each in a process of its own, so that none can take the others along."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimickit_hydra.runtime.state_file import FAILED, FINISHED, RUNNING, STOPPED, RunState, read_state, update_state
from mimickit_hydra.runtime.sweep_file import Sweep, SweepRun

OUTPUT = "output.log"  # what a run printed
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
    return [sys.executable, "-m", "mimickit_hydra.cli.main", "train", "--frozen", str(sweep.path / run.config)]


def environment() -> dict[str, str]:
    """This process's environment, with this package importable."""
    package = str(Path(__file__).resolve().parent.parent.parent)
    paths = [package, *[path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


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
                active.append(_Active(run, _start(sweep, run)))
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
    with open(run_dir / OUTPUT, "ab") as output:
        return subprocess.Popen(
            command_of(sweep, run),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment(),
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
    else:
        state, error = FAILED, _why(run_dir, code, found)
    if found.state != state or found.error != error:
        with contextlib.suppress(OSError):  # a full disk must not end the sweep
            update_state(run_dir, state=state, error=error)
    return Outcome(entry.run, state, error, read_result(run_dir) if state == FINISHED else None, seconds)


def _why(run_dir: Path, code: int, found: RunState) -> str:
    """One line: what the run said itself, or how its process ended."""
    if found.state == FAILED and found.error:
        return found.error
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return last_line(run_dir / OUTPUT) or f"ended with exit code {code}"


def last_line(path: Path) -> str:
    """The last line with something in it; empty where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1] if lines else ""


def read_result(run_dir: Path) -> float | None:
    """What the run returned, None where it returned nothing."""
    import json

    try:
        value = json.loads((run_dir / RESULT).read_text(encoding="utf-8"))["value"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(value) if isinstance(value, (int, float)) else None


__all__ = ["OUTPUT", "RESULT", "Outcome", "command_of", "environment", "last_line", "read_result", "run_all"]
