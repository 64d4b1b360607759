"""Writes checkpoints while training goes on: the state is copied, and a thread writes the copy.

Writing, flushing and reading back takes seconds for a method with a replay buffer; copying into buffers that are kept
from one checkpoint to the next takes a small part of that. The thread touches no GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.distributed import Comm
from mimickit_hydra.training.checkpoint import save_checkpoint


class CheckpointSaver:
    """One checkpoint at a time, of one process. All processes of a run call :meth:`save` together.

    A context: at its end the last checkpoint is complete, or its error is raised.
    """

    def __init__(self, run_dir: Path, comm: Comm, under: Mapping[str, Any] | None = None) -> None:
        self.last: Path | None = None  # the newest that is complete
        self._run_dir = run_dir
        self._comm = comm
        self._under = under  # conditions of the metric
        self._copy: Any = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> CheckpointSaver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join()  # what went wrong before is what is said

    def save(
        self, payload: Mapping[str, Any], *, iteration: int, metric: float | None, keep_int: bool, wait: bool
    ) -> None:
        """Copy ``payload`` and write it as :func:`save_checkpoint` does; return at once unless ``wait``.

        Raises what went wrong with the checkpoint before, and with this one when it is waited for.
        """
        self.wait()
        # Nobody replaces an older checkpoint before all processes have the one that follows it.
        self._comm.barrier()
        self._copy = snapshot(payload, self._copy)
        self._thread = threading.Thread(
            target=self._write, args=(self._copy, iteration, metric, keep_int), name="checkpoint"
        )
        self._thread.start()
        if wait:
            self.wait()
            self._comm.barrier()

    def check(self) -> None:
        """Raise what went wrong with a checkpoint that is no longer being written; costs nothing."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Wait until the checkpoint being written is complete. CheckpointError if it could not be kept."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, payload: Mapping[str, Any], iteration: int, metric: float | None, keep_int: bool) -> None:
        try:
            self.last = save_checkpoint(
                self._run_dir,
                payload,
                iteration=iteration,
                metric=metric,
                under=self._under,
                rank=self._comm.rank,
                keep_int=keep_int,
            )
        except BaseException as error:
            self._error = error


def snapshot(value: Any, buffers: Any = None) -> Any:
    """A copy of containers of tensors and plain values, tensors on the CPU.

    ``buffers`` is an earlier copy whose tensors are written over where they fit.
    """
    devices: set[torch.device] = set()
    copied = _copied(value, buffers, devices)
    for device in devices:
        torch.cuda.synchronize(device)
    return copied


def _copied(value: Any, old: Any, devices: set[torch.device]) -> Any:
    if isinstance(value, Tensor):
        fits = isinstance(old, Tensor) and (old.shape, old.dtype) == (value.shape, value.dtype)
        new = old if fits else torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
        if value.is_cuda:
            devices.add(value.device)
        return new.copy_(value.detach(), non_blocking=value.is_cuda)
    if isinstance(value, Mapping):
        known = old if isinstance(old, Mapping) else {}
        return {key: _copied(item, known.get(key), devices) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        before = list(old) if isinstance(old, (list, tuple)) else []
        before += [None] * (len(value) - len(before))
        return type(value)(_copied(item, earlier, devices) for item, earlier in zip(value, before, strict=False))
    return value
