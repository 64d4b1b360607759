"""Starts one process for each entry of ``devices``: rank 0 in this process, the others spawned.

With a single device no process group exists and nothing is spawned. With several, the group meets through a file, so
no port can be taken by somebody else; the back end is gloo when every device is the CPU and NCCL otherwise.

Under ``torchrun`` or ``srun`` the processes exist already: each reads its place from their environment variables, takes
one device of its node and spawns nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mimickit_hydra.distributed import Comm
from mimickit_hydra.errors import UserError
from mimickit_hydra.screen import lasting
from mimickit_hydra.training.outside import Task, outside_task
from mimickit_hydra.waiting import waiting_for

LOST_CONTACT = "lost contact with another one, which has ended; see what that one printed"
STOP = "All processes of this run stop."
COLLECTIVE_TIMEOUT = timedelta(minutes=10)
LOST_EXIT_CODE = 3  # of a process that ended because another one had
GRACE = 5.0  # s that a process gets to end by itself once another one has failed
LONGEST_END_S = 30.0  # that a process whose connections have closed may take to end, on a machine that has much to do
_ASKING = threading.Lock()  # of two threads that ask how a child ended, one is told, to the other it seems to run

Worker = Callable[..., Any]  # worker(comm, device, *args)


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
            with waiting_for("the other processes of this run to end"):
                _join(children, 60.0)
            return result
        except RuntimeError as error:
            if not _is_lost_contact(error):
                raise
            done.set()
            raise UserError(_who_ended(children) or f"rank 0 {LOST_CONTACT}") from error
        finally:
            done.set()
            _join(children, GRACE)
            for child in children:
                child.kill()
            _join(children, 10.0)
            if dist.is_initialized():  # after an error: leaving the group while others are in it can take half a minute
                dist.destroy_process_group()


def _join(children: Sequence[Any], seconds: float) -> None:
    """Wait for all of them together."""
    end = time.monotonic() + seconds
    running = {child.sentinel: child for child in children}
    while running and (ended := wait(list(running), max(0.0, end - time.monotonic()))):
        _take(running, ended)


def _take(running: dict[int, Any], ended: Sequence[Any]) -> None:
    with _ASKING:
        for sentinel in ended:
            running.pop(sentinel).join()  # its pipe closes a moment before it has an exit code


def _rank_main(worker: Worker, rank: int, devices: list[str], store: str, args: tuple[Any, ...]) -> None:
    _end_with_root(rank)
    try:
        with lasting():
            _rank_run(worker, rank, check_devices(devices), store, args)
    except Exception as error:
        with lasting():
            code = _say_error(rank, error)
        os._exit(code)  # the end of an interpreter waits for half a minute at times, for the group it has left


def _end_with_root(rank: int) -> None:
    """End this process soon after rank 0's was killed: NCCL would wait for it on the GPU until its time limit."""
    root = multiprocessing.parent_process()
    assert root is not None

    def watch() -> None:
        wait([root.sentinel])
        time.sleep(GRACE)
        _say_if_root_is_gone(rank)
        os._exit(LOST_EXIT_CODE)

    threading.Thread(target=watch, daemon=True, name="root-watch").start()


def _say_if_root_is_gone(rank: int) -> None:
    """One line for all processes, said by rank 1; silence while rank 0 is there."""
    root = multiprocessing.parent_process()
    # A process that is killed closes its files one after the other: its connections can be gone a moment before it is.
    if rank == 1 and root is not None and wait([root.sentinel], GRACE / 2):
        print(f"error: process rank0 was killed. {STOP}", file=sys.stderr, flush=True)


def _say_error(rank: int, error: Exception) -> int:
    """One line for the user, or the traceback of a bug; returns the exit code."""
    from mimickit_hydra.config.messages import one_line

    if isinstance(error, RuntimeError) and _is_lost_contact(error):
        _say_if_root_is_gone(rank)
        return LOST_EXIT_CODE  # whoever failed says why
    line = one_line(error)
    if line is None:
        traceback.print_exception(error)
    else:
        print(f"rank {rank}: {line}", file=sys.stderr)
    return 1


def _rank_run(worker: Worker, rank: int, devices: list[torch.device], store: str, args: tuple[Any, ...]) -> Any:
    device = devices[rank]
    _join_group(device, f"file://{store}", rank, len(devices))
    result = worker(Comm(), device, *args)
    dist.destroy_process_group()
    return result


def _run_task(worker: Worker, task: Task, devices: Sequence[str], args: tuple[Any, ...]) -> Any:
    device = _device_of(task, devices)
    meeting = f"tcp://{task.address}:{task.port}" if "TORCHELASTIC_RUN_ID" not in os.environ else "env://"
    _join_group(device, meeting, task.rank, task.world_size)
    try:
        return worker(Comm(), device, *args)
    except RuntimeError as error:
        if _is_lost_contact(error):
            raise UserError(f"process {task.rank} of {task.world_size} {LOST_CONTACT}") from error
        raise
    finally:
        dist.destroy_process_group()


def _is_lost_contact(error: RuntimeError) -> bool:
    """Whether the error of gloo or NCCL, in its many wordings, means that another process is gone."""
    text = str(error).lower()
    gone = re.search("connection (reset|closed|refused)|broken pipe|timed out|remote process", text)
    return isinstance(error, dist.DistBackendError) or ("gloo" in text and gone is not None)


def _device_of(task: Task, devices: Sequence[str]) -> torch.device:
    """The device of this task: the entry of ``devices`` with its number on its node; one entry stands for all.

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


def _join_group(device: torch.device, meeting: str, rank: int, world_size: int) -> None:
    _use(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    with waiting_for(f"the {world_size - 1} other processes of this run to join process {rank}"):
        dist.init_process_group(
            backend, init_method=meeting, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT
        )


def _use(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
        # TF32 costs no accuracy that a policy update could notice and doubles the speed of its matrix products.
        torch.set_float32_matmul_precision("high")


def _who_ended(children: Sequence[Any]) -> str | None:
    """A line about the process that contact was lost with, which may still be writing its message."""
    _join(children, GRACE)
    if (line := _who_failed(children)) is None:
        _join(children, LONGEST_END_S)
        line = _who_failed(children)
    return line


def _who_failed(children: Sequence[Any]) -> str | None:
    """A line about the process that failed first, as far as exit codes tell."""
    with _ASKING:
        failed = [child for child in children if child.exitcode not in (0, None)]
    if not failed:
        return None
    first = next((child for child in failed if child.exitcode != LOST_EXIT_CODE), failed[0])
    code = first.exitcode
    how = f"ended with exit code {code}; its own message is above" if code > 0 else f"was killed by {_signal(-code)}"
    return f"process {first.name} {how}. {STOP}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # of the real-time ones
        return f"signal {number}"


def _watch(children: list[Any], done: threading.Event, on_lost: Callable[[str], None] | None) -> None:
    """End this process when a child has died with an error that it does not notice by itself."""

    def watch() -> None:
        line, running = None, {child.sentinel: child for child in children}
        while line is None and running:
            _take(running, wait(list(running)))
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
