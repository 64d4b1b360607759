"""One process per entry of ``devices``: rank 0 in this process, the others spawned.

With a single device no process group exists and nothing is spawned. With several, the group meets through a file, so
no port can be taken by somebody else; the back end is gloo when every device is the CPU and NCCL otherwise.

Under ``torchrun`` or ``srun`` the processes exist already: each reads its place from their environment variables, takes
one device of its node and spawns nothing.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mimickit_hydra.agents.comm import Comm
from mimickit_hydra.config.errors import UserError

LOST_CONTACT = "lost contact with another one, which has ended; see what that one printed"
COLLECTIVE_TIMEOUT = timedelta(minutes=10)
LOST_EXIT_CODE = 3  # of a process that ended because another one had
GRACE = 5.0  # s that a process gets to end by itself once another one has failed

Worker = Callable[..., Any]  # worker(comm, device, *args)


@dataclass(frozen=True)
class Task:
    """This process among those that a launcher outside started for one run."""

    rank: int
    world_size: int
    local_rank: int  # among those of its node
    address: str
    port: int


def outside_task(environ: Mapping[str, str] = os.environ) -> Task | None:
    """The place that ``torchrun`` or ``srun`` gave this process, or None if it is on its own.

    A batch script that calls no ``srun`` is one process, whatever number of tasks its job has. UserError for variables
    that are no numbers.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        rank, world = _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
        local = _number(environ, "LOCAL_RANK", rank)
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


def check_devices(devices: Sequence[str]) -> list[torch.device]:
    """Parse device strings; UserError for one that torch does not know or this machine does not have."""
    if not devices:
        raise UserError("devices is empty; allowed: a list such as [cpu] or [cuda:0,cuda:1]")
    parsed = [_parse(text) for text in devices]
    kinds = {device.type for device in parsed}
    if len(kinds) > 1:
        raise UserError(f"devices mixes {' and '.join(sorted(kinds))}; all entries must be of one kind")
    return parsed


def _parse(text: str) -> torch.device:
    try:
        device = torch.device(text)
    except RuntimeError:
        raise UserError(f"devices: {text!r} is not a device; allowed: cpu, cuda:0, cuda:1 ...") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            have = f"{count} CUDA device{'s' if count > 1 else ''}" if count else "no CUDA device"
            raise UserError(f"devices: {text!r} was asked for, but this machine has {have}; try devices=[cpu]")
    elif device.type != "cpu":
        raise UserError(f"devices: {text!r} is not supported; allowed: cpu, cuda:0, cuda:1 ...")
    return device


def launch(
    worker: Worker,
    devices: Sequence[str],
    *args: Any,
    single: bool = False,
    on_lost: Callable[[str], None] | None = None,
) -> Any:
    """Run ``worker(comm, device, *args)`` once per device and return what rank 0 returned.

    Under a launcher outside, run it in this process as one of its tasks; with ``single`` in its first alone, and the
    others return None. Raises whatever rank 0 raised, and UserError where another rank died. Should rank 0 hang in a
    collective then, ``on_lost`` is called with the line, and this process ends.
    """
    task = outside_task()
    if task is not None and not single:
        return _run_task(worker, task, devices, args)
    if task is not None and task.rank > 0:
        return None
    parsed = check_devices(devices)
    if len(parsed) == 1:
        _use(parsed[0])
        return worker(Comm(), parsed[0], *args)
    with tempfile.TemporaryDirectory(prefix="mimickit_rendezvous_") as folder:
        store = str(Path(folder) / "store")
        context = mp.get_context("spawn")
        children: list[Any] = []
        done = threading.Event()
        try:
            for rank in range(1, len(parsed)):
                child = context.Process(
                    target=_rank_main, args=(worker, rank, list(devices), store, args), daemon=True, name=f"rank{rank}"
                )
                child.start()
                children.append(child)
            _watch(children, done, on_lost)
            result = _rank_run(worker, 0, parsed, store, args)
            _join(children, 60.0)
            return result
        except RuntimeError as error:
            if not _is_lost_contact(error):
                raise
            _join(children, GRACE)  # the one that failed may still be writing its message
            raise UserError(_who_failed(children) or f"rank 0 {LOST_CONTACT}") from error
        finally:
            done.set()
            _join(children, GRACE)
            for child in children:
                if child.is_alive():
                    child.kill()
                child.join(10)
            if dist.is_initialized():  # after an error: leaving the group while others are in it can take half a minute
                dist.destroy_process_group()


def _join(children: Sequence[Any], seconds: float) -> None:
    """Wait for all of them together."""
    end = time.monotonic() + seconds
    for child in children:
        child.join(max(0.0, end - time.monotonic()))


def _rank_main(worker: Worker, rank: int, devices: list[str], store: str, args: tuple[Any, ...]) -> None:
    try:
        _rank_run(worker, rank, check_devices(devices), store, args)
    except Exception as error:
        code = _say_error(rank, error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # the end of an interpreter waits for half a minute at times, for the group it has left


def _say_error(rank: int, error: Exception) -> int:
    """One line for the user, or the traceback of a bug; returns the exit code."""
    from mimickit_hydra.config.one_line import one_line

    if isinstance(error, RuntimeError) and _is_lost_contact(error):
        return LOST_EXIT_CODE  # whoever failed says why
    line = one_line(error)
    if line is None:
        traceback.print_exception(error)
    else:
        print(f"rank {rank}: {line}", file=sys.stderr)
    return 1


def _rank_run(worker: Worker, rank: int, devices: list[torch.device], store: str, args: tuple[Any, ...]) -> Any:
    device = devices[rank]
    _use(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=len(devices),
        timeout=COLLECTIVE_TIMEOUT,
    )
    result = worker(Comm(), device, *args)
    dist.destroy_process_group()
    return result


def _run_task(worker: Worker, task: Task, devices: Sequence[str], args: tuple[Any, ...]) -> Any:
    device = _device_of(task, devices)
    _use(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"tcp://{task.address}:{task.port}" if "TORCHELASTIC_RUN_ID" not in os.environ else "env://",
        rank=task.rank,
        world_size=task.world_size,
        timeout=COLLECTIVE_TIMEOUT,
    )
    try:
        return worker(Comm(), device, *args)
    except RuntimeError as error:
        if _is_lost_contact(error):
            raise UserError(f"process {task.rank} of {task.world_size} {LOST_CONTACT}") from error
        raise
    finally:
        dist.destroy_process_group()


def _is_lost_contact(error: RuntimeError) -> bool:
    """Whether another process is gone, in gloo's and NCCL's many words for it."""
    text = str(error).lower()
    words = (
        "connection reset",
        "connection closed",
        "connection refused",
        "broken pipe",
        "timed out",
        "remote process",
    )
    return isinstance(error, dist.DistBackendError) or ("gloo" in text and any(word in text for word in words))


def _device_of(task: Task, devices: Sequence[str]) -> torch.device:
    """The entry of ``devices`` with this task's number on its node; one entry stands for all of its kind.

    Where the launcher shows each task a GPU of its own, that one is ``cuda:0`` to every task.
    """
    parsed = check_devices(devices)
    if parsed[0].type == "cpu":
        return parsed[0]
    if torch.cuda.device_count() == 1:
        return torch.device("cuda:0")
    if len(parsed) > 1 and task.local_rank < len(parsed):
        return parsed[task.local_rank]
    if len(parsed) > 1 or task.local_rank >= torch.cuda.device_count():
        raise UserError(
            f"process {task.local_rank} of its node has no GPU left: devices has {len(parsed)}, the node "
            f"{torch.cuda.device_count()}; start one process a GPU"
        )
    return torch.device("cuda", task.local_rank)


def _use(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
        # TF32 costs no accuracy that a policy update could notice and doubles the speed of its matrix products.
        torch.set_float32_matmul_precision("high")


def _who_failed(children: Sequence[Any]) -> str | None:
    """A line about the process that failed first, as far as exit codes tell."""
    failed = [child for child in children if child.exitcode not in (0, None)]
    if not failed:
        return None
    first = next((child for child in failed if child.exitcode != LOST_EXIT_CODE), failed[0])
    return (
        f"process {first.name} ended with exit code {first.exitcode}; its own message is above. "
        "All processes of this run stop."
    )


def _watch(children: list[Any], done: threading.Event, on_lost: Callable[[str], None] | None) -> None:
    """End this process when a child has died with an error and it does not notice: what the child owes never comes."""

    def watch() -> None:
        line, running = None, {child.sentinel: child for child in children}
        while line is None and running:
            for sentinel in wait(list(running)):
                running.pop(sentinel).join()  # its pipe closes a moment before it has an exit code
            line = _who_failed(children)
        if line is None or done.wait(GRACE):
            return
        print(f"error: {line}", file=sys.stderr, flush=True)
        if on_lost is not None:
            on_lost(line)
        for child in children:
            if child.is_alive():
                child.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="rank-watch").start()
