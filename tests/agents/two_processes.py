"""Runs a function in two processes of one group or more, as a training on several devices does."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

WORLD = 2
JOIN_SECONDS = 240

Exercise = Callable[[int], dict[str, Any]]


def run_both(exercise: Exercise, folder: Path, world: int = WORLD) -> list[dict[str, Any]]:
    """What ``exercise(rank)``, a function of a module, returns in each process: tensors and plain values."""
    context = mp.get_context("spawn")
    processes = [
        context.Process(target=_run_rank, args=(exercise, rank, world, str(folder)), daemon=True)
        for rank in range(world)
    ]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(JOIN_SECONDS)
        errors = "".join(path.read_text() for path in folder.glob("error*.txt"))
        assert [process.exitcode for process in processes] == [0] * world, errors
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(world)]


def _run_rank(exercise: Exercise, rank: int, world: int, folder: str) -> None:
    """Results and errors go to files, so that nothing can block."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    try:
        torch.save(exercise(rank), Path(folder) / f"rank{rank}.pt")
    except Exception:
        (Path(folder) / f"error{rank}.txt").write_text(traceback.format_exc())
        raise
    finally:
        dist.destroy_process_group()
