"""Starts a frozen run, or continues it; every run begins here, wherever it was asked for.

python -m mimickit_hydra.sweeps.start FROZEN_YAML
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mimickit_hydra.errors import UserError
from mimickit_hydra.screen import lasting
from mimickit_hydra.training.interrupt import check_interrupt, guarded
from mimickit_hydra.training.outside import is_first_process

if TYPE_CHECKING:
    from mimickit_hydra.runs.snapshot import Frozen, JobSettings


def start(frozen: Frozen, *, restart: bool = False) -> float | None:
    """Train or test what ``frozen`` says, in its ``out_dir``, and return the number that a sweep optimises.

    Every run begins here. It has been composed and checked and has its seed. ``restart``: the directory is its own, so
    that it goes on where a start before this one has left it.
    """
    gc.enable()
    # Read when torch loads: threads that spin while they wait would take the cores from the physics and from others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    check_interrupt()
    from mimickit_hydra.training.run import run

    drive: Callable[..., float | None] | None = None
    if frozen.run.core.name == "mimickit":
        from mimickit_hydra.mimickit.bridge import drive_checkout

        drive = drive_checkout
    check_interrupt()
    return run(
        frozen.run,
        resolved_yaml=frozen.text,
        overrides=frozen.overrides,
        out_dir=str(frozen.run.out_dir),
        restart=restart,
        drive=drive,
    )


def start_file(path: Path) -> float | None:
    """Run in the directory that holds the frozen config and return the number that a sweep optimises.

    The run goes on from its checkpoints where it has any, and otherwise begins. The reason of a failure is kept in
    ``state.json``. Every process of a job with several tasks calls this.
    """
    from mimickit_hydra.training.signals import StopSignal

    run_dir = path.absolute().parent
    with StopSignal():  # importing torch may take a while: what comes meanwhile is heard when training would begin
        try:
            value = _run(path, run_dir)
        except Exception as error:
            _keep_reason(run_dir, error)
            raise
        if is_first_process():
            _keep_result(run_dir, value)
    return value


def _run(path: Path, run_dir: Path) -> float | None:
    from mimickit_hydra.checks.check import validate
    from mimickit_hydra.config.resolved import CONFIG_FILE
    from mimickit_hydra.runs.files import refuse_changed
    from mimickit_hydra.runs.snapshot import read_frozen

    try:
        frozen = read_frozen(path)
    except UserError as error:
        if not (run_dir / CONFIG_FILE).is_file():
            raise
        print(f"note: {error}; going on with {CONFIG_FILE}", flush=True)
        frozen = read_frozen(run_dir / CONFIG_FILE)
    frozen = dataclasses.replace(frozen, run=dataclasses.replace(frozen.run, out_dir=str(run_dir), resume=None))
    validate(frozen.run)
    if is_first_process():
        refuse_changed(run_dir, frozen.run)
    with in_its_process(frozen):
        return start(frozen, restart=True)


@contextlib.contextmanager
def in_its_process(frozen: Frozen) -> Iterator[None]:
    """Context with the environment, working directory and verbosity of Hydra's settings; the first two are put back."""
    here, before = os.getcwd(), dict(os.environ)
    os.environ.update(frozen.job.env)
    be_verbose(frozen.job)
    try:
        if frozen.job.chdir:
            os.chdir(str(frozen.run.out_dir))
        yield
    finally:
        with contextlib.suppress(OSError):  # removed meanwhile
            os.chdir(here)
        for name in frozen.job.env:
            os.environ.pop(name) if name not in before else os.environ.update({name: before[name]})


def be_verbose(job: JobSettings) -> None:
    """Show the debug messages that ``hydra.verbose`` asks for: of all loggers, or of those named."""
    if not job.verbose:
        return
    logging.basicConfig(stream=sys.stdout, format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s")
    names = [None] if job.verbose is True else [job.verbose] if isinstance(job.verbose, str) else job.verbose
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)


def _keep_reason(run_dir: Path, error: Exception) -> None:
    from mimickit_hydra.config.messages import one_line
    from mimickit_hydra.runs.lock import RunLockError
    from mimickit_hydra.runs.state import FAILED, read_state, this_process, update_state

    if isinstance(error, RunLockError):  # the state is that of the process that works there
        return
    found = read_state(run_dir)
    if found is not None and found.state == FAILED and found.error:
        return
    line = one_line(error) or f"{type(error).__name__}: {' '.join(str(error).split())}"
    with contextlib.suppress(OSError):
        update_state(run_dir, state=FAILED, error=line, **this_process())


def _keep_result(run_dir: Path, value: float | None) -> None:
    from mimickit_hydra.files import write_text_atomic
    from mimickit_hydra.sweeps.runner import RESULT

    try:
        write_text_atomic(run_dir / RESULT, json.dumps({"value": value}) + "\n")
    except OSError as error:
        raise UserError(f"{run_dir / RESULT}: cannot be written: {error.strerror or error}") from None


def main(arguments: Sequence[str]) -> int:
    def body(*_: object) -> None:
        with lasting():
            start_file(Path(arguments[0]))

    return guarded(body)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
