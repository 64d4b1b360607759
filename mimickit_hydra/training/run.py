"""Runs a training or a test, from the composed config to the run directory."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mimickit_hydra.config.resolved import CONFIG_FILE
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.distributed import Comm
from mimickit_hydra.errors import UserError
from mimickit_hydra.files import remove_leftovers
from mimickit_hydra.motion.dataset import run_clips
from mimickit_hydra.runs.directory import add_versions, newest_start, prepare_run_dir, write_run_files
from mimickit_hydra.runs.files import record_files
from mimickit_hydra.runs.lock import RunLock, RunLockError, job_id
from mimickit_hydra.runs.state import ALIVE, FAILED, FINISHED, STOPPED, StateReporter, read_state
from mimickit_hydra.screen import lasting
from mimickit_hydra.training.advice import advice
from mimickit_hydra.training.build import Parts, build
from mimickit_hydra.training.checkpoint import (
    has_complete_checkpoint,
    list_checkpoints,
    load_checkpoint,
    put_best_aside,
    read_best,
    refuse_other_processes,
)
from mimickit_hydra.training.conditions import config_of, other_meaning, refuse_overruled
from mimickit_hydra.training.outside import is_first_process, outside_task
from mimickit_hydra.training.processes import check_devices, launch
from mimickit_hydra.training.rng import seed_everything
from mimickit_hydra.training.signals import STOPPED_EXIT_CODE, Stopped, StopSignal
from mimickit_hydra.training.weights import model_weights

SEED_STRIDE = 41  # rank k draws from rand_seed + 41 k


@dataclass(frozen=True)
class Job:
    """The description of a run that every process of it gets."""

    run: RunConfig
    run_dir: Path
    config_yaml: str
    overrides: list[str]
    files: str  # files.json
    resume: bool  # there is a checkpoint to go on from
    again: bool  # the directory may hold what an earlier start left
    reporter: StateReporter | None = None

    def record(self) -> Path | None:
        """Write down what the run is; returns the folder of what an earlier start had written, if that was other."""
        return write_run_files(self.run_dir, self.config_yaml, self.overrides, self.files)

    def lost(self, line: str) -> None:
        """Record the failure of a run whose root process cannot end as it should."""
        if self.reporter is not None:
            self.reporter.end(FAILED, line)


def run(
    run: RunConfig,
    *,
    resolved_yaml: str,
    overrides: list[str],
    out_dir: str,
    restart: bool = False,
    drive: Callable[[RunConfig, Path, list[str]], float | None] | None = None,
) -> float | None:
    """Train or test and return the final test return, the number a sweep optimises.

    With ``restart`` the directory is this run's own: it goes on from its checkpoint if there is one and begins
    otherwise. ``drive`` takes the place of our own training: it gets the run, its directory and the overrides.

    Raises:
        SystemExit: with STOPPED_EXIT_CODE when a signal stopped it and everything is saved.
        UserError: in one line, for whatever the user can put right; nothing already saved is lost by it.
    """
    with lasting():
        return _run(run, resolved_yaml, overrides, out_dir, restart, drive)


def _run(
    run: RunConfig,
    resolved_yaml: str,
    overrides: list[str],
    out_dir: str,
    restart: bool,
    drive: Callable[[RunConfig, Path, list[str]], float | None] | None,
) -> float | None:
    check_devices(run.devices)
    again = restart or run.resume is not None
    if not is_first_process():  # the first one of the run prepares the directory for all
        run_dir = Path(run.resume or out_dir).expanduser().absolute()
        try:
            goes_on = _goes_on(again, run, run_dir)
        except UserError:
            raise SystemExit(2) from None  # the first one says why
        return _launch(Job(run, run_dir, resolved_yaml, overrides, record_files(run), goes_on, again))
    run_dir = prepare_run_dir(run.resume or out_dir, resume=run.resume is not None, restart=restart)
    with RunLock(run_dir) as lock, _recorded(run_dir) as reporter:
        if lock.taken_over:
            print(f"taking over from {lock.taken_over}, which ended without a word", flush=True)
        remove_leftovers(run_dir)
        goes_on = _goes_on(again, run, run_dir)
        job = Job(run, run_dir, resolved_yaml, overrides, record_files(run), goes_on, again, reporter)
        if not job.resume:  # otherwise once the checkpoint has been found to go with the words
            job.record()
        if drive is not None:
            return drive(run, run_dir, overrides)
        return _launch(job)


def _goes_on(again: bool, run: RunConfig, run_dir: Path) -> bool:
    """Whether training starts from a checkpoint; one that was killed before its first begins again."""
    if not again or run.mode != "train" or not list_checkpoints(run_dir):
        return False
    task = outside_task()
    refuse_other_processes(run_dir, task.world_size if task is not None else len(run.devices))
    return True


def _stamp(run_dir: Path) -> int | None:
    """When the config of a run was written; None where there is none."""
    try:
        return (run_dir / CONFIG_FILE).stat().st_mtime_ns
    except OSError:
        return None


def _launch(job: Job) -> float | None:
    if job.run.mode == "test":
        return launch(_test_worker, job.run.devices[:1], job, single=True)
    return launch(_train_worker, job.run.devices, job, on_lost=job.lost)


@contextlib.contextmanager
def _recorded(run_dir: Path) -> Iterator[StateReporter]:
    """Context that keeps ``state.json`` true from the start of the run to its end, whatever that is.

    A resume that is refused changes nothing: a run that had finished has still finished.
    """
    reporter = StateReporter(run_dir)
    before, config = read_state(run_dir), _stamp(run_dir)
    scheduled = job_id()
    reporter.start(**({"job_id": scheduled} if scheduled else {}))
    try:
        yield reporter
    except (SystemExit, KeyboardInterrupt) as error:
        code = error.code if isinstance(error, SystemExit) else STOPPED_EXIT_CODE
        stopped = code == STOPPED_EXIT_CODE
        reporter.end(STOPPED if stopped else FAILED, None if stopped else f"ended with exit code {code}")
        raise
    except RunLockError:  # the state is the other process's
        raise
    except UserError as error:
        if before is not None and before.state not in ALIVE and config is not None and config == _stamp(run_dir):
            reporter.put_back(before)
        else:
            reporter.end(FAILED, " ".join(str(error).split()))
        raise
    except BaseException as error:
        reporter.end(FAILED, " ".join(f"{type(error).__name__}: {error}".split()))
        raise
    reporter.end(FINISHED)


def _build(comm: Comm, device: torch.device, job: Job, num_envs: int | None = None) -> Parts:
    if device.type == "cpu":
        # Threads that wait for each other would take the cores from the physics; the agent asks for more where it pays.
        torch.set_num_threads(1)
    seed_everything((job.run.rand_seed or 0) + SEED_STRIDE * comm.rank)
    return build(job.run, comm, device, num_envs=num_envs)


def _record(job: Job, parts: Parts) -> Path | None:
    """The record of a run whose parts are known to go together, with the versions of an engine elsewhere."""
    earlier = job.record() if job.resume else None
    if parts.engine.worker_versions:
        add_versions(job.run_dir, f"engine={parts.engine.name}", parts.engine.worker_versions)
    return earlier


def _train_worker(comm: Comm, device: torch.device, job: Job) -> float | None:
    from mimickit_hydra.training.train import Trainer

    run = job.run
    for line in advice(run) if comm.is_root else ():
        print(f"note: {line}", flush=True)
    with StopSignal(_tell_other_ranks) as stop, contextlib.ExitStack() as cleanup:
        try:
            with stop.immediate():
                parts = _build(comm, device, job)
        except Stopped:
            _stopped(comm, f"stopped by {stop.name} before training began")
            return None
        cleanup.callback(parts.close)
        trainer = Trainer(parts, run, job.run_dir, comm, stop, job.config_yaml, job.files, job.record)
        _begin(comm, job, parts, trainer)
        cleanup.enter_context(_watched(comm, job, parts))
        with _reporting(comm, job, parts, trainer.state.log) as (logger, progress):
            if progress is not None:
                progress.best_return = trainer.state.best_return
            reason = trainer.run(logger, progress, job.reporter if comm.is_root else None)
        trainer.record_if_removed()
        return _finish(comm, job, parts, trainer, reason, stop)


def _watched(comm: Comm, job: Job, parts: Parts) -> contextlib.AbstractContextManager[Any]:
    """Context in which ``visualize=true`` shows the first process's environments in a browser."""
    if not job.run.visualize or not comm.is_root:
        return contextlib.nullcontext()
    from mimickit_hydra.view.browser.watch import Watch

    title = f"{job.run_dir.name}, {{:,}} samples"
    paced = job.run.mode == "test"
    return Watch(parts.env, parts.scene, lambda: title.format(parts.agent.samples), paced=paced)


def _begin(comm: Comm, job: Job, parts: Parts, trainer: Any) -> None:
    """Go on from the run's checkpoint, or from other weights, or from nothing, and record what the run is now."""
    changed: list[str] = []
    if job.resume and has_complete_checkpoint(job.run_dir, comm.world_size):
        checkpoint = load_checkpoint(job.run_dir, rank=comm.rank, world_size=comm.world_size)
        for line in checkpoint.warnings:
            _say(comm, f"warning: {line}")
        changed = trainer.restore(checkpoint.payload, checkpoint.path)
        _say(comm, f"resumed from {checkpoint.path} at {parts.agent.samples:,} samples")
    elif job.run.model_file is not None:
        found = load_model(parts, job.run.model_file, run=job.run, words=job.overrides)
        _say(comm, f"starting from the weights of {found}")
    if not comm.is_root:
        return
    earlier = _record(job, parts)
    if changed:
        _say(comm, f"note: {', '.join(changed)}: another than before, so new episodes begin")
    best = read_best(job.run_dir)
    if best is not None and best.under != trainer.under:
        earlier = earlier or newest_start(job.run_dir)
        put_best_aside(job.run_dir, earlier)
        _say(
            comm, f"note: the best policy until now, of return {best.metric:.1f} in another test, is kept in {earlier}"
        )


def _tell_other_ranks() -> None:
    """Pass a signal on to the processes that this one has spawned: it is meant for the whole run."""
    for child in multiprocessing.active_children():
        if child.name.startswith("rank"):
            child.terminate()


def _stopped(comm: Comm, line: str) -> None:
    """End the root with the code that says so; the others just end, so that nobody takes that for a failure."""
    _say(comm, line)
    if comm.is_root:
        raise SystemExit(STOPPED_EXIT_CODE)


@contextlib.contextmanager
def _reporting(comm: Comm, job: Job, parts: Parts, log: str) -> Iterator[tuple[Any, Any]]:
    """Loggers, which go on from ``log``, and the progress display of the root; (None, None) elsewhere."""
    if not comm.is_root:
        yield None, None
        return
    from mimickit_hydra.training.loggers import make_loggers
    from mimickit_hydra.training.progress import Progress

    run = job.run
    logger = make_loggers(job.run_dir, run, parts.agent.samples if job.again else None, log)
    title = f"{run.method.name} · {run.character.name} · {run.motion.name} · {run.engine.engine_name}"
    progress = Progress(title, max_samples=run.max_samples, has_reward=parts.env.has_reward)
    try:
        with progress:
            yield logger, progress
    finally:
        logger.close()


def _finish(comm: Comm, job: Job, parts: Parts, trainer: Any, reason: str, stop: StopSignal) -> float | None:
    """Write the curves, run the closing test with its video, and print a line for each result."""
    if not comm.is_root:
        return None
    from mimickit_hydra.training.loggers import only_shows
    from mimickit_hydra.training.train import is_signal
    from mimickit_hydra.view.curves import plot_curves

    with only_shows("no curves were drawn"), contextlib.suppress(UserError):  # nothing was logged yet
        plot_curves(job.run_dir)
    try:
        if is_signal(reason):  # perhaps another process's
            raise Stopped
        with stop.immediate():
            metrics = _closing_test(comm, job, parts)
    except Stopped:
        _say_results(comm, job.run_dir, trainer.saver.last)
        _stopped(comm, f"stopped by {stop.name or reason}: everything is saved, continue with resume={job.run_dir}")
        return None
    _say_results(comm, job.run_dir, trainer.saver.last, metrics)
    if metrics is not None:
        return _result(parts, metrics)
    return trainer.state.test_row.get("Test_Return" if parts.env.has_reward else "Test_Episode_Length")


def _result(parts: Parts, metrics: Any) -> float:
    """The number that a sweep compares runs by."""
    return float(metrics["return" if parts.env.has_reward else "episode_length"])


def _closing_test(comm: Comm, job: Job, parts: Parts) -> Any:
    """Metrics and video of the best policy; None where no test episodes were asked for."""
    from mimickit_hydra.training.evaluate import evaluate

    if job.run.test_episodes <= 0:
        return None
    if (job.run_dir / "checkpoints" / "best.pt").exists():
        _say(comm, f"testing     {load_model(parts, str(job.run_dir), alone=True)}")
    return evaluate(parts, job.run_dir, episodes=job.run.test_episodes, video=job.run.video, look=job.run.env)


def _test_worker(comm: Comm, device: torch.device, job: Job) -> float | None:
    with StopSignal() as stop:
        try:
            with stop.immediate():
                return _test(comm, device, job)
        except Stopped:
            _stopped(comm, f"stopped by {stop.name}: a test has nothing to save, start it again")
            return None


def _test(comm: Comm, device: torch.device, job: Job) -> float:
    from mimickit_hydra.training.evaluate import evaluate

    run = job.run
    episodes = max(1, run.test_episodes)
    clips = run_clips(run) if hasattr(run.env, "motion_file") else []
    parts = _build(comm, device, job, num_envs=min(run.num_envs, max(episodes, len(clips))))
    try:
        if comm.is_root:
            _record(job, parts)
        _say(comm, _take_policy(parts, job))
        with _watched(comm, job, parts):
            metrics = evaluate(parts, job.run_dir, episodes=episodes, video=run.video, look=run.env)
        _say_results(comm, job.run_dir, None, metrics)
        return _result(parts, metrics)
    finally:
        parts.close()


def _take_policy(parts: Parts, job: Job) -> str:
    """Load the policy to test, if there is one; returns the line that says whose it is."""
    run = job.run
    if run.agent.agent_name == "Dummy":
        return f"{run.method.name}: nothing is learned here, the env moves the character"
    if run.model_file is None:
        return "model_file is not set: testing an untrained policy"
    return f"testing {load_model(parts, run.model_file, run=run, words=job.overrides)}"


def load_model(
    parts: Parts, model_file: str, *, alone: bool = False, run: RunConfig | None = None, words: list[str] | None = None
) -> Path:
    """Put weights into the agent: a run directory's best, one of our checkpoints, or a MimicKit ``model.pt``.

    ``alone``: only this one of several processes does so. With ``run`` it is refused that the weights overrule a value
    that the user's ``words`` give it, and said where actions or observations mean another thing without such a word.
    """
    found = model_weights(Path(model_file))
    for line in found.warnings:
        print(f"warning: {line}", file=sys.stderr)
    weights = found.completed(parts.agent.model_state_dict()) if found.left_out else found.weights
    trained = config_of(found.config) if run is not None else None
    if run is not None and trained is not None:
        refuse_overruled(f"model_file={model_file}", parts.agent, weights, run, trained, words or [])
        if other := other_meaning(run, trained, words or []):
            note = f"note: model_file={model_file}: trained with {other}; a policy knows only what it was trained with"
            _say(parts.agent.comm, note)
    try:
        parts.agent.load_model_state_dict(weights, alone=alone)
    except UserError as error:
        raise UserError(f"{found.path}: {error}") from None
    return found.path


def _say(comm: Comm, line: str) -> None:
    if comm.is_root:
        print(line, flush=True)


def _say_results(comm: Comm, run_dir: Path, checkpoint: Path | None, metrics: Any = None) -> None:
    if checkpoint is not None:
        _say(comm, f"checkpoint  {checkpoint}")
    if metrics is not None:
        figures = [f"episode length {metrics['episode_length']:.0f}", f"success {100 * metrics['success_rate']:.0f} %"]
        if clips := metrics.get("clips"):
            figures[1] = f"{len(clips) - metrics['failed_clips']} of {len(clips)} clips to their end"
            figures.append(f"MPKPE {100 * metrics['mpkpe']:.1f} cm, hardest {clips[0]['clip']}")
        if metrics["return"] or metrics["return_std"]:  # 0 where only a discriminator pays
            figures.insert(0, f"return {metrics['return']:.1f}")
        if "dtw_pose_err" in metrics:
            figures.append(f"pose error {100 * metrics['dtw_pose_err']:.1f} cm")
        _say(comm, f"metrics     {run_dir / 'metrics.json'}  ({', '.join(figures)})")
    shown = [("clips.csv", "clips       "), ("curves.png", "curves      ")]
    shown += [(f"video{number}{suffix}", "video       ") for number in ("", "_2", "_3") for suffix in (".mp4", ".gif")]
    for name, label in shown:
        if (run_dir / name).exists():
            _say(comm, f"{label}{run_dir / name}")
