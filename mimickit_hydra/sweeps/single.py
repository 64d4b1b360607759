"""A single run: composed once, checked once, its seed drawn once, its directory made, then started or submitted."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from mimickit_hydra.config.compose import OURS, Source, config_loader, load, to_run
from mimickit_hydra.config.paths import find_model
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.snapshot import Frozen, freeze, parse_frozen
from mimickit_hydra.sweeps.hydra_settings import job_settings, refuse_not_carried, refuse_unread, run_directory
from mimickit_hydra.training.interrupt import USER_ERROR_CODE, check_interrupt
from mimickit_hydra.training.outside import Task, listen, outside_task, tell

_OWN_PROCESSES = (
    "core=mimickit: started as {} processes by torchrun or srun, but the checkout starts its own; run it once, with a "
    "device for each process: devices=[cuda:0,cuda:1]"
)


def run_one(overrides: Sequence[str], source: Source = OURS) -> None:
    """Run what the overrides compose, here or where ``launch=`` says.

    Of several processes that torchrun or srun started for the run, the first one composes and tells the others what to
    run. UserError for what cannot work, before anything is made.
    """
    task = outside_task()
    if task is not None and task.rank > 0:
        _run_as_told(task)
        return
    told = False
    try:
        with config_loader(source) as loader, _hydra_as_it_was():
            cfg = _compose(loader, overrides, source)
            if task is not None and cfg.core.name == "mimickit":
                raise UserError(_OWN_PROCESSES.format(task.world_size))
            frozen = _prepare(cfg, overrides)
            here = frozen.run.launch.launcher == "local"
            if task is not None:
                told = True
                said = {"frozen": frozen.text if here else None, "out_dir": frozen.run.out_dir}
                tell(task, json.dumps(said))
            if here:
                _run_as_hydra_does(loader, cfg, source, frozen)
                return
    except BaseException:
        if task is not None and not told:
            tell(task, json.dumps({"exit": USER_ERROR_CODE}))
        raise
    from mimickit_hydra.sweeps.submit import submit_one

    submit_one(frozen)


@contextlib.contextmanager
def _hydra_as_it_was() -> Iterator[None]:
    """Context that puts Hydra's global config back, for an application around this one."""
    from hydra.core.hydra_config import HydraConfig

    before = HydraConfig.instance().cfg
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def _run_as_told(task: Task) -> None:
    from mimickit_hydra.sweeps.start import in_its_process, start

    said = json.loads(listen(task))
    if "exit" in said:  # the first process says why
        raise SystemExit(said["exit"])
    if said["frozen"] is not None:
        frozen = parse_frozen(said["frozen"], Path(said["out_dir"]))
        with in_its_process(frozen):
            start(frozen)


# ----------------------------------------------------------------------------------------------------------- preparing


def _compose(loader: Any, overrides: Sequence[str], source: Source) -> DictConfig:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    refuse_unread(overrides, sweep=False)
    cfg = load(loader, overrides, source)
    if cfg.hydra.mode == RunMode.MULTIRUN:
        raise UserError("hydra.mode: MULTIRUN in a file is not seen; give it on the command line, or --multirun (-m)")
    cfg.hydra.mode = RunMode.RUN
    HydraConfig.instance().cfg = cast(Any, cfg)  # for ${hydra:...}
    return cfg


def _prepare(cfg: DictConfig, overrides: Sequence[str]) -> Frozen:
    """Check the run, draw its seed, make its directory, and freeze it."""
    hydra = cfg.hydra
    directory, given = run_directory(cfg, overrides)
    OmegaConf.update(cfg, "out_dir", os.path.abspath(os.path.expanduser(directory)))
    if cfg.rand_seed is None:  # drawn here, so that the saved config repeats the run
        OmegaConf.update(cfg, "rand_seed", time.time_ns() % 2**31)
    run, job = to_run(cfg), job_settings(hydra, lambda key: OmegaConf.select(hydra, key))
    from mimickit_hydra.checks.check import validate

    validate(run, machine=run.launch.launcher != "slurm")
    if run.launch.launcher != "local":
        refuse_not_carried(hydra, f"with launch={run.launch.launcher}")
        run = dataclasses.replace(run, resume=None)  # it goes on in its own directory wherever it has a checkpoint
    check_interrupt()
    out_dir = _make_directory(str(run.out_dir), given=given, resume=cfg.resume is not None)
    run = dataclasses.replace(run, out_dir=out_dir)
    OmegaConf.update(cfg, "out_dir", out_dir)
    if job.chdir:
        run = with_absolute_paths(run)
    return freeze(run, hydra.runtime.choices, list(hydra.overrides.task), job)


def _make_directory(path: str, *, given: bool, resume: bool) -> str:
    from mimickit_hydra.runs.directory import prepare_run_dir

    return str(prepare_run_dir(path if given else unused(path), resume=resume))


def unused(path: str) -> str:
    """Make the directory ``path``, or the same with a number where another start of the same second was faster."""
    for number in itertools.count(2):
        try:
            os.makedirs(path)
            return path
        except FileExistsError:
            path = f"{path.removesuffix(f'-{number - 1}')}-{number}"
        except OSError:  # said better by whoever prepares the directory
            return path
    raise AssertionError("unreachable")


def with_absolute_paths(run: RunConfig, cwd: str = "") -> RunConfig:
    """The run with paths that keep their meaning in another working directory than ``cwd``."""
    here = Path(cwd or os.getcwd())
    own = [str(here / "data")] if (here / "data").is_dir() else []
    roots = [*own, str(here), *(str(here / Path(root).expanduser()) for root in run.data_root)]
    model = None if run.model_file is None else str(here / find_model(run.model_file, run.data_root))
    resume = None if run.resume is None else str(here / Path(run.resume).expanduser())
    return dataclasses.replace(run, data_root=roots, model_file=model, resume=resume)


# ------------------------------------------------------------------------------------------------------------- running


def _run_as_hydra_does(loader: Any, cfg: DictConfig, source: Source, frozen: Frozen) -> None:
    """Call :func:`start` as Hydra calls an application: with its callbacks, logging, environment and directories."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import JobStatus, configure_log, run_job
    from hydra.types import HydraContext

    from mimickit_hydra.sweeps.start import be_verbose, start

    cfg.hydra.run.dir = str(frozen.run.out_dir)
    cfg.hydra.job.env_set.update(frozen.job.env)  # resolved: ${rand_seed} may be in it
    configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
    callbacks = Callbacks(cfg)
    callbacks.on_run_start(config=cfg, config_name=source.name)

    def task(_: DictConfig) -> float | None:
        be_verbose(frozen.job)
        return start(frozen)

    context = HydraContext(config_loader=loader, callbacks=callbacks)
    done = run_job(task, cfg, job_dir_key="hydra.run.dir", job_subdir_key=None, hydra_context=context)
    callbacks.on_run_end(config=cfg, config_name=source.name, job_return=done)
    if done.status == JobStatus.FAILED:
        raise done._return_value  # asking for return_value prints a line more
