"""``mimickit train --frozen FILE``: start, or go on with, a run whose config was frozen when it was submitted."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from mimickit_hydra.config.errors import UserError


def start(path: Path) -> float | None:
    """Run in the directory that holds the frozen config and return the number that a sweep optimises.

    The run goes on from its checkpoints where it has any, and otherwise begins. The reason of a failure is kept in
    ``state.json``. Every process of a job with several tasks calls this.
    """
    from mimickit_hydra.runtime.signals import StopSignal

    run_dir = path.absolute().parent
    with StopSignal():  # importing torch may take a while: what comes meanwhile is heard when training would begin
        try:
            value = _run(path, run_dir)
        except Exception as error:
            _keep_reason(run_dir, error)
            raise
        from mimickit_hydra.adapter.run import is_first_process

        if is_first_process():
            _keep_result(run_dir, value)
    return value


def _run(path: Path, run_dir: Path) -> float | None:
    from mimickit_hydra.config.frozen import read_frozen
    from mimickit_hydra.config.validate import validate

    frozen = read_frozen(path)
    run = dataclasses.replace(frozen.run, out_dir=str(run_dir), resume=None)
    validate(run)
    from mimickit_hydra.adapter.run import run as start_run

    return start_run(run, resolved_yaml=frozen.text, overrides=frozen.overrides, out_dir=str(run_dir), restart=True)


def _keep_reason(run_dir: Path, error: Exception) -> None:
    from mimickit_hydra.config.one_line import one_line
    from mimickit_hydra.runtime.state_file import FAILED, read_state, this_process, update_state

    found = read_state(run_dir)
    if found is not None and found.state == FAILED and found.error:
        return
    line = one_line(error) or f"{type(error).__name__}: {' '.join(str(error).split())}"
    with contextlib.suppress(OSError):
        update_state(run_dir, state=FAILED, error=line, **this_process())


def _keep_result(run_dir: Path, value: float | None) -> None:
    from mimickit_hydra.runtime.files import write_text_atomic
    from mimickit_hydra.runtime.sweep_runner import RESULT

    try:
        write_text_atomic(run_dir / RESULT, json.dumps({"value": value}) + "\n")
    except OSError as error:
        raise UserError(f"{run_dir / RESULT}: cannot be written: {error.strerror or error}") from None
