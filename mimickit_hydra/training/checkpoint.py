"""Checkpoints: complete, atomic, verified, and read without executing anything they contain.

``run_dir/checkpoints`` holds ``ckpt_<iteration>.pt`` of the last iterations, ``last.pt`` and ``best.pt`` (other names
of one of them) and ``best.json`` (whose metric that was). Process ``r > 0`` writes ``ckpt_<iteration>.rank<r>.pt``.
A replay buffer, up to a gigabyte that only the next iteration needs, lies beside the newest: ``replay_<iteration>.pt``.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.files import TMP_SUFFIX, link_atomic, write_atomic, write_text_atomic
from mimickit_hydra.foreign import one_line, read_json, read_torch

FOLDER = "checkpoints"
BEST = "best.json"
_NAME = re.compile(r"\.?(?:ckpt|replay)_(\d{10,})(?:\.rank(\d+))?\.pt")


class CheckpointError(UserError):
    """A checkpoint that cannot be written or read; the message is one line."""


class LoadedCheckpoint(NamedTuple):
    payload: dict[str, Any]
    path: Path
    warnings: list[str]  # one line for each newer checkpoint that had to be passed over


def checkpoint_path(run_dir: Path, iteration: int, rank: int = 0) -> Path:
    """The file of one iteration and process."""
    suffix = "" if rank == 0 else f".rank{rank}"
    return Path(run_dir) / FOLDER / f"ckpt_{iteration:010d}{suffix}.pt"


def list_checkpoints(run_dir: Path, rank: int = 0) -> list[Path]:
    """The checkpoints of one process, oldest first, whatever is in them."""
    return [path for path in _own_files(Path(run_dir) / FOLDER, "ckpt_*.pt", rank) if _NAME.fullmatch(path.name)]


def _own_files(folder: Path, pattern: str, rank: int) -> list[Path]:
    """The files of one process that match a glob pattern, oldest first."""
    found = [(match, path) for path in folder.glob(pattern) if (match := _NAME.match(path.name))]
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if int(match[2] or 0) == rank)]


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def replay_path(checkpoint: Path) -> Path:
    """The file of the replay buffer that belongs to a checkpoint."""
    return checkpoint.with_name(checkpoint.name.replace("ckpt_", "replay_", 1))


def has_complete_checkpoint(run_dir: Path, world_size: int) -> bool:
    """Whether all processes have written their file of some iteration, whatever is in it."""
    return any(
        all(checkpoint_path(run_dir, int(path.stem.split("_")[1]), rank).exists() for rank in range(1, world_size))
        for path in list_checkpoints(run_dir)
    )


def refuse_other_processes(run_dir: Path, processes: int) -> None:
    """UserError for a run whose checkpoints another number of processes wrote: each has environments of its own.

    Where not all processes have written their first file yet, nothing is lost by beginning again.
    """
    folder = Path(run_dir) / FOLDER
    seen = [int(match[2] or 0) for path in folder.glob("ckpt_*.pt") if (match := _NAME.fullmatch(path.name))]
    if not seen or max(seen) + 1 == processes:
        return
    writers = _processes_of(run_dir) or max(seen) + 1
    if writers != processes:
        raise UserError(
            f"{run_dir}: its checkpoints are of {_counted(writers)}, each with environments, buffers and random "
            f"numbers of its own, and cannot be resumed by {_counted(processes)}; use as many devices as before, or "
            f"begin with its weights: --from {run_dir} model_file={run_dir}"
        )


def _counted(processes: int) -> str:
    return f"{processes} process{'es' if processes > 1 else ''}"


def _processes_of(run_dir: Path) -> int | None:
    """How many processes wrote the newest checkpoint that can be read."""
    for path in reversed(list_checkpoints(run_dir)):
        with contextlib.suppress(CheckpointError):
            found = load_file(path, mmap=True).get("world_size")
            return found if isinstance(found, int) else None
    return None


def save_checkpoint(
    run_dir: Path,
    payload: Mapping[str, Any],
    *,
    iteration: int,
    metric: float | None,
    under: Mapping[str, Any] | None = None,
    keep_last: int = 2,
    rank: int = 0,
    keep_int: bool = False,
) -> Path:
    """Write one checkpoint, read it back, then drop those older than the ``keep_last`` newest.

    ``payload`` may hold tensors, numbers, strings and containers of them, nothing else. ``metric`` (larger is better)
    decides whether this is also ``best.pt``; what was best ``under`` other conditions does not count. With ``keep_int``
    another name ``int_models/ckpt_<iteration>.pt`` keeps it for good. CheckpointError when it cannot be written; older
    checkpoints are untouched then.
    """
    path = checkpoint_path(run_dir, iteration, rank)

    def write() -> None:
        _write_checkpoint(path, payload, rank)
        if rank == 0:
            link_atomic(path, path.parent / "last.pt")
            _update_best(path, iteration, metric, under)
        if keep_int:
            folder = Path(run_dir) / "int_models"
            folder.mkdir(exist_ok=True)
            link_atomic(path, folder / path.name)

    try:
        _again_where_removed(write)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint of iteration {iteration} was not kept: {error}") from None
    except (OSError, RuntimeError) as error:
        raise CheckpointError(_write_failure(path, error, run_dir, rank)) from error
    _rotate(run_dir, path, max(keep_last, 1), rank)
    _rotate_replays(run_dir, path, rank, several=payload.get("world_size", 1) != 1)
    return path


def _write_checkpoint(path: Path, payload: Mapping[str, Any], rank: int) -> None:
    """The file of a checkpoint and that of its replay buffer, in a folder that is made."""
    extra, rest = _with_replay(payload), dict(payload)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in ("ckpt", "replay"):  # of a process that was killed while it wrote
        for leftover in _own_files(path.parent, f".{name}_*{TMP_SUFFIX}", rank):
            _remove(leftover)
    if extra is not None:
        write_atomic(replay_path(path), lambda file: torch.save(extra["replay"], file), check=_verify)
        rest["agent"] = {**payload["agent"], "extra": {**extra, "replay": replay_path(path).name}}
    write_atomic(path, lambda file: torch.save(rest, file), check=_verify)


def _again_where_removed(write: Callable[[], None], attempts: int = 5) -> None:
    """Call ``write``, again where its files are removed under its hands: who removes a directory comes to an end."""
    for left in reversed(range(attempts)):
        try:
            return write()
        except (CheckpointError, OSError, RuntimeError) as error:
            if left == 0 or not _is_of_a_missing_file(error):
                raise
            time.sleep(0.1)


def _is_of_a_missing_file(error: BaseException | None) -> bool:
    """Whether a file or folder that was not there caused ``error``."""
    while error is not None and not isinstance(error, FileNotFoundError):
        error = error.__cause__ or error.__context__
    return error is not None


def save_model(path: Path, state_dict: Mapping[str, Any]) -> Path:
    """Write bare weights (MimicKit's ``model.pt`` layout) atomically; CheckpointError when that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda file: torch.save(state_dict, file), check=_verify)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"cannot write {path}: {one_line(error)}") from error
    return path


def _verify(path: Path) -> None:
    """CheckpointError unless every byte of the archive has its checksum and the content loads as plain data."""
    load_file(path, mmap=True)


def _rotate(run_dir: Path, newest: Path, keep: int, rank: int) -> None:
    """Delete checkpoints older than the newest ``keep``, and later ones, which a resume has passed over as damaged."""
    paths = list_checkpoints(run_dir, rank)
    if newest not in paths:  # the directory was removed since; the next save notices
        return
    position = paths.index(newest)
    for path in paths[: max(0, position + 1 - keep)] + paths[position + 1 :]:
        _remove(path)


def _rotate_replays(run_dir: Path, newest: Path, rank: int, *, several: bool) -> None:
    """Keep the newest replay buffer; of several processes, which may not be equally far, that of each checkpoint."""
    kept = {replay_path(path) for path in (list_checkpoints(run_dir, rank) if several else [newest])}
    for path in _own_files(newest.parent, "replay_*.pt", rank):
        if path not in kept:
            _remove(path)


def _with_replay(payload: Mapping[str, Any]) -> Any:
    """The part of a payload whose ``replay`` is a replay buffer, on the disk the name of its file; None without one."""
    agent = payload.get("agent")
    extra = agent.get("extra") if isinstance(agent, Mapping) else None
    return extra if isinstance(extra, Mapping) and "replay" in extra else None


def _update_best(path: Path, iteration: int, metric: float | None, under: Mapping[str, Any] | None) -> None:
    if metric is None or not math.isfinite(metric):
        return
    best = read_best(path.parent.parent)
    if best is None or best.under != under or metric > best.metric:
        link_atomic(path, path.parent / "best.pt")
        found = {"metric": metric, "iteration": iteration, "under": under}
        write_text_atomic(path.parent / BEST, json.dumps(found) + "\n")


class Best(NamedTuple):
    """The metric of ``best.pt``, and the conditions it was reached under; None where nothing says."""

    metric: float
    under: Any


def read_best(run_dir: Path) -> Best | None:
    """What ``best.pt`` of a run was best at; None where there is none or nothing says."""
    folder = Path(run_dir) / FOLDER
    try:
        found = read_json(folder / BEST)
        return Best(float(found["metric"]), found.get("under")) if (folder / "best.pt").exists() else None
    except (UserError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def put_best_aside(run_dir: Path, earlier: Path) -> None:
    """Move the best checkpoint to the record of the earlier start that it was the best of."""
    (earlier / FOLDER).mkdir(parents=True, exist_ok=True)
    for name in ("best.pt", BEST):
        source = Path(run_dir) / FOLDER / name
        if source.exists():
            os.replace(source, earlier / FOLDER / name)


def _write_failure(path: Path, error: Exception, run_dir: Path, rank: int) -> str:
    kept = list_checkpoints(run_dir, rank)
    rest = f"; {kept[-1]} is still good" if kept else ""
    # torch's writer hides the reason when the disk is full; the error it answers to has it.
    reason = error if isinstance(error, OSError) else error.__context__ or error
    return f"cannot write checkpoint {path}: {one_line(reason)}{rest}"


def load_checkpoint(
    path_or_run_dir: Path | str, *, rank: int = 0, world_size: int = 1, map_location: Any = "cpu", replay: bool = True
) -> LoadedCheckpoint:
    """Read a checkpoint file, or the newest good one of a run directory.

    In a run directory a damaged checkpoint is passed over for the one before it, with a line that says so. A checkpoint
    counts as good when the files of all ``world_size`` processes are, so that all processes choose the same one.
    Nothing in the file is executed: content other than tensors and plain values is refused. A replay buffer that is
    gone or damaged is left out, with a line; without ``replay``, or from a single file, it is not read. CheckpointError
    when there is nothing to load.
    """
    path = Path(path_or_run_dir)
    if path.is_dir():
        return _load_newest(path, rank, world_size, map_location, replay)
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; expected a checkpoint file or a run directory")
    return LoadedCheckpoint(_read(path, map_location, None), path, [])


def _read(path: Path, map_location: Any, warnings: list[str] | None) -> dict[str, Any]:
    """The content of a checkpoint; with its replay buffer where ``warnings`` can say that this is not to be had."""
    payload = load_file(path, map_location=map_location)
    extra = _with_replay(payload)
    if extra is not None and isinstance(extra["replay"], str):
        del extra["replay"]
        if warnings is not None:
            try:
                extra["replay"] = load_file(replay_path(path), map_location=map_location)
            except CheckpointError as error:
                warnings.append(f"{error}; going on with an empty replay buffer")
    return payload


def load_file(path: Path, *, map_location: Any = "cpu", mmap: bool = False) -> dict[str, Any]:
    """The content of one file; CheckpointError saying what is wrong with it."""
    try:
        payload = read_torch(path, map_location=map_location, mmap=mmap)
    except UserError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(payload, dict):
        raise CheckpointError(f"{path} holds a {type(payload).__name__}, expected a dictionary")
    return payload


def _load_newest(run_dir: Path, rank: int, world_size: int, map_location: Any, replay: bool) -> LoadedCheckpoint:
    if run_dir.name == FOLDER:
        run_dir = run_dir.parent
    candidates = list_checkpoints(run_dir)
    if not candidates:
        raise CheckpointError(f"{run_dir} has no checkpoints (looked for {FOLDER}/ckpt_*.pt)")
    warnings: list[str] = []
    for index, newest in reversed(list(enumerate(candidates))):
        iteration = int(newest.stem.split("_")[1])
        try:
            for other in range(world_size):
                if other != rank:
                    load_file(checkpoint_path(run_dir, iteration, other), mmap=True)
            path = checkpoint_path(run_dir, iteration, rank)
            return LoadedCheckpoint(_read(path, map_location, warnings if replay else None), path, warnings)
        except CheckpointError as error:
            rest = f"falling back to {candidates[index - 1].name}" if index else "there is none before it"
            warnings.append(f"checkpoint {error}; {rest}")
    raise CheckpointError(f"{run_dir} has no good checkpoint: {warnings[0]}")
