"""One run, from the composed configuration to the run directory: train, or test."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mimickit_hydra.adapter.build import Parts, build
from mimickit_hydra.adapter.export import model_weights
from mimickit_hydra.agents.comm import Comm
from mimickit_hydra.config.advice import advice
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.engines.hosted import HostedEngine
from mimickit_hydra.runtime.checkpoint import (
    LoadedCheckpoint,
    has_complete_checkpoint,
    list_checkpoints,
    load_checkpoint,
)
from mimickit_hydra.runtime.lock import RunLock, job_id
from mimickit_hydra.runtime.processes import check_devices, launch, outside_task
from mimickit_hydra.runtime.rng import seed_everything
from mimickit_hydra.runtime.run_dir import add_versions, prepare_run_dir, write_run_files
from mimickit_hydra.runtime.signals import STOPPED_EXIT_CODE, Stopped, StopSignal
from mimickit_hydra.runtime.state_file import FAILED, FINISHED, STOPPED, StateReporter

SEED_STRIDE = 41  # rank k draws from rand_seed + 41 k


@dataclass(frozen=True)
class Job:
    """What every process of a run needs to know."""

    run: RunConfig
    run_dir: Path
    config_yaml: str
    resume: bool  # there is a checkpoint to go on from
    again: bool  # the directory may hold what an earlier start left
    reporter: StateReporter | None = None

    def lost(self, line: str) -> None:
        """The last word of a run whose root cannot end as it should."""
        if self.reporter is not None:
            self.reporter.end(FAILED, line)


def run(
    run: RunConfig, *, resolved_yaml: str, overrides: list[str], out_dir: str, restart: bool = False
) -> float | None:
    """Train or test and return the final test return, the number a sweep optimises.

    With ``restart`` the directory is this run's own: it goes on from its checkpoint if there is one and begins
    otherwise. SystemExit with STOPPED_EXIT_CODE when a signal stopped it and everything is saved. UserError, in one
    line, for whatever the user can put right; nothing already saved is lost by it.
    """
    check_devices(run.devices)
    _refuse_outside_tasks(run)
    if run.rand_seed is None:
        run = dataclasses.replace(run, rand_seed=time.time_ns() % 2**31)
    again = restart or run.resume is not None
    if not is_first_process():  # the first one of the run prepares the directory for all
        run_dir = Path(run.resume or out_dir).expanduser().absolute()
        return _launch(Job(run, run_dir, resolved_yaml, _goes_on(again, run, run_dir), again))
    run_dir = prepare_run_dir(run.resume or out_dir, resume=run.resume is not None, restart=restart)
    with RunLock(run_dir) as lock, _recorded(run_dir) as reporter:
        if lock.taken_over:
            print(f"taking over from {lock.taken_over}, which ended without a word", flush=True)
        write_run_files(run_dir, resolved_yaml, overrides)
        if run.core.name == "mimickit":
            from mimickit_hydra.adapter.bridge import drive_checkout

            return drive_checkout(run, run_dir, overrides)
        return _launch(Job(run, run_dir, resolved_yaml, _goes_on(again, run, run_dir), again, reporter))


def _refuse_outside_tasks(run: RunConfig) -> None:
    """A checkout starts one process for each entry of ``devices`` by itself."""
    task = outside_task() if run.core.name == "mimickit" else None
    if task is None:
        return
    if task.rank > 0:
        raise SystemExit(2)  # the first one says it
    raise UserError(
        f"core=mimickit: started as {task.world_size} processes by torchrun or srun, but the checkout starts its own; "
        "run it once, with a device for each process: devices=[cuda:0,cuda:1]"
    )


def is_first_process() -> bool:
    """Whether this is rank 0 among the processes that torchrun or Slurm started for one run."""
    task = outside_task()
    return task is None or task.rank == 0


def _goes_on(again: bool, run: RunConfig, run_dir: Path) -> bool:
    """Whether training starts from a checkpoint; one that was killed before its first begins again."""
    return again and run.mode == "train" and bool(list_checkpoints(run_dir))


def _launch(job: Job) -> float | None:
    if job.run.mode == "test":
        return launch(_test_worker, job.run.devices[:1], job, single=True)
    return launch(_train_worker, job.run.devices, job, on_lost=job.lost)


@contextlib.contextmanager
def _recorded(run_dir: Path) -> Iterator[StateReporter]:
    """``state.json`` from the start of the run to its end, whatever that is."""
    reporter = StateReporter(run_dir)
    scheduled = job_id()
    reporter.start(**({"job_id": scheduled} if scheduled else {}))
    try:
        yield reporter
    except (SystemExit, KeyboardInterrupt) as error:
        code = error.code if isinstance(error, SystemExit) else STOPPED_EXIT_CODE
        stopped = code == STOPPED_EXIT_CODE
        reporter.end(STOPPED if stopped else FAILED, None if stopped else f"ended with exit code {code}")
        raise
    except BaseException as error:
        said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        reporter.end(FAILED, " ".join(said.split()))
        raise
    reporter.end(FINISHED)


def _build(comm: Comm, device: torch.device, job: Job, num_envs: int | None = None) -> Parts:
    if device.type == "cpu":
        # Threads that wait for each other would take the cores from the physics; the agent asks for more where it pays.
        torch.set_num_threads(1)
    seed_everything((job.run.rand_seed or 0) + SEED_STRIDE * comm.rank)
    parts = build(job.run, comm, device, num_envs=num_envs)
    if comm.is_root and isinstance(parts.engine, HostedEngine):
        python = {"executable": parts.engine.worker_python, **parts.engine.worker_versions}
        add_versions(job.run_dir, f"engine={parts.engine.name}", python)
    return parts


# ---------------------------------------------------------------------------------------------------------------- train


def _train_worker(comm: Comm, device: torch.device, job: Job) -> float | None:
    from mimickit_hydra.runtime.train import Trainer, TrainSettings

    run = job.run
    for line in advice(run):
        _say(comm, f"note: {line}")
    with StopSignal(_tell_other_ranks) as stop, contextlib.ExitStack() as cleanup:
        try:
            with stop.immediate():
                parts = _build(comm, device, job)
        except Stopped:
            _stopped(comm, f"stopped by {stop.name} before training began")
            return None
        cleanup.callback(parts.close)
        settings = TrainSettings(
            run_dir=job.run_dir,
            max_samples=run.max_samples,
            max_minutes=run.max_minutes,
            iters_per_output=run.agent.iters_per_output,
            test_episodes=run.agent.test_episodes,
            save_int_models=run.save_int_models,
            config_yaml=job.config_yaml,
        )
        trainer = Trainer(parts.agent, parts.env, comm, parts.timers, settings, stop)
        resumed = job.resume and has_complete_checkpoint(job.run_dir, comm.world_size)
        if resumed:
            checkpoint = load_checkpoint(job.run_dir, rank=comm.rank, world_size=comm.world_size)
            _say_warnings(comm, checkpoint)
            trainer.restore(checkpoint.payload, checkpoint.path)
            _say(comm, f"resumed from {checkpoint.path} at {parts.agent.samples:,} samples")
        elif run.model_file is not None:
            _say(comm, f"starting from the weights of {load_model(parts, run.model_file)}")
        with _reporting(comm, job, parts) as (logger, progress):
            if progress is not None:
                progress.best_return = trainer.state.best_return
            reason = trainer.run(logger, progress, job.reporter if comm.is_root else None)
        return _finish(comm, job, parts, trainer, reason, stop)


def _tell_other_ranks() -> None:
    """A signal to this process alone is meant for the whole run: pass it on to the processes that it spawned."""
    for child in multiprocessing.active_children():
        if child.name.startswith("rank"):
            child.terminate()


def _stopped(comm: Comm, line: str) -> None:
    """End the root with the code that says so; the others just end, so that nobody takes that for a failure."""
    _say(comm, line)
    if comm.is_root:
        raise SystemExit(STOPPED_EXIT_CODE)


@contextlib.contextmanager
def _reporting(comm: Comm, job: Job, parts: Parts) -> Iterator[tuple[Any, Any]]:
    """Loggers and the progress display of the root; (None, None) elsewhere."""
    if not comm.is_root:
        yield None, None
        return
    from mimickit_hydra.runtime.loggers import make_loggers
    from mimickit_hydra.runtime.progress import Progress

    run = job.run
    logger = make_loggers(
        job.run_dir,
        txt=run.logger.txt,
        tb=run.logger.tb,
        wandb=run.logger.wandb,
        wandb_project=run.logger.wandb_project,
        run_config=dataclasses.asdict(run),
        resume_samples=parts.agent.samples if job.again else None,
    )
    title = f"{run.method.name} · {run.character.name} · {run.motion.name} · {run.engine.engine_name}"
    progress = Progress(title, max_samples=run.max_samples, has_reward=parts.env.has_reward)
    try:
        with progress:
            yield logger, progress
    finally:
        logger.close()


def _finish(comm: Comm, job: Job, parts: Parts, trainer: Any, reason: str, stop: StopSignal) -> float | None:
    """After the loop: curves, the final test with its video, and a line for each result."""
    if not comm.is_root:
        return None
    from mimickit_hydra.runtime.curves import plot_curves
    from mimickit_hydra.runtime.train import is_signal

    with contextlib.suppress(UserError):  # nothing was logged yet
        plot_curves(job.run_dir)
    try:
        if is_signal(reason):  # perhaps another process's
            raise Stopped
        with stop.immediate():
            metrics = _closing_test(comm, job, parts)
    except Stopped:
        _say_results(comm, job.run_dir, trainer.last_checkpoint)
        _stopped(comm, f"stopped by {stop.name or reason}: everything is saved, continue with resume={job.run_dir}")
        return None
    _say_results(comm, job.run_dir, trainer.last_checkpoint, metrics)
    if metrics is not None:
        return _result(parts, metrics)
    return trainer.state.test_row.get("Test_Return" if parts.env.has_reward else "Test_Episode_Length")


def _result(parts: Parts, metrics: Any) -> float:
    """The number that a sweep compares runs by."""
    return float(metrics["return" if parts.env.has_reward else "episode_length"])


def _closing_test(comm: Comm, job: Job, parts: Parts) -> Any:
    """Metrics and video of the best policy, or None where none were asked for."""
    from mimickit_hydra.runtime.evaluate import evaluate

    if job.run.test_episodes <= 0:
        return None
    if (job.run_dir / "checkpoints" / "best.pt").exists():
        _say(comm, f"testing     {load_model(parts, str(job.run_dir), alone=True)}")
    return evaluate(parts, job.run_dir, episodes=job.run.test_episodes, video=job.run.video)


# ----------------------------------------------------------------------------------------------------------------- test


def _test_worker(comm: Comm, device: torch.device, job: Job) -> float | None:
    with StopSignal() as stop:
        try:
            with stop.immediate():
                return _test(comm, device, job)
        except Stopped:
            _stopped(comm, f"stopped by {stop.name}: a test has nothing to save, start it again")
            return None


def _test(comm: Comm, device: torch.device, job: Job) -> float:
    from mimickit_hydra.runtime.evaluate import evaluate

    run = job.run
    episodes = max(1, run.test_episodes)
    parts = _build(comm, device, job, num_envs=min(run.num_envs, episodes))
    try:
        _say(comm, _take_policy(parts, run))
        metrics = evaluate(parts, job.run_dir, episodes=episodes, video=run.video)
        _say_results(comm, job.run_dir, None, metrics)
        return _result(parts, metrics)
    finally:
        parts.close()


def _take_policy(parts: Parts, run: RunConfig) -> str:
    """Load the policy to test, if there is one; returns the line that says whose it is."""
    if run.agent.agent_name == "Dummy":
        return f"{run.method.name}: nothing is learned here, the env moves the character"
    if run.model_file is None:
        return "model_file is not set: testing an untrained policy"
    return f"testing {load_model(parts, run.model_file)}"


def load_model(parts: Parts, model_file: str, *, alone: bool = False) -> Path:
    """Put weights into the agent: a run directory's best, one of our checkpoints, or a MimicKit ``model.pt``.

    ``alone``: only this one of several processes does so.
    """
    found = model_weights(Path(model_file))
    for line in found.warnings:
        print(f"warning: {line}", file=sys.stderr)
    parts.agent.load_model_state_dict(found.weights, alone=alone)
    return found.path


# --------------------------------------------------------------------------------------------------------------- output


def _say(comm: Comm, line: str) -> None:
    if comm.is_root:
        print(line, flush=True)


def _say_warnings(comm: Comm, checkpoint: LoadedCheckpoint) -> None:
    for line in checkpoint.warnings:
        _say(comm, f"warning: {line}")


def _say_results(comm: Comm, run_dir: Path, checkpoint: Path | None, metrics: Any = None) -> None:
    if checkpoint is not None:
        _say(comm, f"checkpoint  {checkpoint}")
    if metrics is not None:
        figures = [
            f"episode length {metrics['episode_length']:.0f}",
            f"success {100 * metrics['success_rate']:.0f} %",
        ]
        if metrics["return"] or metrics["return_std"]:  # 0 where only a discriminator pays
            figures.insert(0, f"return {metrics['return']:.1f}")
        if "dtw_pose_err" in metrics:
            figures.append(f"pose error {100 * metrics['dtw_pose_err']:.1f} cm")
        _say(comm, f"metrics     {run_dir / 'metrics.json'}  ({', '.join(figures)})")
    for name, label in (("curves.png", "curves      "), ("video.mp4", "video       "), ("video.gif", "video       ")):
        if (run_dir / name).exists():
            _say(comm, f"{label}{run_dir / name}")
