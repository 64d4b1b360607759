"""``train.py -m`` and ``mimickit sweep resume DIR``: several runs from one line, and those of them that are missing."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.config.errors import UserError

if TYPE_CHECKING:
    from mimickit_hydra.config.schema import LaunchConfig
    from mimickit_hydra.runtime.sweep_file import Sweep, SweepRun
    from mimickit_hydra.runtime.sweep_runner import Outcome

FAILED_EXIT_CODE = 1
STOPPED_EXIT_CODE = 75  # as a single run that was stopped and can go on


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "sweep", help="go on with a sweep", description="Go on with a sweep that train.py -m has started."
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    resume = verbs.add_parser(
        "resume",
        help="run what is missing or failed",
        description="Run what is missing, stopped or failed in a sweep, from its checkpoints where there are any.",
    )
    resume.add_argument("dir", help="the sweep's directory, which holds sweep.yaml")
    resume.add_argument("launch", nargs="*", help="other settings than before: launch=slurm launch.time=2880 ...")
    resume.add_argument("-j", "--jobs", type=int, help="run them here, so many at a time, whatever launch= was")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.jobs is not None and args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: must be 1 or more")
    return resume(Path(args.dir), args.launch, jobs=args.jobs)


def start(overrides: Sequence[str], through_hydra: Callable[[list[str]], None]) -> int:
    """Start the sweep that ``train.py -m`` asks for and return the exit code.

    Its runs are frozen, then started where ``launch=`` says: by default here, one after the other. A sweeper that
    chooses values as it goes, or a launcher of Hydra's, gets the command line through ``through_hydra``; then each run
    is frozen when it is chosen.
    """
    from mimickit_hydra.config.plan import sweep_settings

    for text in overrides:
        if text.startswith("resume=") and text not in ("resume=null", "resume="):
            raise UserError(f"{text}: a sweep is continued with: mimickit sweep resume DIR")
    overrides = [text for text in overrides if text != "hydra.mode=MULTIRUN"]
    settings = sweep_settings(overrides)
    if settings.sweeper == "basic" and settings.launcher == "basic":
        sweep = prepare([*settings.params, *overrides], here=settings.launch.launcher != "slurm")
        return start_runs(sweep, sweep.runs, settings.launch)
    from mimickit_hydra.cli.search import start_search

    return start_search(settings, overrides, through_hydra)


def prepare(overrides: Sequence[str], *, here: bool = True) -> Sweep:
    """Compose, check and freeze the runs and write the manifest, without starting anything.

    ``here`` says whether they will run on this machine, so that its GPU and packages are checked.
    """
    from mimickit_hydra.config.plan import plan_sweep
    from mimickit_hydra.runtime.sweep_file import add_runs, create_sweep

    plan = plan_sweep(overrides, here=here)
    sweep = create_sweep(Path(plan.sweep_dir), overrides)
    sweep = add_runs(sweep, [(run.name, run.overrides, run.varied, run.frozen) for run in plan.runs])
    print(f"sweep of {len(sweep.runs)} runs in {shown(sweep.path)}", flush=True)
    return sweep


def resume(path: Path, settings: Sequence[str] = (), *, jobs: int | None = None) -> int:
    """Run what has not finished: where it was launched, or where ``settings`` say, or with ``jobs`` here.

    Living runs are left alone. ``settings`` are overrides of the group ``launch``.
    """
    from mimickit_hydra.config.frozen import read_frozen
    from mimickit_hydra.config.launch import change_launch
    from mimickit_hydra.config.schema import LocalLaunchConfig
    from mimickit_hydra.runtime.sweep_file import read_sweep

    if settings and jobs is not None:
        raise UserError(f"--jobs {jobs}: runs them here, which {settings[0]} contradicts")
    sweep = read_sweep(path)
    if sweep.sweeper != "basic":
        from mimickit_hydra.cli.search import resume_search

        return resume_search(sweep, settings, jobs=jobs)
    missing, busy = unfinished(sweep)
    finished = len(sweep.runs) - len(missing) - len(busy)
    print(f"{finished} of {len(sweep.runs)} runs have finished, {len(busy)} are under way, {len(missing)} to run")
    if not missing:
        return 0
    launch = change_launch(read_frozen(sweep.path / missing[0].config).run, settings)
    return start_runs(sweep, missing, LocalLaunchConfig("local") if jobs is not None else launch, jobs=jobs or 1)


def unfinished(sweep: Sweep) -> tuple[list[SweepRun], list[SweepRun]]:
    """The runs that need a start, and those that somebody else runs or will run."""
    from mimickit_hydra.runtime.jobs import Jobs, living_runner
    from mimickit_hydra.runtime.state_file import FINISHED, read_state

    jobs, runner = Jobs(), living_runner(sweep.path)
    if runner is not None:
        raise UserError(f"{shown(sweep.path)}: process {runner.pid} on {runner.host} is at it already")
    missing: list[SweepRun] = []
    busy: list[SweepRun] = []
    for entry in sweep.runs:
        state = read_state(sweep.run_dir(entry))
        if state is not None and state.state == FINISHED:
            continue
        (busy if state is not None and jobs.is_busy(state) else missing).append(entry)
    return missing, busy


def start_runs(sweep: Sweep, runs: Sequence[SweepRun], launch: LaunchConfig, *, jobs: int = 1) -> int:
    """Run them here and wait, or submit them and return at once."""
    if launch.launcher == "local":
        return run_here(sweep, runs, jobs=jobs)
    from mimickit_hydra.cli.submission import submit_and_say

    submit_and_say(launch, [sweep.path / run.config for run in runs], name=sweep.path.name, cwd=sweep.cwd)
    return 0


def run_here(sweep: Sweep, runs: Sequence[SweepRun], *, jobs: int = 1) -> int:
    """Run them and say how each ended; return the exit code."""
    from mimickit_hydra.runtime.jobs import runner_of
    from mimickit_hydra.runtime.sweep_runner import run_all

    with runner_of(sweep.path):
        outcomes = run_all(sweep, runs, parallel=jobs, report=reporter(sweep))
    return summary(sweep, runs, outcomes)


def reporter(sweep: Sweep) -> Callable[[str, Outcome], None]:
    """Prints a line when a run starts and when it ends, a failure on stderr."""
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
    """Relative to the current directory where that is shorter."""
    try:
        relative = os.path.relpath(path)
    except ValueError:
        return str(path)
    return relative if len(relative) < len(str(path)) else str(path)


def brief(overrides: Sequence[str]) -> str:
    """Overrides for a line of output: the last two parts of a key, four digits of a number."""
    parts = []
    for text in overrides:
        key, _, value = text.partition("=")
        with contextlib.suppress(ValueError):
            value = value if len(value) <= 8 else f"{float(value):.4g}"
        parts.append(f"{'.'.join(key.split('.')[-2:])}={value}")
    return " ".join(parts)


def duration(seconds: float) -> str:
    """``0:42``, ``1:02:03``, ``2 d 03:04``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24:02d}:{minutes:02d}"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
