"""Runs whose processes torchrun or Slurm starts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mimickit_hydra.errors import UserError
from mimickit_hydra.training.outside import Task, outside_task

ROOT = Path(__file__).resolve().parents[2]

WORKER = """
import sys, torch
from mimickit_hydra.training.processes import launch

def worker(comm, device, folder):
    total = comm.all_reduce_sum_(torch.tensor([comm.rank + 1.0]))
    open(f"{folder}/{comm.rank}", "w").write(f"{comm.rank}/{comm.world_size} {device} {float(total)}")

def alone(comm, device, folder):
    open(f"{folder}/alone{comm.rank}", "a").write(f"{comm.world_size};")

if __name__ == "__main__":
    launch(worker, ["cpu"], sys.argv[1])
    launch(alone, ["cpu"], sys.argv[1], single=True)
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "worker.py").write_text(WORKER)
    return tmp_path / "worker.py"


def clean_environment() -> dict[str, str]:
    dropped = ("SLURM_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def assert_two_tasks_met(folder: Path) -> None:
    assert (folder / "0").read_text() == "0/2 cpu 3.0"
    assert (folder / "1").read_text() == "1/2 cpu 3.0"
    assert (folder / "alone0").read_text() == "1;"
    assert not (folder / "alone1").exists()


def test_the_variables_of_mpi() -> None:
    ours = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
    found, other = (outside_task({**ours, "PMIX_NAMESPACE": name}) for name in ("a@1", "a@2"))
    assert found is not None
    assert other is not None
    assert (found.rank, found.world_size, found.local_rank, found.address) == (1, 2, 1, "127.0.0.1")
    assert found.port != other.port  # two on one machine do not meet
    assert outside_task({**ours, "OMPI_COMM_WORLD_SIZE": "1"}) is None
    mpich = outside_task({"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1"})
    assert mpich is not None
    assert (mpich.rank, mpich.world_size) == (1, 4)
    several = {**ours, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}
    with pytest.raises(UserError, match="MASTER_ADDR: mpirun over several nodes"):
        outside_task(several)
    assert outside_task({**several, "MASTER_ADDR": "n1"}).address == "n1"


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs Open MPI")
def test_mpirun(script: Path, tmp_path: Path) -> None:
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = ["mpirun", "--oversubscribe", "-n", "2", sys.executable, str(script), str(tmp_path)]
    subprocess.run(command, env={**clean_environment(), **allowed}, check=True, timeout=120)
    assert_two_tasks_met(tmp_path)


def test_torchrun(script: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1"]
    subprocess.run(
        [*command, f"--master_port={free_port()}", str(script), str(tmp_path)],
        check=True, timeout=120, env=clean_environment(), capture_output=True,
    )  # fmt: skip
    assert_two_tasks_met(tmp_path)


def test_slurm_tasks(script: Path, tmp_path: Path) -> None:
    """What srun sets for two tasks on one node, without Slurm."""
    common = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "127.0.0.1", "MASTER_PORT": str(free_port())}
    tasks = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)],
            env={**clean_environment(), **common, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        assert [task.wait(timeout=120) for task in tasks] == [0, 0]
    finally:
        for task in tasks:
            task.kill()
    assert_two_tasks_met(tmp_path)


def test_places_in_the_environment() -> None:
    assert outside_task({}) is None
    assert outside_task({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert outside_task({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"}) is None  # no srun
    torchrun = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node2", "MASTER_PORT": "29500"}
    assert outside_task(torchrun) == Task(5, 8, 1, "node2", 29500)
    srun = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "40017"}
    assert outside_task({**srun, "SLURM_STEP_NODELIST": "gpu[003-007,12],cpu1"}) == Task(3, 4, 1, "gpu003", 20017)
    assert outside_task({**srun, "SLURM_STEP_NODELIST": "alpha,beta"}) == Task(3, 4, 1, "alpha", 20017)


def test_a_broken_environment_is_said_in_one_line() -> None:
    with pytest.raises(UserError, match="RANK is 'first'"):
        outside_task({"RANK": "first", "WORLD_SIZE": "2"})
