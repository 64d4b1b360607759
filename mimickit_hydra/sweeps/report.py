"""Prints how the runs of a sweep go, and formats paths, overrides and durations for such lines."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mimickit_hydra.config.overrides import parse
from mimickit_hydra.files import relative

if TYPE_CHECKING:
    from mimickit_hydra.runs.manifest import Sweep, SweepRun
    from mimickit_hydra.sweeps.runner import Outcome

FAILED_EXIT_CODE = 1
STOPPED_EXIT_CODE = 75  # as a single run that was stopped and can go on


def reporter(sweep: Sweep) -> Callable[[str, Outcome], None]:
    """A callback that prints a line when a run starts and when it ends, failures on stderr."""
    width = len(str(max(len(sweep.runs) - 1, 0)))

    def report(what: str, outcome: Outcome) -> None:
        run = outcome.run
        settings = brief(run.varied) or run.dir
        label = f"[{run.number:>{width}}]"
        if what == "start":
            print(f"{label} start     {settings}", flush=True)
        elif outcome.error is not None:
            log = sweep.run_dir(run) / "output.log"
            hint = f" (see {shown(log)})" if log.exists() else ""
            print(f"{label} FAILED    {settings}: {outcome.error}{hint}", file=sys.stderr, flush=True)
        else:
            value = "" if outcome.value is None else f"  returned {outcome.value:.4g}"
            print(f"{label} {outcome.state:<9} {settings}{value}  {duration(outcome.seconds)}", flush=True)

    return report


def summary(sweep: Sweep, runs: Sequence[SweepRun], outcomes: Sequence[Outcome]) -> int:
    """The closing lines: the counts, each failure again, and how to go on."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    stopped = [outcome for outcome in outcomes if outcome.state == "stopped"]
    waiting = len(runs) - len(outcomes)
    parts = [f"{len(outcomes) - len(failed) - len(stopped)} finished"]
    parts += [f"{count} {name}" for count, name in ((len(failed), "failed"), (len(stopped), "stopped")) if count]
    parts += [f"{waiting} not started"] if waiting else []
    print(f"{len(runs)} runs: {', '.join(parts)}")
    for outcome in failed:
        print(f"  {outcome.run.dir}  {brief(outcome.run.varied)}: {outcome.error}", file=sys.stderr)
    if failed or stopped or waiting:
        print(f"run the rest with: mimickit sweep resume {shown(sweep.path)}")
    print(f"compare them with: mimickit report {shown(sweep.path)}", flush=True)
    if failed:
        return FAILED_EXIT_CODE
    return STOPPED_EXIT_CODE if stopped or waiting else 0


def shown(path: Path) -> str:
    """A path as text, relative to the current directory where that is shorter."""
    return min(str(path), relative(path), key=len)


def brief(overrides: Sequence[str]) -> str:
    """Overrides as short text: the last two parts of a key, four digits of a number."""
    parts = []
    for word in map(parse, overrides):
        value = word.parsed.get_value_string() if not word.is_deleted else ""
        if len(value) > 8 and re.fullmatch(r"[+-]?\d*\.\d+(e[+-]?\d+)?", value):
            value = f"{float(value):.4g}"
        parts.append(f"{'.'.join(word.place.split('.')[-2:])}={value}")
    return " ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as text: ``0:42``, ``1:02:03``, ``2 d 03:04``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24:02d}:{minutes:02d}"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
