"""Checkpoints: complete, atomic, verified, and read without running anything they contain.

``run_dir/checkpoints`` holds ``ckpt_<iteration>.pt`` of the last iterations, ``last.pt`` and ``best.pt`` (other names
of one of them) and ``best.json`` (whose metric that was). Process ``r > 0`` writes ``ckpt_<iteration>.rank<r>.pt``.
A replay buffer, up to a gigabyte that only the next iteration needs, lies beside the newest: ``replay_<iteration>.pt``.
"""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.runtime.files import TMP_SUFFIX, link_atomic, write_atomic, write_text_atomic

FOLDER = "checkpoints"
_NAME = re.compile(r"ckpt_(\d{10,})(?:\.rank(\d+))?\.pt")
_REPLAY_NAME = re.compile(r"replay_(\d{10,})(?:\.rank(\d+))?\.pt")
_REPLAY = ("agent", "extra", "replay")  # where a payload has its replay buffer, and then the name of its file


class CheckpointError(UserError):
    """A checkpoint cannot be written or read; the message is one line."""


class LoadedCheckpoint(NamedTuple):
    payload: dict[str, Any]
    path: Path
    warnings: list[str]  # one line for each newer checkpoint that had to be passed over


def checkpoint_path(run_dir: Path, iteration: int, rank: int = 0) -> Path:
    """File of one iteration and process."""
    suffix = "" if rank == 0 else f".rank{rank}"
    return Path(run_dir) / FOLDER / f"ckpt_{iteration:010d}{suffix}.pt"


def list_checkpoints(run_dir: Path, rank: int = 0) -> list[Path]:
    """Checkpoints of one process, the oldest first. Their content is not looked at."""
    found = []
    for path in (Path(run_dir) / FOLDER).glob("ckpt_*.pt"):
        match = _NAME.fullmatch(path.name)
        if match and int(match.group(2) or 0) == rank:
            found.append((int(match.group(1)), path))
    return [path for _, path in sorted(found)]


def replay_path(checkpoint: Path) -> Path:
    """Where the replay buffer of a checkpoint lies."""
    return checkpoint.with_name(checkpoint.name.replace("ckpt_", "replay_", 1))


def has_complete_checkpoint(run_dir: Path, world_size: int) -> bool:
    """Whether all processes have written the file of some iteration; that each is good is not looked at."""
    return any(
        all(checkpoint_path(run_dir, int(path.stem.split("_")[1]), rank).exists() for rank in range(1, world_size))
        for path in list_checkpoints(run_dir)
    )


# ----------------------------------------------------------------------------------------------------------------- save


def save_checkpoint(
    run_dir: Path,
    payload: Mapping[str, Any],
    *,
    iteration: int,
    metric: float | None,
    keep_last: int = 2,
    rank: int = 0,
    keep_int: bool = False,
) -> Path:
    """Write one checkpoint, read it back, then drop those older than the ``keep_last`` newest.

    ``payload`` may hold tensors, numbers, strings and containers of them, nothing else. ``metric`` (larger is better)
    decides whether this is also ``best.pt``. With ``keep_int`` another name ``int_models/ckpt_<iteration>.pt`` keeps it
    for good. CheckpointError when it cannot be written; older checkpoints are untouched then.
    """
    path = checkpoint_path(run_dir, iteration, rank)
    rest, replay = _without_replay(payload, replay_path(path).name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_leftovers(path.parent, rank)
        if replay is not None:
            write_atomic(replay_path(path), lambda file: torch.save(replay, file), check=_verify)
        write_atomic(path, lambda file: torch.save(rest, file), check=_verify)
        if rank == 0:
            link_atomic(path, path.parent / "last.pt")
            _update_best(path, iteration, metric)
        if keep_int:
            folder = Path(run_dir) / "int_models"
            folder.mkdir(exist_ok=True)
            link_atomic(path, folder / path.name)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint of iteration {iteration} was not kept: {error}") from None
    except (OSError, RuntimeError) as error:
        raise CheckpointError(_write_failure(path, error, run_dir, rank)) from error
    _rotate(run_dir, path, max(keep_last, 1), rank)
    _rotate_replays(run_dir, path, rank, several=payload.get("world_size", 1) != 1)
    return path


def save_model(path: Path, state_dict: Mapping[str, Any]) -> Path:
    """Write bare weights (MimicKit's ``model.pt`` layout) atomically; CheckpointError when that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda file: torch.save(state_dict, file), check=_verify)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"cannot write {path}: {_one_line(error)}") from error
    return path


def _verify(path: Path) -> None:
    """CheckpointError unless every byte of the archive has its checksum and the content loads as plain data."""
    load_file(path, mmap=True)


def _rotate(run_dir: Path, newest: Path, keep: int, rank: int) -> None:
    """Keep ``newest`` and those before it; later ones are damaged files that a resume has passed over."""
    paths = list_checkpoints(run_dir, rank)
    position = paths.index(newest)
    for path in paths[: max(0, position + 1 - keep)] + paths[position + 1 :]:
        with contextlib.suppress(OSError):
            path.unlink()


def _rotate_replays(run_dir: Path, newest: Path, rank: int, *, several: bool) -> None:
    """Keep the newest; with several processes, which may not all have got that far, those of every checkpoint."""
    kept = {replay_path(path) for path in (list_checkpoints(run_dir, rank) if several else [newest])}
    for path in newest.parent.glob("replay_*.pt"):
        match = _REPLAY_NAME.fullmatch(path.name)
        if match and int(match.group(2) or 0) == rank and path not in kept:
            with contextlib.suppress(OSError):
                path.unlink()


def _without_replay(payload: Mapping[str, Any], name: str) -> tuple[dict[str, Any], Any]:
    """The payload with ``name`` in place of its replay buffer, and the buffer, or None if it has none."""
    top, middle, key = _REPLAY
    agent = payload.get(top)
    extra = agent.get(middle) if isinstance(agent, Mapping) else None
    if not isinstance(agent, Mapping) or not isinstance(extra, Mapping) or key not in extra:
        return dict(payload), None
    return {**payload, top: {**agent, middle: {**extra, key: name}}}, extra[key]


def _update_best(path: Path, iteration: int, metric: float | None) -> None:
    if metric is None or not math.isfinite(metric):
        return
    record = path.parent / "best.json"
    best = _best_metric(record) if (path.parent / "best.pt").exists() else -math.inf
    if metric > best:
        link_atomic(path, path.parent / "best.pt")
        write_text_atomic(record, json.dumps({"metric": metric, "iteration": iteration}) + "\n")


def _best_metric(record: Path) -> float:
    try:
        return float(json.loads(record.read_text(encoding="utf-8"))["metric"])
    except (OSError, ValueError, KeyError, TypeError):
        return -math.inf


def _drop_leftovers(folder: Path, rank: int) -> None:
    """Remove temporary files of a process that was killed while it wrote."""
    for path in (*folder.glob(f".ckpt_*{TMP_SUFFIX}"), *folder.glob(f".replay_*{TMP_SUFFIX}")):
        match = _NAME.match(path.name[1:]) or _REPLAY_NAME.match(path.name[1:])
        if match and int(match.group(2) or 0) == rank:
            with contextlib.suppress(OSError):
                path.unlink()


def _write_failure(path: Path, error: Exception, run_dir: Path, rank: int) -> str:
    kept = list_checkpoints(run_dir, rank)
    rest = f"; {kept[-1]} is still good" if kept else ""
    # torch's writer hides the reason when the disk is full; the error it answers to has it.
    reason = error if isinstance(error, OSError) else error.__context__ or error
    return f"cannot write checkpoint {path}: {_one_line(reason)}{rest}"


# ----------------------------------------------------------------------------------------------------------------- load


def load_checkpoint(
    path_or_run_dir: Path | str,
    *,
    rank: int = 0,
    world_size: int = 1,
    map_location: Any = "cpu",
    replay: bool = True,
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
    payload, _ = _take_replay(load_file(path, map_location=map_location))
    return LoadedCheckpoint(payload, path, [])


def load_file(path: Path, *, map_location: Any = "cpu", mmap: bool = False) -> dict[str, Any]:
    """Content of one file; CheckpointError saying what is wrong with it."""
    problem = _archive_problem(path)
    if problem is not None:
        raise CheckpointError(f"{path} {problem}")
    try:
        payload = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap or None)
    except pickle.UnpicklingError as error:
        what = _unsafe(error)
        raise CheckpointError(f"{path} is refused, it holds more than tensors and plain values: {what}") from None
    except MemoryError:
        raise
    except Exception as error:  # torch raises many kinds for damaged files
        raise CheckpointError(f"{path} is damaged: {_one_line(error)}") from None
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
            payload, has_replay = _take_replay(load_file(path, map_location=map_location))
            if has_replay and replay:
                _add_replay(payload, path, map_location, warnings)
            return LoadedCheckpoint(payload, path, warnings)
        except CheckpointError as error:
            rest = f"falling back to {candidates[index - 1].name}" if index else "there is none before it"
            warnings.append(f"checkpoint {error}; {rest}")
    raise CheckpointError(f"{run_dir} has no good checkpoint: {warnings[0]}")


def _take_replay(payload: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The payload without the name of its replay buffer's file, and whether there was one."""
    top, middle, key = _REPLAY
    agent = payload.get(top)
    extra = agent.get(middle) if isinstance(agent, dict) else None
    if not isinstance(extra, dict) or not isinstance(extra.get(key), str):
        return payload, False
    del extra[key]
    return payload, True


def _add_replay(payload: dict[str, Any], path: Path, map_location: Any, warnings: list[str]) -> None:
    top, middle, key = _REPLAY
    try:
        payload[top][middle][key] = load_file(replay_path(path), map_location=map_location)
    except CheckpointError as error:
        warnings.append(f"{error}; going on with an empty replay buffer")


def _archive_problem(path: Path) -> str | None:
    """What is wrong with the file as an archive (size, checksums), or None."""
    try:
        if path.stat().st_size == 0:
            return "is empty"
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except FileNotFoundError:
        return "does not exist"
    except IsADirectoryError:
        return "is a directory"
    except zipfile.BadZipFile:
        return "is truncated or not a checkpoint"
    except (OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return f"is damaged: {_one_line(error)}"
    except Exception as error:  # zlib.error and what else a flipped bit can cause
        return f"is damaged: {_one_line(error)}"
    return None if broken is None else f"is damaged: checksum of {broken} does not match"


def _unsafe(error: Exception) -> str:
    match = re.search(r"(?:GLOBAL|Unsupported (?:global|class|operand))[:\s]*(?:GLOBAL)?\s*([\w.]+)", str(error))
    return match.group(1) if match else _one_line(error)


def _one_line(error: object) -> str:
    text = " ".join(str(error).split())
    return (text[:200] + " ...") if len(text) > 200 else text or type(error).__name__


__all__ = [
    "CheckpointError", "LoadedCheckpoint", "checkpoint_path", "has_complete_checkpoint", "list_checkpoints",
    "load_checkpoint", "load_file", "save_checkpoint", "save_model",
]  # fmt: skip
