"""The end of the batch script, which records a failure that the killed tasks could not record themselves."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mimickit_hydra.runs.lock import job_id
from mimickit_hydra.runs.state import FAILED, QUEUED, RUNNING, RunState, read_state, update_state
from mimickit_hydra.sweeps.slurm_job import SlurmJob


def teardown(folder: Path | str) -> list[str]:
    """Shell lines that follow ``srun`` in the batch script."""
    return ["code=$?", f'[ "$code" = 0 ] || {_call(folder)} "$code"', 'exit "$code"']


def checked(setup: Sequence[str], folder: Path | str) -> list[str]:
    """The lines of ``launch.setup``, and around them what ends the job with the first of them that fails.

    What fails inside a file that a line sources is that file's own affair, and a line may say ``|| true``.
    """
    end = f'echo "launch.setup: failed with exit code $code: $line" >&2; {_call(folder)} "$code" "$line"; exit "$code"'
    trap = f'code=$? line=$BASH_COMMAND; [ "${{#BASH_SOURCE[@]}}" -gt 1 ] || {{ {end}; }}'
    return [f"trap {shlex.quote(trap)} ERR", *setup, "trap - ERR"]


def _call(folder: Path | str) -> str:
    return shlex.join([sys.executable, "-m", "mimickit_hydra.sweeps.slurm_end", str(folder)])


def main(arguments: Sequence[str]) -> int:
    """Record how the job ended. Arguments: ``FOLDER CODE [LINE]``.

    The folder of the job's files, the exit code of ``srun``, or of the line of ``launch.setup`` that failed.
    """
    from submitit.core.utils import DelayedSubmission, JobPaths

    folder, code = arguments[0], int(arguments[1])
    job = DelayedSubmission.load(JobPaths(folder, job_id=str(job_id())).submitted_pickle).function
    assert isinstance(job, SlurmJob)
    run_dir = Path(job.frozen).parent
    state = read_state(run_dir)
    if state is not None and state.job_id not in (None, job_id()):
        return 0  # another job is at it, which this one has found there
    if state is not None and (state.state in (QUEUED, RUNNING) or _knows_less(state)):
        update_state(
            run_dir,
            state=FAILED,
            error=_setup_failed(arguments[2], code) if arguments[2:] else _reason(state, code, folder),
        )
    return 0


def _knows_less(state: RunState) -> bool:
    """Whether the recorded reason is only that another task was gone."""
    return state.state == FAILED and state.error is not None and "lost contact with another one" in state.error


def _setup_failed(line: str, code: int) -> str:
    return f"launch.setup: a line of it ended with exit code {code}, so the run did not begin: {line}"


def _reason(state: RunState, code: int, folder: str) -> str:
    how = f"signal {code - 128}" if code > 128 else f"exit code {code}"
    memory = " (out of memory?)" if code == 137 else ""
    when = " before the run began" if state.state == QUEUED else ""
    return f"a task of job {job_id()} ended with {how}{memory}{when}; what srun said is in {folder}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
