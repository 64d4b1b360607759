"""Finds the runs below a directory, and checks their recorded states against living processes and jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.jobs import Jobs, living_runner
from mimickit_hydra.runs.manifest import FILE as SWEEP
from mimickit_hydra.runs.manifest import FROZEN, Sweep, read_sweep
from mimickit_hydra.runs.state import (
    FAILED,
    FINISHED,
    PREEMPTED,
    QUEUED,
    RUNNING,
    RunState,
    read_state,
)
from mimickit_hydra.runs.state import FILE as STATE

ROOTS = ("outputs", "multirun")  # where runs are without a directory given
LOST = "lost"  # says it runs or waits, but its process or job is gone
MISSING = "missing"  # of a sweep, has not started, and nobody will start it unless asked
BUSY = (QUEUED, RUNNING, PREEMPTED)
_DEPTH = 6
_SKIP = ("checkpoints", "int_models", "wandb", "non_finite")
_MARKS = (STATE, "config.yaml", FROZEN)


@dataclass(frozen=True)
class Run:
    """A run directory with what it says about itself."""

    path: Path
    state: str  # one of state.STATES, LOST or MISSING
    detail: RunState
    varied: tuple[str, ...] = ()  # in a sweep: the overrides in which its runs differ
    sweep: Path | None = None  # the directory of the sweep it belongs to


def find_runs(roots: Sequence[Path], jobs: Jobs | None = None) -> list[Run]:
    """Every run at or below ``roots``; those of a sweep in its own order."""
    jobs = jobs or Jobs()
    found: dict[Path, Run] = {}
    for root in roots:
        for folder, sweep in _walk(Path(root).absolute(), 0):
            if sweep is None:
                found.setdefault(folder, look_at(folder, jobs))
                continue
            if isinstance(sweep, UserError):  # one of many: the others are shown all the same
                found[folder] = Run(folder, FAILED, RunState(state=FAILED, error=str(sweep)))
                continue
            waits = living_runner(folder) is not None
            for run in sweep.runs:
                path = sweep.run_dir(run)
                found[path] = look_at(path, jobs, varied=tuple(run.varied), sweep=sweep.path, waits=waits)
    return list(found.values())


def look_at(
    path: Path, jobs: Jobs, *, varied: tuple[str, ...] = (), sweep: Path | None = None, waits: bool = False
) -> Run:
    """The run in one directory. ``waits``: it belongs to a sweep that a living process works through."""
    detail = read_state(path) or _guess(path)
    if _is_left_alone(detail, jobs, waits):
        detail = read_state(path) or detail  # it may have ended between the two looks
    state = detail.state
    if _is_left_alone(detail, jobs, waits):
        state = MISSING if state == QUEUED and detail.job_id is None else LOST
    elif jobs.waits(detail):
        state = PREEMPTED
    return Run(path, state, detail, varied, sweep)


def _is_left_alone(detail: RunState, jobs: Jobs, waits: bool) -> bool:
    """Whether the run says that it runs or waits, while nobody runs it or will."""
    return detail.state in BUSY and not jobs.is_busy(detail) and not (detail.state == QUEUED and waits)


def _guess(path: Path) -> RunState:
    """For a directory without ``state.json``: one that was submitted, or one of an older version."""
    if not (path / "config.yaml").exists():
        return RunState()
    if (path / "metrics.json").exists():
        return RunState(state=FINISHED)
    updated = max((entry.stat().st_mtime for entry in path.iterdir() if entry.is_file()), default=0.0)
    return RunState(state=FAILED, updated=updated, error="ended without a word")


def _walk(folder: Path, depth: int) -> Iterator[tuple[Path, Sweep | UserError | None]]:
    """Run directories, and sweeps, whose runs the manifest names even when they have no directory yet.

    Of a sweep whose manifest cannot be read: why, and the run directories that are there.
    """
    if (folder / SWEEP).is_file():
        try:
            yield folder, read_sweep(folder)
            return
        except UserError as error:
            yield folder, error
    elif any((folder / mark).is_file() for mark in _MARKS):
        yield folder, None
        return
    if depth >= _DEPTH:
        return
    try:
        folders = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for entry in sorted(folders, key=lambda entry: entry.name):
        if entry.name not in _SKIP and not entry.name.startswith("."):
            yield from _walk(Path(entry.path), depth + 1)
