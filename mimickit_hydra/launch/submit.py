"""Hand frozen runs to a launcher, which starts each with ``mimickit train --frozen FILE``, and return at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.schema import (
    LaunchConfig,
    PackedLaunchConfig,
    SlurmLaunchConfig,
    TmuxLaunchConfig,
)
from mimickit_hydra.runtime.state_file import QUEUED, RunState, read_state, write_state

LOG = "output.log"  # in the run directory: what the run printed


class LaunchError(UserError):
    """A run cannot be submitted; the message is one line."""


@dataclass(frozen=True)
class Submitted:
    """A run that a launcher has taken: ``job_id`` is the launcher's name for it."""

    run_dir: Path
    job_id: str


def submit(launch: LaunchConfig, frozen: Sequence[Path], *, name: str, cwd: str) -> list[Submitted]:
    """Submit the runs whose frozen configs are given, one in each run directory.

    A run directory that holds checkpoints is gone on with. ``name`` is what the launcher shows for all of them (a
    Slurm job's name), ``cwd`` where relative paths in the configs start. LaunchError when the launcher is not here or
    refuses.
    """
    files = [Path(path).absolute() for path in frozen]
    for file in files:
        _mark_queued(file.parent, launch.launcher)
    if isinstance(launch, SlurmLaunchConfig):
        from mimickit_hydra.launch.slurm import submit_slurm

        job_ids = submit_slurm(launch, files, name=name, cwd=cwd)
    elif isinstance(launch, TmuxLaunchConfig):
        from mimickit_hydra.launch.tmux import submit_tmux

        job_ids = submit_tmux(launch, files, cwd=cwd)
    elif isinstance(launch, PackedLaunchConfig):
        from mimickit_hydra.launch.packed import submit_packed

        job_ids = submit_packed(launch, files, cwd=cwd)
    else:
        raise LaunchError(f"launch={launch.launcher}: runs are submitted with launch=packed, tmux or slurm")
    submitted = [Submitted(file.parent, job_id) for file, job_id in zip(files, job_ids, strict=True)]
    for entry in submitted:
        _name_job(entry, launch.launcher)
    return submitted


def command_of(frozen: Path) -> list[str]:
    """The command that starts a frozen run, or goes on with it."""
    return [sys.executable, "-m", "mimickit_hydra.cli.main", "train", "--frozen", str(frozen)]


def python_path() -> str:
    """``PYTHONPATH`` with which this very package is importable in another process."""
    package = str(Path(__file__).resolve().parent.parent.parent)
    before = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return os.pathsep.join(dict.fromkeys([package, *before]))


def _mark_queued(run_dir: Path, launcher: str) -> None:
    """Before submission: a job that starts at once must not be overwritten by us."""
    found = read_state(run_dir) or RunState()
    write_state(
        run_dir,
        RunState(
            state=QUEUED,
            launcher=launcher,
            samples=found.samples,
            starts=found.starts,
        ),
    )


def _name_job(entry: Submitted, launcher: str) -> None:
    """Note the job's name unless the run has started meanwhile, and noted it itself."""
    found = read_state(entry.run_dir)
    if found is not None and found.state == QUEUED and found.job_id is None:
        write_state(entry.run_dir, RunState(QUEUED, job_id=entry.job_id, launcher=launcher, starts=found.starts))
