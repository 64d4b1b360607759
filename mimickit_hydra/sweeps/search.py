"""Searches: a sweeper such as Optuna chooses each run's values from the results of earlier runs.

The search itself is a light process. With ``launch=local`` it runs in the terminal, otherwise in the background of the
machine that it was started on, and the runs where ``launch=`` says.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.config.overrides import find, parse
from mimickit_hydra.errors import UserError
from mimickit_hydra.sweeps.report import STOPPED_EXIT_CODE, brief, reporter, shown, summary
from mimickit_hydra.waiting import waiting_for

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mimickit_hydra.config.schema import LaunchConfig
    from mimickit_hydra.runs.manifest import Sweep, SweepRun
    from mimickit_hydra.sweeps.expand import SweepSettings
    from mimickit_hydra.sweeps.runner import Outcome

LOG = "search.log"  # what a search in the background prints
IN_BACKGROUND = "MIMICKIT_SEARCH_IN_BACKGROUND"  # set for the process that is the search
_POLL_S = 1.0
_GRACE_S = 120.0  # for runs to save in


def start_search(settings: SweepSettings, overrides: Sequence[str]) -> int:
    """Search here and return the exit code, or in the background and return at once."""
    from mimickit_hydra.config.overrides import quote
    from mimickit_hydra.runs.jobs import runner_of
    from mimickit_hydra.runs.manifest import create_sweep, read_sweep, write_sweep
    from mimickit_hydra.sweeps.expand import MAXIMIZE
    from mimickit_hydra.sweeps.hydra_app import multirun
    from mimickit_hydra.sweeps.single import unused

    launch = settings.launch
    if launch.launcher == "tmux":
        raise UserError(
            f"launch=tmux: the search by {settings.sweeper} is one process for all its runs; start it inside a session "
            "of yours with launch=local, or in the background with launch=packed"
        )
    if launch.launcher != "local" and settings.launcher != "basic":
        raise UserError(f"launch={launch.launcher} and hydra/launcher={settings.launcher}: give one of them")
    if not settings.says_direction:  # the number that a run returns is the better the higher
        overrides = [*overrides, MAXIMIZE[settings.sweeper]]
    named = any(find(key, overrides) for key in ("out_dir", "hydra.sweep.dir"))
    directory = settings.sweep_dir if named else unused(settings.sweep_dir)
    sweep = create_sweep(Path(directory), overrides, sweeper=settings.sweeper, trials=settings.trials)
    write_sweep(sweep)
    print(f"sweep by {settings.sweeper} in {shown(sweep.path)}", flush=True)
    if launch.launcher != "local":
        return _in_background(sweep, [])
    with runner_of(sweep.path), _quiet_warnings(), _one_line_when_stopped(sweep):
        multirun([*_with_quotes(overrides), f"hydra.sweep.dir={quote(str(sweep.path))}"], member)
    return _search_summary(read_sweep(sweep.path), settings.maximizes or not settings.says_direction)


def resume_search(sweep: Sweep, settings: Sequence[str] = (), *, jobs: int | None = None) -> int:
    """The same command in the same directory, for the trials that are left. The study itself is in its storage."""
    from mimickit_hydra.runs.jobs import living_runner, runner_of
    from mimickit_hydra.runs.manifest import read_sweep
    from mimickit_hydra.runs.state import FINISHED, read_state
    from mimickit_hydra.sweeps.expand import sweep_settings

    runner = living_runner(sweep.path)
    if runner is not None and runner.pid != os.getpid():
        raise UserError(f"{shown(sweep.path)}: process {runner.pid} on {runner.host} is at it already")
    if jobs is not None:
        settings = ["launch=packed", f"launch.parallel={jobs}"]
    command = [*sweep.command, *settings]
    wanted = sweep_settings(command)
    states = [read_state(sweep.run_dir(run)) for run in sweep.runs]
    finished = sum(state is not None and state.state == FINISHED for state in states)
    if wanted.trials is None:
        raise UserError(f"{sweep.path}: the sweeper {sweep.sweeper} has no number of trials; start it again by hand")
    left = wanted.trials - finished
    print(f"{finished} of {wanted.trials} trials have finished, {max(left, 0)} to run", flush=True)
    if left <= 0:
        return 0
    if wanted.launch.launcher != "local" and jobs is None and IN_BACKGROUND not in os.environ:
        return _in_background(sweep, settings)
    with runner_of(sweep.path), _quiet_warnings(), _one_line_when_stopped(sweep):
        _search_here([*command, f"hydra.sweeper.n_trials={left}"], sweep, wanted)
    return _search_summary(read_sweep(sweep.path), wanted.maximizes)


def _search_here(command: list[str], sweep: Sweep, wanted: SweepSettings) -> None:
    from mimickit_hydra.config.overrides import quote
    from mimickit_hydra.sweeps.hydra_app import multirun

    extra = [f"hydra.sweep.dir={quote(str(sweep.path))}"]
    if wanted.sampler_seed is not None and sweep.runs:  # the same seed would choose the same values again
        extra.append(f"hydra.sweeper.sampler.seed={wanted.sampler_seed + len(sweep.runs)}")
    parallel = wanted.parallel if wanted.launch.launcher != "local" else 1
    if parallel > 1:
        extra += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={parallel}", f"hydra.sweeper.n_jobs={parallel}"]
    with _stopping_all(sweep.path) if parallel > 1 else contextlib.nullcontext():
        multirun([*_with_quotes(command), *extra], member)


def _with_quotes(overrides: Sequence[str]) -> list[str]:
    """The overrides with listed text in quotes, so that a sweeper of Hydra's makes no numbers of it."""
    from mimickit_hydra.config.compose import compose
    from mimickit_hydra.config.overrides import quote
    from mimickit_hydra.config.typed import is_text

    cfg = compose([text for text in overrides if not parse(text).is_sweep])
    return [
        f"{word.place}={','.join(map(quote, word.values))}"
        if word.parsed.is_choice_sweep() and is_text(cfg, word.key)
        else word.text
        for word in map(parse, overrides)
    ]


def _in_background(sweep: Sweep, settings: Sequence[str]) -> int:
    """Start the search in a process that outlives the terminal."""
    from mimickit_hydra.sweeps.launcher import environment

    with open(sweep.path / LOG, "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mimickit_hydra.sweeps.search", str(sweep.path), *settings],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=sweep.cwd if os.path.isdir(sweep.cwd) else None,
            env={**environment(), IN_BACKGROUND: "1"},
            start_new_session=True,
        )
    print(f"submitted   process {process.pid}  {shown(sweep.path)}")
    print(f"look at it with: mimickit status {shown(sweep.path)}; what it says is in {shown(sweep.path / LOG)}")
    return 0


@contextlib.contextmanager
def _stopping_all(folder: Path) -> Iterator[None]:
    """A request to stop reaches the processes that wait for a run each, and through them the runs.

    The launcher kills all that is left of them when this process goes on, so it waits until the runs have saved.
    """

    def handle(number: int, _frame: Any) -> None:
        from mimickit_hydra.runs.find import find_runs
        from mimickit_hydra.runs.jobs import Jobs
        from mimickit_hydra.runs.state import RUNNING

        for other in (signal.SIGTERM, signal.SIGINT):
            signal.signal(other, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_S
        with waiting_for("the runs to save and stop"):
            while any(run.state == RUNNING for run in find_runs([folder], Jobs())) and time.monotonic() < deadline:
                time.sleep(0.2)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _search_summary(sweep: Sweep, maximizes: bool) -> int:
    from mimickit_hydra.runs.state import FAILED, FINISHED, read_state
    from mimickit_hydra.sweeps.runner import Outcome, read_result

    outcomes = []
    for run in sweep.runs:
        state = read_state(sweep.run_dir(run))
        if state is not None:
            error = state.error or "unknown reason" if state.state == FAILED else None
            value = read_result(sweep.run_dir(run)) if state.state == FINISHED else None
            outcomes.append(Outcome(run, state.state, error, value))
    good = [outcome for outcome in outcomes if outcome.value is not None and math.isfinite(outcome.value)]
    if good:
        best = (max if maximizes else min)(good, key=lambda outcome: outcome.value or 0.0)
        print(f"best: {best.value:.4g} with {brief(best.run.varied) or best.run.dir}, in {best.run.dir}")
    code = summary(sweep, sweep.runs, outcomes)
    enough = sweep.trials is not None and len(good) >= sweep.trials  # failed trials before that are no failure
    return 0 if enough else code


def member(cfg: DictConfig) -> float:
    """The function that Hydra calls for each run of a search."""
    from hydra.core.hydra_config import HydraConfig

    return run_member(cfg, HydraConfig.get())


def run_member(cfg: DictConfig, hydra: Any) -> float:
    """A run that a sweeper of Hydra's has just chosen: freeze it, run it in a process of its own, return its number.

    UserError with the reason where it failed, was stopped, or returned no number: the sweeper counts it as failed and
    goes on.
    """
    from mimickit_hydra.config.compose import to_run
    from mimickit_hydra.sweeps.runner import run_all

    sweep, run = _add_member(cfg, hydra)
    launch = to_run(cfg).launch
    if launch.launcher == "slurm":
        outcome = _submit_and_wait(sweep, run, launch)
    else:
        (outcome,) = run_all(sweep, [run], report=reporter(sweep))
    if outcome.error is not None:
        raise UserError(outcome.error)
    if outcome.state != "finished":
        if str(hydra.runtime.choices.get("hydra/launcher", "basic")) != "basic":
            raise UserError(f"{run.dir}: {outcome.state}")  # one of several, whose launcher ends otherwise
        raise KeyboardInterrupt  # stopped by hand: so is the search
    if outcome.value is None or not math.isfinite(outcome.value):
        raise UserError(f"{run.dir}: returned {outcome.value}, a search needs a number (test_episodes=0?)")
    return outcome.value


def _submit_and_wait(sweep: Sweep, run: SweepRun, launch: LaunchConfig) -> Outcome:
    """Run a member of the search as a job of the cluster; it is cancelled when the search is stopped."""
    from mimickit_hydra.runs.find import BUSY, LOST, look_at
    from mimickit_hydra.runs.jobs import Jobs, stop
    from mimickit_hydra.runs.state import FAILED, FINISHED
    from mimickit_hydra.sweeps.runner import Outcome, read_result
    from mimickit_hydra.sweeps.submit import submit
    from mimickit_hydra.training.signals import StopSignal

    report, began, run_dir = reporter(sweep), time.monotonic(), sweep.run_dir(run)
    with StopSignal() as asked:
        submit(launch, [sweep.path / run.config], name=run.dir, cwd=sweep.cwd)
        report("start", Outcome(run, "queued"))
        while (found := look_at(run_dir, Jobs())).state in BUSY:
            if asked.requested:
                stop(found.detail)
                asked.requested = False  # wait for what it says then
            time.sleep(_POLL_S if time.monotonic() - began < 60 else 10 * _POLL_S)
    error = found.detail.error or f"its job {found.detail.job_id} is gone" if found.state in (FAILED, LOST) else None
    value = read_result(run_dir) if found.state == FINISHED else None
    outcome = Outcome(run, found.state, error, value, time.monotonic() - began)
    report("end", outcome)
    return outcome


def _add_member(cfg: DictConfig, hydra: Any) -> tuple[Sweep, SweepRun]:
    from omegaconf import OmegaConf

    from mimickit_hydra.checks.check import validate
    from mimickit_hydra.config.compose import to_run
    from mimickit_hydra.runs.manifest import add_runs, locked, read_sweep
    from mimickit_hydra.runs.snapshot import freeze
    from mimickit_hydra.runs.state import FAILED, update_state
    from mimickit_hydra.sweeps.hydra_settings import job_settings, refuse_one_wandb_id
    from mimickit_hydra.sweeps.runner import Outcome
    from mimickit_hydra.sweeps.single import with_absolute_paths

    path = Path(hydra.sweep.dir)
    overrides = list(hydra.overrides.task)
    with locked(path):  # a launcher of Hydra's may have started several of us
        sweep = read_sweep(path)
        name = Path(hydra.runtime.output_dir).name
        if any(run.dir == name for run in sweep.runs):  # a search that goes on counts from 0 again
            name = f"{len(sweep.runs)}_{cfg.method.name}_{cfg.character.name}_{cfg.engine.engine_name}"
        OmegaConf.update(cfg, "out_dir", str(path / name))
        if cfg.rand_seed is None:
            OmegaConf.update(cfg, "rand_seed", time.time_ns() % 2**31)
        run = to_run(cfg)
        refuse_one_wandb_id(run)
        job = job_settings(hydra, lambda key: OmegaConf.select(hydra, key))
        run = with_absolute_paths(run, sweep.cwd) if job.chdir else run
        frozen = freeze(run, hydra.runtime.choices, overrides, job).text
        fixed = {word.place for word in map(parse, sweep.command) if not word.is_sweep}
        varied = [text for text in overrides if parse(text).place not in fixed]
        sweep = add_runs(sweep, [(name, overrides, varied, frozen)])
    try:
        validate(run, machine=run.launch.launcher != "slurm")
    except UserError as error:  # a value that was chosen, not given: on record as a run that failed
        update_state(path / name, state=FAILED, error=str(error))
        reporter(sweep)("end", Outcome(sweep.runs[-1], FAILED, str(error)))
        raise
    return sweep, sweep.runs[-1]


@contextlib.contextmanager
def _one_line_when_stopped(sweep: Sweep) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped; go on with: mimickit sweep resume {shown(sweep.path)}", flush=True)
        raise SystemExit(STOPPED_EXIT_CODE) from None


@contextlib.contextmanager
def _quiet_warnings() -> Iterator[None]:
    """Silence Optuna 2's warnings about its own experimental features."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main(arguments: Sequence[str]) -> int:
    """The background process of a search. Arguments: ``SWEEP_DIRECTORY [launch.KEY=VALUE ...]``."""
    from mimickit_hydra.runs.manifest import read_sweep
    from mimickit_hydra.training.interrupt import guarded

    return guarded(lambda *_: resume_search(read_sweep(arguments[0]), arguments[1:]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
