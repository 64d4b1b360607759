"""One process per entry of ``devices``: rank 0 in this process, the others spawned.

With a single device no process group exists and nothing is spawned. With several, the group meets through a file, so
no port can be taken by somebody else; the back end is gloo when every device is the CPU and NCCL otherwise.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mimickit_hydra.agents.comm import Comm
from mimickit_hydra.config.errors import UserError

COLLECTIVE_TIMEOUT = timedelta(minutes=10)

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


def launch(worker: Worker, devices: Sequence[str], *args: Any) -> Any:
    """Run ``worker(comm, device, *args)`` once per device and return what rank 0 returned.

    Raises whatever rank 0 raised. When another rank dies, this process says so and ends too, rather than waiting in a
    collective for ever.
    """
    parsed = check_devices(devices)
    if len(parsed) == 1:
        _use(parsed[0])
        return worker(Comm(), parsed[0], *args)
    with tempfile.TemporaryDirectory(prefix="mimickit_rendezvous_") as folder:
        store = str(Path(folder) / "store")
        context = mp.get_context("spawn")
        children: list[Any] = []
        try:
            for rank in range(1, len(parsed)):
                child = context.Process(
                    target=_rank_main, args=(worker, rank, list(devices), store, args), daemon=True, name=f"rank{rank}"
                )
                child.start()
                children.append(child)
            _watch(children)
            result = _rank_run(worker, 0, parsed, store, args)
            for child in children:
                child.join(60)
            return result
        finally:
            for child in children:
                if child.is_alive():
                    child.kill()
                child.join(10)


def _rank_main(worker: Worker, rank: int, devices: list[str], store: str, args: tuple[Any, ...]) -> None:
    _rank_run(worker, rank, check_devices(devices), store, args)


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
    try:
        return worker(Comm(), device, *args)
    finally:
        dist.destroy_process_group()


def _use(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
        # TF32 costs no accuracy that a policy update could notice and doubles the speed of its matrix products.
        torch.backends.cuda.matmul.allow_tf32 = True


def _watch(children: list[Any]) -> None:
    """End this process when a child has died with an error: the collective it owes us would never come."""

    def watch() -> None:
        for sentinel_child in children:
            sentinel_child.join()
            if sentinel_child.exitcode not in (0, None):
                print(
                    f"error: process {sentinel_child.name} ended with exit code {sentinel_child.exitcode}; "
                    "its own message is above. All processes of this run stop.",
                    flush=True,
                )
                for child in children:
                    if child.is_alive():
                        child.kill()
                os._exit(1)

    threading.Thread(target=watch, daemon=True, name="rank-watch").start()
