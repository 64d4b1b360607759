"""Runs whose processes ``torchrun``, ``srun`` or ``mpirun`` started: the rank of each, and what rank 0 tells all."""

from __future__ import annotations

import os
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mimickit_hydra.errors import UserError
from mimickit_hydra.waiting import waiting_for

_PATIENCE = timedelta(minutes=10)  # for the first process to say what is to be run
_OTHERS_S = 30.0  # s that the first process stays reachable for those that start later than it
_POLL_S = 0.05
# Rank, number of processes, rank and number on the node, as Open MPI and the family of MPICH set them
_MPI = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)
_kept: list[Any] = []


@dataclass(frozen=True)
class Task:
    """This process among those that a launcher outside started for one run."""

    rank: int
    world_size: int
    local_rank: int  # among those of its node
    address: str
    port: int


def outside_task(environ: Mapping[str, str] = os.environ) -> Task | None:
    """The place that ``torchrun``, ``srun`` or ``mpirun`` gave this process, or None if it is on its own.

    A batch script that calls no ``srun`` is one process, whatever number of tasks its job has. UserError for variables
    that are no numbers, and for ``mpirun`` over several nodes that does not say which the first one is.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        rank, world = _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
        local = _number(environ, "LOCAL_RANK", rank)
    elif mpi := next((names for names in _MPI[: 1 if "SLURM_PROCID" in environ else 2] if names[0] in environ), None):
        return _of_mpirun(environ, *(_number(environ, name, 0) for name in mpi))
    elif "SLURM_PROCID" in environ and "SLURM_STEP_NUM_TASKS" in environ:
        rank, world = _number(environ, "SLURM_PROCID"), _number(environ, "SLURM_STEP_NUM_TASKS")
        local = _number(environ, "SLURM_LOCALID", rank)
    else:
        return None
    if world == 1:
        return None
    address = environ.get("MASTER_ADDR") or _first_host(environ)
    job = _number(environ, "SLURM_JOB_ID", 0)
    return Task(rank, world, local, address, _number(environ, "MASTER_PORT", 20000 + job % 20000))


def _of_mpirun(environ: Mapping[str, str], rank: int, world: int, local: int, local_world: int) -> Task | None:
    """The processes of one ``mpirun`` meet at a port that its own number gives."""
    if world == 1:
        return None
    if 0 < local_world < world and "MASTER_ADDR" not in environ:
        raise UserError("MASTER_ADDR: mpirun over several nodes does not say where rank 0 is: add -x MASTER_ADDR=HOST")
    job = zlib.crc32(environ.get("PMIX_NAMESPACE", environ.get("PMI_JOBID", "")).encode())
    port = _number(environ, "MASTER_PORT", 20000 + job % 20000)
    return Task(rank, world, local, environ.get("MASTER_ADDR", "127.0.0.1"), port)


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name, "" if default is None else str(default))
    if not text.isdigit():
        raise UserError(f"the environment variable {name} is {text!r}; a launcher sets it to a whole number")
    return int(text)


def _first_host(environ: Mapping[str, str]) -> str:
    """The first node of a Slurm list such as ``gpu[003-007,12],cpu1``."""
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or "127.0.0.1"
    match = re.match(r"([^\[,]+)(?:\[(\w+)[^\]]*\]([^,]*))?", nodes)
    return "127.0.0.1" if match is None else "".join(part or "" for part in match.groups())


def is_first_process() -> bool:
    """Whether this is rank 0 among the processes that torchrun or Slurm started for one run."""
    task = outside_task()
    return task is None or task.rank == 0


def tell(task: Task, text: str) -> None:
    """Send ``text`` from rank 0 to the others, and wait until they have it, but not for long.

    The store ends with this process: were it to fail before the others have read, they would wait for it in vain.
    """
    with waiting_for(f"the {task.world_size - 1} other processes of this run to start"):
        store = _store(task)
        store.set("text", text)
        end = time.monotonic() + _OTHERS_S
        while store.add("read", 0) < task.world_size - 1 and time.monotonic() < end:
            time.sleep(_POLL_S)


def listen(task: Task) -> str:
    """Wait, on the other ranks, for the text that rank 0 tells."""
    with waiting_for(f"the first process of this run, at {task.address}:{task.port}, to say what is to be run"):
        store = _store(task)
        text = bytes(store.get("text")).decode()
        store.add("read", 1)
    return text


def _store(task: Task) -> Any:
    """The store for such texts: torchrun's own under a prefix; under srun one of rank 0's, on the next port."""
    import torch.distributed as dist

    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        store = dist.TCPStore(task.address, task.port, is_master=False, timeout=_PATIENCE)
        start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return dist.PrefixStore(f"mimickit_hydra/{start}", store)
    address, port = task.address, task.port + 1
    store = dist.TCPStore(address, port, is_master=task.rank == 0, timeout=_PATIENCE, wait_for_workers=False)
    _kept.append(store)  # the others may still be listening to the last answer
    return store
