"""``train.py -m`` and ``mimickit sweep resume DIR``: start a sweep, and start what is missing of one."""

from __future__ import annotations

import argparse
import contextlib
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.cli.overrides import add_overrides
from mimickit_hydra.config.compose import OURS, Source
from mimickit_hydra.config.overrides import find, parse, quote, value_of
from mimickit_hydra.errors import UserError
from mimickit_hydra.screen import lasting
from mimickit_hydra.sweeps.report import reporter, shown, summary
from mimickit_hydra.sweeps.single import unused

if TYPE_CHECKING:
    from mimickit_hydra.config.schema import LaunchConfig
    from mimickit_hydra.runs.manifest import Sweep, SweepRun
    from mimickit_hydra.runs.snapshot import Frozen


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
    resume.add_argument("dir", metavar="DIR", help="the sweep's directory, which holds sweep.yaml")
    where = "where and how to run them, if not as before: launch=slurm, launch.time=2880, ..."
    add_overrides(resume, "launch=NAME", where)
    resume.add_argument("-j", "--jobs", type=int, help="run them here, so many at a time, whatever launch= was")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.jobs is not None and args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: must be 1 or more")
    with lasting():
        return resume(Path(args.dir), args.overrides, jobs=args.jobs)


def start(overrides: Sequence[str], source: Source) -> int:
    """Start the sweep that ``train.py -m`` asks for and return the exit code.

    Its runs are frozen, then started where ``launch=`` says: by default here, one after the other. For a sweeper that
    chooses values as it goes, or a launcher of Hydra's, each run is frozen when it is chosen.
    """
    from mimickit_hydra.sweeps.expand import sweep_settings
    from mimickit_hydra.sweeps.hydra_settings import refuse_unread

    _refuse_outside_tasks()
    overrides = [text for text in overrides if parse(text).key != "hydra.mode"]
    refuse_unread(overrides, sweep=True)
    settings = sweep_settings(overrides, source)
    if settings.sweeper == "basic" and settings.launcher == "basic":
        if size := value_of("hydra.sweeper.max_batch_size", overrides):
            raise UserError(
                f"hydra.sweeper.max_batch_size={size}: a sweep has no batches; launch=packed launch.parallel={size} "
                "runs so many at a time"
            )
        sweep = prepare([*settings.params, *overrides], here=settings.launch.launcher != "slurm", source=source)
        return start_runs(sweep, sweep.runs, settings.launch)
    from mimickit_hydra.sweeps.search import start_search

    if (source.folder, source.name) != (None, Source.name):
        raise UserError(f"--config-name {source.name}: a sweep by {settings.sweeper} needs our own config.yaml")
    return start_search(settings, overrides)


def _refuse_outside_tasks() -> None:
    from mimickit_hydra.training.outside import outside_task

    task = outside_task()
    if task is None:
        return
    if task.rank > 0:
        raise SystemExit(2)  # the first one says it
    raise UserError(f"--multirun: started {task.world_size} times by torchrun or srun; start it once, with launch=")


def prepare(overrides: Sequence[str], *, here: bool = True, source: Source = OURS) -> Sweep:
    """Compose, check and freeze the runs and write the manifest, without starting anything.

    ``here`` says whether they will run on this machine, so that its GPU and packages are checked.
    """
    from mimickit_hydra.runs.manifest import add_runs, create_sweep
    from mimickit_hydra.sweeps.expand import plan_sweep

    plan = plan_sweep(overrides, here=here, source=source)
    if not any(find(key, overrides) for key in ("out_dir", "hydra.sweep.dir")):
        directory = unused(plan.sweep_dir)
        if directory != plan.sweep_dir:  # the directories of the runs are written into their configs
            plan = plan_sweep([*overrides, f"hydra.sweep.dir={quote(directory)}"], here=here, source=source)
    sweep = create_sweep(Path(plan.sweep_dir), overrides)
    sweep = add_runs(sweep, [(run.name, run.overrides, run.varied, run.frozen) for run in plan.runs])
    print(f"sweep of {len(sweep.runs)} runs in {shown(sweep.path)}", flush=True)
    return sweep


def resume(path: Path, settings: Sequence[str] = (), *, jobs: int | None = None) -> int:
    """Run what has not finished: where it was launched, or where ``settings`` say, or with ``jobs`` here.

    Living runs are left alone. ``settings`` are overrides of the group ``launch``.
    """
    from mimickit_hydra.config.schema import LaunchConfig
    from mimickit_hydra.runs.manifest import DAMAGED, DamagedManifestError, read_sweep, rebuild
    from mimickit_hydra.sweeps.launch_settings import change_launch

    if settings and jobs is not None:
        raise UserError(f"--jobs {jobs}: runs them here, which {settings[0]} contradicts")
    try:
        sweep = read_sweep(path)
    except DamagedManifestError as error:
        print(f"note: {str(error).partition(';')[0]}")
        sweep = rebuild(path)
        print(f"note: made again from its {len(sweep.runs)} runs; the old one is {DAMAGED}", flush=True)
    if sweep.sweeper != "basic":
        from mimickit_hydra.sweeps.search import resume_search

        return resume_search(sweep, settings, jobs=jobs)
    missing, busy = unfinished(sweep)
    finished = len(sweep.runs) - len(missing) - len(busy)
    print(f"{finished} of {len(sweep.runs)} runs have finished, {len(busy)} are under way, {len(missing)} to run")
    _release(sweep, busy)
    if not missing:
        return 0
    launch = change_launch(_first_readable(sweep).run, settings)
    return start_runs(sweep, missing, LaunchConfig("local") if jobs is not None else launch, jobs=jobs or 1)


def _release(sweep: Sweep, runs: Sequence[SweepRun]) -> None:
    """Let jobs go on that Slurm itself has held."""
    from mimickit_hydra.runs.jobs import Jobs, release
    from mimickit_hydra.runs.state import read_state

    jobs = Jobs()
    for run in runs:
        state = read_state(sweep.run_dir(run))
        if state is not None and (said := release(state, jobs)):
            print(f"{shown(sweep.run_dir(run))}: {said}", flush=True)


def _first_readable(sweep: Sweep) -> Frozen:
    """The first frozen config that can be read: one that was damaged fails its own run alone. UserError without any."""
    from mimickit_hydra.runs.snapshot import read_frozen

    for run in sweep.runs[:-1]:
        with contextlib.suppress(UserError):
            return read_frozen(sweep.path / run.config)
    return read_frozen(sweep.path / sweep.runs[-1].config)


def unfinished(sweep: Sweep) -> tuple[list[SweepRun], list[SweepRun]]:
    """The runs that need a start, and those that somebody else runs or will run."""
    from mimickit_hydra.runs.jobs import Jobs, living_runner
    from mimickit_hydra.runs.state import FINISHED, read_state

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
    """Run them here and wait, or submit them and return at once; returns the exit code."""
    if launch.launcher == "local":
        return run_here(sweep, runs, jobs=jobs)
    from mimickit_hydra.sweeps.submit import submit_and_say

    submit_and_say(launch, [sweep.path / run.config for run in runs], name=sweep.path.name, cwd=sweep.cwd)
    return 0


def run_here(sweep: Sweep, runs: Sequence[SweepRun], *, jobs: int = 1) -> int:
    """Run the members of a sweep and say how each ended; returns the exit code."""
    from mimickit_hydra.runs.jobs import runner_of
    from mimickit_hydra.sweeps.runner import run_all

    gc.enable()  # this may take days
    with runner_of(sweep.path):
        outcomes = run_all(sweep, runs, parallel=jobs, report=reporter(sweep))
    return summary(sweep, runs, outcomes)
