"""Hands frozen runs to a launcher, which starts each by ``sweeps/start.py``, and returns at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.config.schema import LaunchConfig
from mimickit_hydra.files import write_text_atomic
from mimickit_hydra.runs.jobs import Jobs
from mimickit_hydra.runs.manifest import FROZEN
from mimickit_hydra.runs.snapshot import Frozen
from mimickit_hydra.runs.state import QUEUED, RunState, birth, read_state, write_state
from mimickit_hydra.sweeps.launcher import LaunchError
from mimickit_hydra.sweeps.report import shown
from mimickit_hydra.sweeps.schema import PackedLaunchConfig, SlurmLaunchConfig, TmuxLaunchConfig


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
    _refuse_busy(files)
    for file in files:
        _mark_queued(file.parent, launch.launcher)
    if isinstance(launch, SlurmLaunchConfig):
        from mimickit_hydra.sweeps.slurm import submit_slurm

        job_ids = submit_slurm(launch, files, name=name, cwd=cwd)
    elif isinstance(launch, TmuxLaunchConfig):
        from mimickit_hydra.sweeps.tmux import submit_tmux

        job_ids = submit_tmux(launch, files, cwd=cwd)
    elif isinstance(launch, PackedLaunchConfig):
        from mimickit_hydra.sweeps.packed import submit_packed

        job_ids = submit_packed(launch, files, cwd=cwd)
    else:
        raise LaunchError(f"launch={launch.launcher}: runs are submitted with launch=packed, tmux or slurm")
    submitted = [Submitted(file.parent, job_id) for file, job_id in zip(files, job_ids, strict=True)]
    for entry in submitted:
        _name_job(entry, launch.launcher)
    return submitted


def _refuse_busy(files: Sequence[Path]) -> None:
    """LaunchError where somebody runs one of them already, or will: its state is not to be written over."""
    jobs = Jobs()
    for file in files:
        state = read_state(file.parent)
        if state is not None and jobs.is_busy(state):
            who = f"{state.launcher} {state.job_id}" if state.job_id else f"process {state.pid} on {state.host}"
            raise LaunchError(
                f"{shown(file.parent)}: {state.state} already ({who}); wait for it, or mimickit cancel it"
            )


def _mark_queued(run_dir: Path, launcher: str) -> None:
    """Write the state ``queued`` before the submission, so that a job that starts at once is not overwritten."""
    found = read_state(run_dir) or RunState()
    write_state(run_dir, RunState(QUEUED, launcher=launcher, samples=found.samples, starts=found.starts))


def _name_job(entry: Submitted, launcher: str) -> None:
    """Note the job's name, unless the run has started meanwhile and noted it itself."""
    found = read_state(entry.run_dir)
    if found is not None and found.state == QUEUED and found.job_id is None:
        born = birth(int(entry.job_id)) if launcher == "packed" else None
        state = RunState(QUEUED, launcher=launcher, starts=found.starts, job_id=entry.job_id, job_born=born)
        write_state(entry.run_dir, state)


def submit_one(frozen: Frozen) -> None:
    """Submit a run whose directory exists."""
    run_dir = Path(str(frozen.run.out_dir))
    write_text_atomic(run_dir / FROZEN, frozen.text)
    submit_and_say(frozen.run.launch, [run_dir / FROZEN], name=run_dir.name, cwd=os.getcwd())


def submit_and_say(launch: LaunchConfig, frozen: Sequence[Path], *, name: str, cwd: str) -> None:
    """Submit, and print a line with the job and the directory of each run."""
    submitted = submit(launch, frozen, name=name, cwd=cwd)
    word = {"slurm": "job", "tmux": "session", "packed": "process"}[launch.launcher]
    for entry in submitted:
        print(f"submitted   {word} {entry.job_id}  {shown(entry.run_dir)}")
    folder = shown(Path(os.path.commonpath([str(entry.run_dir) for entry in submitted])))
    print(f"look at it with: mimickit status {folder}", flush=True)
