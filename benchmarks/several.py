"""What benchmarks of several processes share: their devices, whether all ended equal, and what averaging costs.

A **head** has its gradient in one flat vector, so there is one average a gradient step and head, of that many bytes.
*alone* is what all averages of an iteration take when nothing else goes on; *in iterations* is what they took between
the steps, waiting for the slowest process included; *other* are the collectives besides (statistics, the log's row).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

REPEATS = 3
COLLECTIVES = ("all_reduce_mean_", "all_reduce_sum_", "all_reduce_min_", "broadcast_")


def counts(text: str) -> list[int]:
    """The numbers of devices of ``--devices``, e.g. 1,2,4,8."""
    found = [int(part) if part.isdigit() else 0 for part in text.split(",")]
    if min(found) < 1 or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"found {text!r}, must be different numbers of devices, e.g. 1,2,4,8")
    return found


def check_devices(parser: argparse.ArgumentParser, device: str, most: int) -> None:
    """End with one line where this machine does not have ``most`` devices like ``device``."""
    from mimickit_hydra.errors import UserError
    from mimickit_hydra.training.processes import check_devices as check

    try:
        check(devices_of(device, most))
    except UserError as error:
        parser.error(str(error))


def devices_of(device: str, count: int) -> list[str]:
    """``count`` devices like ``device``: processes on the CPU, or GPUs from it on."""
    kind, _, first = device.partition(":")
    return [kind if kind == "cpu" else f"{kind}:{int(first or 0) + number}" for number in range(count)]


def equality(agent: Any) -> dict[str, Any]:
    """Whether weights, statistics and optimisers are bit for bit equal on all ranks, by a checksum of each rank."""
    mine = checksum([agent.model_state_dict(), *(part.exact_state() for part in agent._normalizers().values()),
                     *(optimizer.state_dict() for optimizer in agent.optimizers.values())])  # fmt: skip
    found: list[Any] = [mine]
    if agent.comm.world_size > 1:
        found = [None] * agent.comm.world_size
        dist.all_gather_object(found, mine)
    return {"equal": len(set(found)) == 1, "sha256": found}


def checksum(value: Any) -> str:
    """Of all tensors and plain values in nested containers, with their names."""
    digest = hashlib.sha256()
    for name, leaf in _leaves(value, ""):
        digest.update(name.encode())
        if isinstance(leaf, torch.Tensor):
            digest.update(f"{leaf.dtype} {tuple(leaf.shape)}".encode())
            digest.update(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(repr(leaf).encode())
    return digest.hexdigest()[:16]


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        value = list(value.items())
    elif isinstance(value, list | tuple):
        value = list(enumerate(value))
    else:
        yield name, value
        return
    for key, entry in value:
        yield from _leaves(entry, f"{name}/{key}")


def by_rank(agent: Any, seconds: float) -> list[float]:
    """A number of each rank, on all of them."""
    found = torch.zeros(agent.comm.world_size, dtype=torch.float64, device=agent.device)
    found[agent.comm.rank] = seconds
    return list(agent.comm.all_reduce_sum_(found).tolist())


def averaging(agent: Any, iterate: Callable[[], Any], wait: Callable[[], None]) -> dict[str, Any]:
    """What averaging gradients costs an iteration, by head; ``wait`` waits for the device. Trains on.

    Every rank calls it, and gets its own times.
    """
    watch = Watch(agent)
    before = {name: optimizer.steps for name, optimizer in agent.optimizers.items()}
    seconds = []
    with watch:
        for _ in range(REPEATS):
            wait()
            began = time.perf_counter()
            iterate()
            wait()
            seconds.append(time.perf_counter() - began)
    spent = watch.seconds()
    heads = []
    for name, optimizer in agent.optimizers.items():
        steps = round((optimizer.steps - before[name]) / REPEATS)
        alone = _alone(optimizer, steps, wait)
        heads.append(
            {
                "head": name, "bytes": optimizer.flat_grad.numel() * optimizer.flat_grad.element_size(),
                "averages": steps, "alone_ms": 1e3 * alone, "in_iteration_ms": 1e3 * spent.get(name, 0.0) / REPEATS,
            }
        )  # fmt: skip
    iteration, alone = statistics.mean(seconds), sum(head["alone_ms"] for head in heads) / 1e3
    within = sum(head["in_iteration_ms"] for head in heads) / 1e3
    return {
        "average_s": alone, "average_share": alone / iteration, "in_iteration_s": within,
        "in_iteration_share": within / iteration, "other_collectives_s": spent.get("other", 0.0) / REPEATS,
        "watched_iteration_s": iteration, "heads": heads,
    }  # fmt: skip


def _alone(optimizer: Any, steps: int, wait: Callable[[], None]) -> float:
    """Seconds of ``steps`` averages of a head, the second time."""
    seconds = 0.0
    for _ in range(2):
        optimizer.comm.barrier()
        wait()
        began = time.perf_counter()
        for _ in range(steps):
            optimizer.average_grad()
        wait()
        seconds = time.perf_counter() - began
    return seconds


class Watch:
    """Context in which the time of every collective of an agent is noted, by head or as ``other``."""

    def __init__(self, agent: Any) -> None:
        self._comm, self._device = agent.comm, agent.device
        self._heads = {optimizer.flat_grad.data_ptr(): name for name, optimizer in agent.optimizers.items()}
        self._spans: list[tuple[str, Any, Any]] = []

    def __enter__(self) -> None:
        for name in COLLECTIVES:
            setattr(self._comm, name, partial(self._timed, getattr(self._comm, name)))

    def __exit__(self, *_: object) -> None:
        for name in COLLECTIVES:
            with contextlib.suppress(AttributeError):
                delattr(self._comm, name)  # the method of the class is visible again

    def _timed(self, function: Callable[[torch.Tensor], torch.Tensor], tensor: torch.Tensor) -> torch.Tensor:
        began = self._now()
        result = function(tensor)
        self._spans.append((self._heads.get(tensor.data_ptr(), "other"), began, self._now()))
        return result

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # the stream waits for the collective, the host does not
        event.record()
        return event

    def seconds(self) -> dict[str, float]:
        """By name, once the device is done."""
        total: dict[str, float] = {}
        for name, began, ended in self._spans:
            took = ended - began if self._device.type != "cuda" else began.elapsed_time(ended) / 1e3
            total[name] = total.get(name, 0.0) + took
        return total


def times_one(rows: list[dict[str, Any]], same: tuple[str, ...], of: Callable[[dict[str, Any]], float | None]) -> None:
    """``times_one`` into every row of several devices: ``of`` it over that of the row of one, alike in ``same``."""
    for row in rows:
        one = [other for other in rows if other["devices"] == 1 and all(other.get(k) == row.get(k) for k in same)]
        if row["devices"] > 1 and one and (mine := of(row)) and (first := of(one[0])):
            row["times_one"] = mine / first
