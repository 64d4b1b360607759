"""Checkpoints: what is written comes back, damage is found and passed over, nothing is executed."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import shutil
from pathlib import Path

import pytest
import torch

from mimickit_hydra import files
from mimickit_hydra.errors import UserError
from mimickit_hydra.training import checkpoint as cp
from mimickit_hydra.training.checkpoint import CheckpointError, list_checkpoints, load_checkpoint, save_checkpoint


def payload(value: float) -> dict:
    return {"w": torch.full((1000,), float(value)), "n": 3, "name": "x", "nested": {"list": [1, 2.5, (3, None)]}}


def save(run_dir: Path, iteration: int, metric: float | None = None, **kwargs: object) -> Path:
    return save_checkpoint(run_dir, payload(iteration), iteration=iteration, metric=metric, **kwargs)


def loaded_value(path: Path, **kwargs: int) -> float:
    return float(load_checkpoint(path, **kwargs).payload["w"][0])


def names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def test_round_trip_and_rotation(tmp_path: Path) -> None:
    for iteration, metric in ((0, 1.0), (10, 5.0), (20, 2.0), (30, float("nan")), (40, None)):
        save(tmp_path, iteration, metric)
    assert names(tmp_path) == ["best.json", "best.pt", "ckpt_0000000030.pt", "ckpt_0000000040.pt", "last.pt"]
    found = load_checkpoint(tmp_path)
    assert found.path.name == "ckpt_0000000040.pt"
    assert found.warnings == []
    assert found.payload["nested"] == {"list": [1, 2.5, (3, None)]}
    assert torch.equal(found.payload["w"], torch.full((1000,), 40.0))
    assert loaded_value(tmp_path / "checkpoints" / "best.pt") == 10.0
    assert loaded_value(tmp_path / "checkpoints" / "last.pt") == 40.0
    assert loaded_value(tmp_path / "checkpoints") == 40.0


def test_same_iteration_twice(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save_checkpoint(tmp_path, payload(7.0), iteration=5, metric=None)
    assert loaded_value(tmp_path) == 7.0
    assert loaded_value(tmp_path / "checkpoints" / "last.pt") == 7.0
    assert names(tmp_path) == ["ckpt_0000000005.pt", "last.pt"]


def test_keep_int(tmp_path: Path) -> None:
    for iteration in range(5):
        save(tmp_path, iteration, keep_int=True)
    assert len(list((tmp_path / "int_models").iterdir())) == 5
    assert len(list_checkpoints(tmp_path)) == 2


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip_data_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((8,), 20.0).numpy().tobytes()) + 2] ^= 0x10
    path.write_bytes(data)


def zero_tail(path: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, size - 300)
    os.truncate(path, size)


@pytest.mark.parametrize("damage", [truncate, empty, flip_data_bit, zero_tail])
def test_damaged_newest_falls_back(tmp_path: Path, damage) -> None:
    save(tmp_path, 10)
    newest = save(tmp_path, 20)
    damage(newest)
    found = load_checkpoint(tmp_path)
    assert float(found.payload["w"][0]) == 10.0
    (line,) = found.warnings
    assert "ckpt_0000000020.pt" in line
    assert "falling back to ckpt_0000000010.pt" in line
    assert "\n" not in line
    with pytest.raises(CheckpointError, match="ckpt_0000000020"):
        load_checkpoint(newest)
    # The next save drops the damaged file and keeps the good one.
    save(tmp_path, 15)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["ckpt_0000000010.pt", "ckpt_0000000015.pt"]


def test_any_flipped_byte_is_found_or_harmless(tmp_path: Path) -> None:
    path = save(tmp_path, 20)
    good = path.read_bytes()
    for position in range(0, len(good), 97):
        data = bytearray(good)
        data[position] ^= 0xFF
        path.write_bytes(data)
        try:
            loaded = load_checkpoint(path).payload["w"]
        except CheckpointError:
            continue
        assert torch.equal(loaded, torch.full((1000,), 20.0))


def test_all_damaged(tmp_path: Path) -> None:
    for iteration in (1, 2):
        truncate(save(tmp_path, iteration))
    with pytest.raises(CheckpointError, match="no good checkpoint"):
        load_checkpoint(tmp_path)


class Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch " + str(Evil.mark),)

    mark: Path


@pytest.mark.parametrize("wrap", [False, True])
def test_malicious_pickle_is_refused(tmp_path: Path, wrap: bool) -> None:
    Evil.mark = tmp_path / "executed"
    path = tmp_path / "evil.pt"
    if wrap:
        torch.save({"w": Evil()}, path)
    else:
        path.write_bytes(pickle.dumps({"w": Evil()}))
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert not Evil.mark.exists()
    assert "\n" not in str(error.value)
    if wrap:
        assert "system" in str(error.value)


def test_payload_that_would_not_load_is_refused_when_saved(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(CheckpointError, match="was not kept"):
        save_checkpoint(tmp_path, {"path": Path("x")}, iteration=2, metric=None)
    assert loaded_value(tmp_path) == 1.0
    assert names(tmp_path) == ["ckpt_0000000001.pt", "last.pt"]


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoints"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "none.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="expected a dictionary"):
        load_checkpoint(tmp_path / "list.pt")


def test_full_disk_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"No space left on device; .*ckpt_0000000001.pt is still good"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert names(tmp_path) == ["ckpt_0000000001.pt", "last.pt"]
    assert loaded_value(tmp_path) == 1.0


def test_write_that_really_fails_half_way(tmp_path: Path) -> None:
    save(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # python ignores SIGXFSZ, so writes fail with EFBIG
    try:
        with pytest.raises(CheckpointError, match="cannot write checkpoint") as error:
            save(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert names(tmp_path) == ["ckpt_0000000001.pt", "last.pt"]
    assert loaded_value(tmp_path) == 1.0


@pytest.mark.parametrize("where", ["write_atomic", "_verify", "link_atomic", "_update_best"])
def test_a_directory_removed_while_a_checkpoint_is_written(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written again, whole, whichever of its files was being written."""
    run_dir, removed = tmp_path / "run", []
    does = getattr(cp, where)

    def removing(*args: object, **kwargs: object) -> object:
        if not removed and list_checkpoints(run_dir):
            removed.append(shutil.rmtree(run_dir))
        return does(*args, **kwargs)

    save(run_dir, 1, 1.0)
    monkeypatch.setattr(cp, where, removing)
    save(run_dir, 2, 2.0)
    assert removed
    assert names(run_dir) == ["best.json", "best.pt", "ckpt_0000000002.pt", "last.pt"]
    assert loaded_value(run_dir) == 2.0


def test_a_directory_removed_when_a_checkpoint_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = tmp_path / "run"
    save(run_dir, 1)
    monkeypatch.setattr(cp, "_update_best", lambda *args: shutil.rmtree(run_dir))
    save(run_dir, 2)  # the save after it makes the directory again
    monkeypatch.undo()
    save(run_dir, 3)
    assert names(run_dir) == ["ckpt_0000000003.pt", "last.pt"]


def test_leftovers_of_a_killed_writer_go(tmp_path: Path) -> None:
    save(tmp_path, 1)
    leftover = tmp_path / "checkpoints" / f".ckpt_0000000002.pt.99{files.TMP_SUFFIX}"
    leftover.write_bytes(b"half")
    save(tmp_path, 3)
    assert not leftover.exists()


def test_ranks_choose_the_same_checkpoint(tmp_path: Path) -> None:
    for iteration in (1, 2):
        for rank in (0, 1):
            save(tmp_path, iteration, rank=rank)
    assert [p.name for p in list_checkpoints(tmp_path, 1)] == ["ckpt_0000000001.rank1.pt", "ckpt_0000000002.rank1.pt"]
    assert loaded_value(tmp_path, rank=0, world_size=2) == 2.0
    truncate(cp.checkpoint_path(tmp_path, 2, 1))
    for rank in (0, 1):
        found = load_checkpoint(tmp_path, rank=rank, world_size=2)
        assert float(found.payload["w"][0]) == 1.0
        assert "rank1" in found.warnings[0]


@pytest.mark.parametrize(("wrote", "goes_on"), [(4, 2), (4, 1), (4, 8), (1, 4)], ids=lambda count: str(count))
def test_another_number_of_processes_is_refused(wrote: int, goes_on: int, tmp_path: Path) -> None:
    for rank in range(wrote):
        save_checkpoint(tmp_path, {**payload(1.0), "world_size": wrote}, iteration=1, metric=None, rank=rank)
    before = names(tmp_path)
    cp.refuse_other_processes(tmp_path, wrote)
    with pytest.raises(UserError) as refused:
        cp.refuse_other_processes(tmp_path, goes_on)
    line = str(refused.value)
    assert line.startswith(f"{tmp_path}: its checkpoints are of {wrote} process")
    assert f"cannot be resumed by {goes_on} process" in line
    assert len(line.splitlines()) == 1
    assert names(tmp_path) == before


def test_a_run_killed_in_its_first_checkpoint_may_begin_again_with_as_many_processes(tmp_path: Path) -> None:
    for rank in (0, 1):  # of four
        save_checkpoint(tmp_path, {**payload(1.0), "world_size": 4}, iteration=1, metric=None, rank=rank)
    cp.refuse_other_processes(tmp_path, 4)
    with pytest.raises(UserError, match="are of 4 processes"):
        cp.refuse_other_processes(tmp_path, 3)


def test_read_only_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file in the way")
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        save(tmp_path, 1)


# -------------------------------------------------------------------------------------------------------------- replay


def with_replay(value: float, world_size: int = 1) -> dict:
    replay = {"rows": torch.full((500, 8), value), "pushed": 500}
    return {"world_size": world_size, "agent": {"model": {"w": torch.ones(3)}, "extra": {"k": 1, "replay": replay}}}


def test_the_replay_lies_beside_the_newest_checkpoint_alone(tmp_path: Path) -> None:
    for iteration in (10, 20, 30):
        given = with_replay(iteration)
        save_checkpoint(tmp_path, given, iteration=iteration, metric=-float(iteration), keep_int=True)
        assert given["agent"]["extra"]["replay"]["pushed"] == 500  # what was given is as it was
    assert [name for name in names(tmp_path) if "replay" in name] == ["replay_0000000030.pt"]
    assert all(path.stat().st_size < 8000 for path in (tmp_path / "int_models").iterdir())
    found = load_checkpoint(tmp_path)
    assert found.warnings == []
    assert torch.equal(found.payload["agent"]["extra"]["replay"]["rows"], torch.full((500, 8), 30.0))
    assert load_checkpoint(tmp_path / "checkpoints" / "best.pt").payload["agent"]["extra"] == {"k": 1}


@pytest.mark.parametrize("damage", [truncate, Path.unlink])
def test_a_replay_that_is_lost_is_left_out(damage: object, tmp_path: Path) -> None:
    for iteration in (10, 20):
        save_checkpoint(tmp_path, with_replay(iteration), iteration=iteration, metric=None)
    damage(tmp_path / "checkpoints" / "replay_0000000020.pt")
    found = load_checkpoint(tmp_path)
    assert found.path.name == "ckpt_0000000020.pt"
    assert found.payload["agent"]["extra"] == {"k": 1}
    (line,) = found.warnings
    assert "replay_0000000020.pt" in line
    assert line.endswith("going on with an empty replay buffer")
    save_checkpoint(tmp_path, with_replay(30.0), iteration=30, metric=None)
    assert load_checkpoint(tmp_path).warnings == []


def test_with_several_processes_every_checkpoint_keeps_its_replay(tmp_path: Path) -> None:
    for iteration in (10, 20, 30):
        for rank in (0, 1):
            given = with_replay(iteration + rank, world_size=2)
            save_checkpoint(tmp_path, given, iteration=iteration, metric=None, rank=rank)
    cp.checkpoint_path(tmp_path, 30, 1).unlink()  # the other process was killed before it was there
    for rank in (0, 1):
        found = load_checkpoint(tmp_path, rank=rank, world_size=2).payload
        assert float(found["agent"]["extra"]["replay"]["rows"][0, 0]) == 20.0 + rank
