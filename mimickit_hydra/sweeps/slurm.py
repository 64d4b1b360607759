"""launch=slurm through submitit: one job for a single run, one array for several."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mimickit_hydra.sweeps.launcher import LaunchError, python_path
from mimickit_hydra.sweeps.schema import SlurmLaunchConfig
from mimickit_hydra.sweeps.slurm_end import checked, teardown
from mimickit_hydra.sweeps.slurm_job import SlurmJob
from mimickit_hydra.waiting import waiting_for

FOLDER = "slurm"  # submitit's files: the batch script, the pickled call, what was printed before the run's own log


def submit_slurm(launch: SlurmLaunchConfig, frozen: Sequence[Path], *, name: str, cwd: str) -> list[str]:
    """Submit and return the job ids, ``12`` or ``12_3`` of an array, in the order of ``frozen``."""
    if shutil.which("sbatch") is None:
        raise LaunchError("launch=slurm: no sbatch on this machine; submit from a login node of the cluster")
    try:
        import submitit
    except ImportError:
        raise LaunchError("launch=slurm needs the package submitit: pip install 'mimickit-hydra[launch]'") from None
    folder = _folder(frozen)
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=launch.max_timeouts)
    settings = parameters(launch, name=name, cwd=cwd)
    settings["setup"] = checked(settings["setup"], folder)
    executor.update_parameters(**settings, teardown=teardown(folder))
    jobs = [SlurmJob(str(path), launch.requeue, launch.max_timeouts, launch.signal_delay) for path in frozen]
    said = io.StringIO()
    try:
        with waiting_for("sbatch to take the job"), contextlib.redirect_stderr(said), executor.batch():
            submitted = [executor.submit(job) for job in jobs]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError, OSError) as error:
        raise LaunchError(f"launch=slurm: sbatch refused: {_reason(error)}") from None
    sys.stderr.write(said.getvalue())  # sbatch's warnings
    return [str(job.job_id) for job in submitted]


def parameters(launch: SlurmLaunchConfig, *, name: str, cwd: str) -> dict[str, Any]:
    """The launch settings as submitit's parameters."""
    tasks = launch.tasks or max(1, launch.gpus)
    optional = {
        "partition": launch.partition,
        "account": launch.account,
        "qos": launch.qos,
        "constraint": launch.constraint,
        "gpus_per_node": _gpus(launch),
    }
    requeue = {"requeue": True} if launch.requeue else {"no-requeue": True}
    further = {key: True if value.lower() == "true" else value for key, value in launch.sbatch.items()}
    return {
        **{key: value for key, value in optional.items() if value is not None},
        "job_name": name,
        "time": launch.time,
        "nodes": launch.nodes,
        "ntasks_per_node": tasks,
        "cpus_per_task": launch.cpus,
        "mem": launch.mem,
        "array_parallelism": launch.array_parallelism,
        "signal_delay_s": launch.signal_delay,
        "stderr_to_stdout": True,
        # When one process of several dies, the others would wait for it in a collective. And since Slurm 22.05 srun
        # no longer takes the number of cores from sbatch.
        "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={launch.cpus}"],
        "setup": [f"export PYTHONPATH={shlex.quote(python_path())}", *launch.setup],
        "additional_parameters": {**requeue, "chdir": cwd, **further},
    }


def _gpus(launch: SlurmLaunchConfig) -> int | str | None:
    """The value of Slurm's GPU option: ``4``, ``a100:4``, or None for none."""
    if not launch.gpus:
        return None
    return f"{launch.gpu_type}:{launch.gpus}" if launch.gpu_type else launch.gpus


def _folder(frozen: Sequence[Path]) -> Path:
    """The folder of submitit's files: in the run directory of a single run, in the sweep's directory for several."""
    if len(frozen) == 1:
        return frozen[0].parent / FOLDER
    return Path(os.path.commonpath([str(path.parent) for path in frozen])) / FOLDER


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line.removeprefix("sbatch: error: ") for line in lines if line.startswith(("sbatch:", "srun:"))]
    return "; ".join(list(dict.fromkeys(said)) or lines[-1:] or [type(error).__name__])
