"""``mimickit train --frozen FILE``: start, or go on with, a run whose config was frozen when it was submitted."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.runtime.run_dir import MARKS


def start(path: Path) -> float | None:
    """Run in the directory that holds the frozen config and return the number that a sweep optimises.

    The run goes on from its checkpoints where it has any. What an attempt without a checkpoint left is set aside in
    ``attempt_<n>``. The reason of a failure is kept in ``state.json``.
    """
    from mimickit_hydra.config.frozen import read_frozen
    from mimickit_hydra.config.validate import validate

    run_dir = path.absolute().parent
    try:
        frozen = read_frozen(path)
        resume = str(run_dir) if has_checkpoints(run_dir) else None
        if resume is None:
            set_aside(run_dir)
        run = dataclasses.replace(frozen.run, out_dir=str(run_dir), resume=resume)
        validate(run if resume is None else dataclasses.replace(run, model_file=None))
        from mimickit_hydra.adapter.run import run as start_run

        value = start_run(run, resolved_yaml=frozen.text, overrides=frozen.overrides, out_dir=str(run_dir))
    except Exception as error:
        _keep_reason(run_dir, error)
        raise
    _keep_result(run_dir, value)
    return value


def has_checkpoints(run_dir: Path) -> bool:
    return any((run_dir / "checkpoints").glob("ckpt_*.pt"))


def set_aside(run_dir: Path) -> None:
    """Move what a start that never saved has left, so that the run can start anew and nothing is lost."""
    if not any((run_dir / mark).exists() for mark in MARKS):
        return
    from mimickit_hydra.runtime.state_file import FILE as STATE
    from mimickit_hydra.runtime.sweep_file import FROZEN
    from mimickit_hydra.runtime.sweep_runner import OUTPUT

    number = 1
    while (run_dir / f"attempt_{number}").exists():
        number += 1
    target = run_dir / f"attempt_{number}"
    target.mkdir()
    for entry in sorted(run_dir.iterdir()):
        stays = entry.name in (FROZEN, STATE, OUTPUT) or entry.name.startswith(("attempt_", ".", "lock"))
        if not stays:
            shutil.move(str(entry), target / entry.name)


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
