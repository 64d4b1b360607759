"""Checkpoints in a thread: what is written is the state of the moment, and what goes wrong is said."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from mimickit_hydra.distributed import Comm
from mimickit_hydra.training import saver as saver_module
from mimickit_hydra.training.checkpoint import CheckpointError, list_checkpoints, load_checkpoint
from mimickit_hydra.training.saver import CheckpointSaver, snapshot

HOW = {"metric": None, "keep_int": False}


def test_a_snapshot_is_a_copy_that_reuses_its_buffers() -> None:
    live = {
        "a": torch.arange(4),
        "b": [torch.ones(2, dtype=torch.float64), (1, "x", None)],
        "c": {"d": torch.tensor(2)},
    }
    first = snapshot(live)
    pointers = [first["a"].data_ptr(), first["b"][0].data_ptr()]
    live["a"] += 10
    assert first["a"].tolist() == [0, 1, 2, 3]
    assert first["b"][1] == (1, "x", None)
    second = snapshot(live, first)
    assert second["a"].tolist() == [10, 11, 12, 13]
    assert [second["a"].data_ptr(), second["b"][0].data_ptr()] == pointers
    live["a"] = torch.zeros(3)  # another shape: another buffer
    live["b"].append(torch.ones(1))
    third = snapshot(live, second)
    assert third["a"].tolist() == [0, 0, 0]
    assert len(third["b"]) == 3


def test_training_goes_on_while_the_state_of_the_moment_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write, real = threading.Event(), saver_module.save_checkpoint

    def slow(*arguments: object, **options: object) -> Path:
        assert may_write.wait(10)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(saver_module, "save_checkpoint", slow)
    weights = torch.zeros(3)
    with CheckpointSaver(tmp_path, Comm()) as saver:
        saver.save({"weights": weights}, iteration=1, wait=False, **HOW)
        weights += 1
        assert saver.last is None
        assert not list_checkpoints(tmp_path)
        may_write.set()
        saver.wait()
        assert saver.last == list_checkpoints(tmp_path)[-1]
        assert load_checkpoint(tmp_path).payload["weights"].tolist() == [0, 0, 0]
        saver.save({"weights": weights}, iteration=2, wait=True, **HOW)
        assert load_checkpoint(tmp_path).payload["weights"].tolist() == [1, 1, 1]
        saver.save({"weights": weights + 1}, iteration=3, wait=False, **HOW)
    assert load_checkpoint(tmp_path).payload["weights"].tolist() == [2, 2, 2]


def test_a_checkpoint_that_cannot_be_written_is_said_later(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    saver = CheckpointSaver(tmp_path, Comm())
    saver.save({}, iteration=1, wait=False, **HOW)
    assert saver._thread is not None
    saver._thread.join()
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        saver.check()
    saver.check()  # once
    with pytest.raises(CheckpointError), saver:
        saver.save({}, iteration=2, wait=False, **HOW)
    with pytest.raises(ZeroDivisionError), saver:  # noqa: PT012  the first thing that went wrong is said
        saver.save({}, iteration=3, wait=False, **HOW)
        raise ZeroDivisionError
