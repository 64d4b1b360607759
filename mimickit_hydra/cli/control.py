"""``mimickit attach`` and ``mimickit cancel``: follow a run, or ask runs to save and stop."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import open_plain
from mimickit_hydra.sweeps.report import shown
from mimickit_hydra.waiting import waiting_for

if TYPE_CHECKING:
    from mimickit_hydra.runs.find import Run

_POLL_S = 0.5
_ASK_S = 10.0  # how often Slurm is asked whether the job is still there
_TAIL = 4096  # bytes of what was printed before


def add_parser(subparsers: Any) -> None:
    attach = subparsers.add_parser(
        "attach",
        help="look on at a run",
        description="Enter the run's tmux session, or follow what it prints. Ctrl-C leaves; the run goes on.",
    )
    attach.add_argument("dir", nargs="?", help="the run's directory (default: the one run that is running)")
    attach.set_defaults(run=run_attach)
    cancel = subparsers.add_parser(
        "cancel",
        help="ask runs to save and stop",
        description="Ask every run below a directory that is running or waits to save a checkpoint and stop: a local "
        "process, a tmux session, a Slurm job.",
    )
    cancel.add_argument("dir", nargs="+", help="a run, a sweep, or any directory with runs below it")
    cancel.set_defaults(run=run_cancel)


# --------------------------------------------------------------------------------------------------------------- attach


def run_attach(args: argparse.Namespace) -> int:
    from mimickit_hydra.cli.status import runs_below
    from mimickit_hydra.runs.find import BUSY

    found = runs_below([args.dir] if args.dir else [])
    living = [entry for entry in found if entry.state == "running"] or [e for e in found if e.state in BUSY]
    if len(living) != 1:
        if not living:
            raise UserError("no run is running there; see mimickit status")
        names = ", ".join(shown(entry.path) for entry in living[:5]) + (" ..." if len(living) > 5 else "")
        raise UserError(f"{len(living)} runs are running; name one: {names}")
    return attach(living[0])


def attach(run: Run) -> int:
    detail = run.detail
    if detail.launcher == "tmux" and detail.job_id is not None:
        verb = "switch-client" if os.environ.get("TMUX") else "attach-session"
        return subprocess.run(["tmux", verb, "-t", f"={detail.job_id}"]).returncode
    output = run.path / "output.log"
    if not output.is_file() and run.state == "running":
        where = f"process {detail.pid} on {detail.host}"
        raise UserError(f"{run.path}: {where} prints to its own terminal; its rows are in {run.path / 'log.txt'}")
    try:
        _follow(run, output)
    except KeyboardInterrupt:
        print("\nleft; the run goes on", file=sys.stderr)
    return 0


def _follow(run: Run, output: Path) -> None:
    """Print the output of a run until it is over."""
    from mimickit_hydra.runs.find import BUSY, look_at
    from mimickit_hydra.runs.jobs import Jobs

    position: int | None = None
    jobs, asked = Jobs(), time.monotonic()
    with contextlib.ExitStack() as silent:
        silent.enter_context(waiting_for(lambda: _cause(run)))
        while True:
            if time.monotonic() - asked > _ASK_S:
                jobs, asked = Jobs(), time.monotonic()
            over = look_at(run.path, jobs, waits=run.sweep is not None).state not in BUSY
            if output.is_file():
                silent.close()
                position = _print_rest(output, position)
            if over:
                return
            time.sleep(_POLL_S)


def _cause(run: Run) -> str:
    """What a run without output waits for, with squeue's reason where there is one."""
    from mimickit_hydra.runs.jobs import Jobs

    detail = run.detail
    who = f"{detail.launcher} {detail.job_id}" if detail.job_id else "whoever runs the sweep"
    reason = Jobs().reason(detail)
    return f"{who} to start {shown(run.path)}" + (f": {reason}" if reason else "")


def _print_rest(output: Path, position: int | None) -> int:
    """Print what was written after ``position``, or the end of the file, and return where it ends now."""
    with open_plain(output) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - _TAIL) if position is None else min(position, size))
        text, end = file.read(), file.tell()
    sys.stdout.write(text.decode("utf-8", "replace"))
    sys.stdout.flush()
    return end


# --------------------------------------------------------------------------------------------------------------- cancel


def run_cancel(args: argparse.Namespace) -> int:
    from mimickit_hydra.cli.status import runs_below
    from mimickit_hydra.runs.find import BUSY

    chosen = [entry for entry in runs_below(args.dir) if entry.state in BUSY]
    if not chosen:
        print("nothing runs or waits there")
        return 0
    named = {Path(name).expanduser().resolve() for name in args.dir}
    whole = {entry.sweep for entry in chosen if entry.sweep and entry.path.resolve() not in named}
    _stop_runners(chosen, whole)
    return 1 if sum(not _stop_one(entry, whole) for entry in chosen) else 0


def _stop_runners(chosen: Sequence[Run], whole: Collection[Path]) -> None:
    """Stop the processes that work through whole sweeps first, so that they start no further run."""
    from mimickit_hydra.runs.jobs import living_runner, stop
    from mimickit_hydra.runs.state import RunState

    runners = {sweep: living_runner(sweep) for sweep in sorted(whole)}
    for entry in chosen:
        if (
            entry.sweep is not None
            and entry.sweep in whole
            and entry.detail.launcher == "packed"
            and entry.detail.job_id is not None
        ):
            detail = entry.detail
            runners[entry.sweep] = RunState(launcher="packed", job_id=detail.job_id, job_born=detail.job_born)
    for sweep, runner in runners.items():
        if runner is not None:
            print(f"{shown(sweep)}: {stop(runner)}")


def _stop_one(entry: Run, whole: Collection[Path]) -> bool:
    """Stop a run, or keep it from starting, and say so; False where that is not possible."""
    from mimickit_hydra.runs.jobs import JobError, stop
    from mimickit_hydra.runs.state import STOPPED, update_state

    started_by_runner = entry.sweep is not None and entry.detail.launcher in ("local", "packed")
    try:
        if entry.state == "queued" and started_by_runner:
            if entry.sweep not in whole:
                raise JobError("another process will start it with the rest of its sweep; cancel the whole sweep")
            said = "will not start"
        elif entry.state == "running" and started_by_runner and entry.sweep in whole:
            said = "saves and stops"  # whoever runs the sweep has passed the signal on
        else:
            said = stop(entry.detail)
        if entry.state in ("queued", "preempted"):
            update_state(entry.path, state=STOPPED)
    except JobError as error:
        print(f"{shown(entry.path)}: {error}", file=sys.stderr)
        return False
    print(f"{shown(entry.path)}: {said}")
    return True
