"""What the runs in a directory are doing: found on disk, their states checked against living processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.runtime.state_file import (
    FAILED,
    FINISHED,
    PREEMPTED,
    QUEUED,
    RUNNING,
    RunState,
    is_alive,
    read_state,
)
from mimickit_hydra.runtime.state_file import FILE as STATE
from mimickit_hydra.runtime.sweep_file import FILE as SWEEP
from mimickit_hydra.runtime.sweep_file import FROZEN, Sweep, read_sweep

ROOTS = ("outputs", "multirun")  # where runs are without a directory given
SILENT_S = 15 * 60  # a run on another machine that has not written for so long is taken for dead
LOST = "lost"  # says it runs, but its process is gone
_DEPTH = 6
_SKIP = ("checkpoints", "int_models", "wandb", "non_finite")
_MARKS = (STATE, "config.yaml", FROZEN)


@dataclass(frozen=True)
class Run:
    """A run directory with what it says about itself."""

    path: Path
    state: str  # one of state_file.STATES, or LOST
    detail: RunState
    varied: tuple[str, ...] = ()  # in a sweep: the overrides in which its runs differ
    number: int | None = None  # in a sweep


def find_runs(roots: Sequence[Path]) -> list[Run]:
    """Every run at or below ``roots``, a sweep's in its own order, those on top by time of their names."""
    found: dict[Path, Run] = {}
    for root in roots:
        for folder, sweep in _walk(Path(root).absolute(), 0):
            if sweep is None:
                found.setdefault(folder, look_at(folder))
            else:
                for run in sweep.runs:
                    path = sweep.run_dir(run)
                    found[path] = look_at(path, varied=tuple(run.varied), number=run.number)
    return list(found.values())


def look_at(path: Path, *, varied: tuple[str, ...] = (), number: int | None = None) -> Run:
    """The run in one directory."""
    detail = read_state(path)
    if detail is None:
        detail = _guess(path)
    state = detail.state
    if state == RUNNING and not is_busy(detail):
        state = LOST
    return Run(path, state, detail, varied, number)


def is_busy(state: RunState) -> bool:
    """Whether somebody runs it now or will run it without being asked again."""
    if state.state in (QUEUED, PREEMPTED):
        return state.job_id is not None and state.launcher in ("slurm", "tmux", "packed")
    if state.state != RUNNING:
        return False
    alive = is_alive(state)
    if alive is None:  # on another machine
        return time.time() - state.updated < SILENT_S
    return alive


def _guess(path: Path) -> RunState:
    """For a directory without ``state.json``: one that was submitted, or one of an older version."""
    if not (path / "config.yaml").exists():
        return RunState()
    if (path / "metrics.json").exists():
        return RunState(state=FINISHED)
    updated = max((entry.stat().st_mtime for entry in path.iterdir() if entry.is_file()), default=0.0)
    return RunState(state=FAILED, updated=updated, error="ended without a word")


def _walk(folder: Path, depth: int) -> Iterator[tuple[Path, Sweep | None]]:
    """Run directories, and sweeps, whose runs the manifest names even when they have no directory yet."""
    if (folder / SWEEP).is_file():
        yield folder, read_sweep(folder)
        return
    if any((folder / mark).is_file() for mark in _MARKS):
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


__all__ = ["LOST", "ROOTS", "Run", "find_runs", "is_busy", "look_at"]
