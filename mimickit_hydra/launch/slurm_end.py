"""The end of the batch script: a run whose tasks were killed cannot say so itself."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mimickit_hydra.launch.slurm_job import SlurmJob
from mimickit_hydra.runtime.lock import job_id
from mimickit_hydra.runtime.state_file import FAILED, QUEUED, RUNNING, RunState, read_state, update_state


def teardown(folder: Path | str) -> list[str]:
    """Shell lines after ``srun``."""
    call = shlex.join([sys.executable, "-m", "mimickit_hydra.launch.slurm_end", str(folder)])
    return ["code=$?", f'[ "$code" = 0 ] || {call} "$code"', 'exit "$code"']


def main(arguments: Sequence[str]) -> int:
    """``FOLDER CODE``: how ``srun`` ended, for the job of this environment whose files are in ``FOLDER``."""
    from submitit.core.utils import DelayedSubmission, JobPaths

    folder, code = arguments[0], int(arguments[1])
    job = DelayedSubmission.load(JobPaths(folder, job_id=str(job_id())).submitted_pickle).function
    assert isinstance(job, SlurmJob)
    run_dir = Path(job.frozen).parent
    state = read_state(run_dir)
    if state is not None and (state.state in (QUEUED, RUNNING) or _knows_less(state)):
        update_state(run_dir, state=FAILED, error=_reason(state, code, folder))
    return 0


def _knows_less(state: RunState) -> bool:
    """The first task only saw that another one was gone."""
    return state.state == FAILED and state.error is not None and "lost contact with another one" in state.error


def _reason(state: RunState, code: int, folder: str) -> str:
    how = f"signal {code - 128}" if code > 128 else f"exit code {code}"
    memory = " (out of memory?)" if code == 137 else ""
    when = " before the run began" if state.state == QUEUED else ""
    return f"a task of job {job_id()} ended with {how}{memory}{when}; what srun said is in {folder}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
