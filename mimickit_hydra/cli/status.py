"""``mimickit status [DIR]``: prints what every run is doing."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import open_plain
from mimickit_hydra.sweeps.report import brief, duration, shown

if TYPE_CHECKING:
    from mimickit_hydra.runs.find import Run
    from mimickit_hydra.runs.jobs import Jobs

_STYLES = {"running": "36", "finished": "32", "failed": "31", "lost": "31", "queued": "33", "preempted": "33"}

_REASON = 160  # characters of an error in the table; --json and the report have all of it


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "status",
        help="what every run is doing",
        description="What every run is doing: queued, running, preempted, finished, failed (and why), stopped by hand, "
        "missing (of a sweep, not started) or lost (its process is gone).",
    )
    parser.add_argument("dir", nargs="*", help="where to look (default: outputs and multirun)")
    parser.add_argument("--json", action="store_true", help="one JSON list, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    found = runs_below(args.dir)
    if args.json:
        print(json.dumps([_record(entry) for entry in found], indent=2))
        return 0
    from mimickit_hydra.cli.text import columns, style
    from mimickit_hydra.runs.jobs import Jobs

    jobs = Jobs()
    rows = [(_place(entry), entry.state, _doing(entry, jobs)) for entry in found]
    for line, entry in zip(columns(rows, indent=""), found, strict=True):
        code = _STYLES.get(entry.state)
        print(line.replace(f" {entry.state}", f" {style(entry.state, code)}", 1) if code else line)
    counts = Counter(entry.state for entry in found)
    total = f"{len(found)} run{'s' if len(found) != 1 else ''}"
    print(f"{total}: {', '.join(f'{count} {state}' for state, count in counts.items())}")
    return 0


def runs_below(folders: Sequence[str]) -> list[Run]:
    """The runs below the given directories, or below the usual ones. UserError where there are none."""
    from mimickit_hydra.runs.find import ROOTS, find_runs

    for name in folders:
        if not Path(name).expanduser().is_dir():
            raise UserError(f"{name}: no such directory")
    roots = [Path(name).expanduser() for name in folders] or [Path(name) for name in ROOTS if Path(name).is_dir()]
    found = find_runs(roots)
    if not found:
        where = ", ".join(folders) or f"{' or '.join(ROOTS)} of the current directory"
        raise UserError(f"no runs in {where}")
    return found


def _place(run: Run) -> str:
    return shown(run.path)


def _doing(run: Run, jobs: Jobs) -> str:
    """What matters about a run in its state, in one line."""
    detail = run.detail
    parts = [brief(run.varied)] if run.varied else []
    samples = logged_samples(run.path) or detail.samples
    if samples:
        parts.append(f"{samples:,} samples")
    if run.state == "running":
        if detail.samples_per_second:
            parts.append(f"{detail.samples_per_second:,.0f} samples/s")
        if detail.eta_s is not None:
            parts.append(f"ends in {duration(detail.eta_s)}")
        if detail.host and detail.pid:
            parts.append(f"process {detail.pid} on {detail.host}")
    if run.state in ("running", "queued", "preempted") and detail.job_id:
        parts.append(f"{detail.launcher} {detail.job_id}")
        if run.state != "running" and (reason := jobs.reason(detail)):
            parts.append(f"waits: {reason}")
    if run.state == "lost" and detail.updated:
        parts.append(f"not heard of for {duration(max(0.0, time.time() - detail.updated))}")
    if detail.error and run.state in ("failed", "stopped"):
        parts.append(detail.error if len(detail.error) <= _REASON else f"{detail.error[:_REASON]} ...")
    return ", ".join(parts)


def logged_samples(run_dir: Path) -> int | None:
    """Samples in the last complete row of the log; reads the two ends of the file only."""
    try:
        with open_plain(run_dir / "log.txt") as file:
            header = file.readline().split()
            file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - 16384))
            rows = file.read().split(b"\n")[:-1]
        return int(float(rows[-1].split()[header.index(b"Samples")]))
    except (UserError, OSError, ValueError, IndexError, OverflowError):
        return None


def _record(run: Run) -> dict[str, Any]:
    import dataclasses

    detail = {key: value for key, value in dataclasses.asdict(run.detail).items() if key != "state"}
    samples = logged_samples(run.path) or run.detail.samples
    return {"run": str(run.path), "state": run.state, "varied": list(run.varied), **detail, "samples": samples}
