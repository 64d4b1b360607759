"""Random state, signals and the run directory."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.runs.directory import (
    RunDirError,
    add_versions,
    git_state,
    newest_start,
    prepare_run_dir,
    versions,
    write_run_files,
)
from mimickit_hydra.runs.snapshot import freeze, read_frozen
from mimickit_hydra.training.checkpoint import load_checkpoint, save_checkpoint
from mimickit_hydra.training.rng import rng_state, seed_everything, set_rng_state
from mimickit_hydra.training.signals import Stopped, StopSignal


def draw() -> tuple:
    return random.random(), float(np.random.standard_normal()), torch.rand(3).tolist()


def test_rng_state_round_trip_through_a_checkpoint(tmp_path: Path) -> None:
    seed_everything(2**40 + 7)
    np.random.standard_normal()  # leaves the cached second normal behind
    save_checkpoint(tmp_path, {"rng": rng_state()}, iteration=0, metric=None)
    expected = [draw() for _ in range(5)]
    seed_everything(1)
    set_rng_state(load_checkpoint(tmp_path).payload["rng"])
    assert [draw() for _ in range(5)] == expected


def test_seed_repeats() -> None:
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first


def test_a_signal_that_came_early_is_heard_inside() -> None:
    told: list[str] = []
    with StopSignal() as outer:
        with StopSignal(lambda: told.append("first")) as inner:
            assert not inner.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer.requested
        with StopSignal(lambda: told.append("second")) as inner:
            assert (inner.requested, inner.name) == (True, "SIGTERM")
            with pytest.raises(Stopped), inner.immediate():
                raise AssertionError("not reached")
    assert told == ["second"]
    with StopSignal() as after:
        assert not after.requested


def test_a_signal_during_an_import_of_a_compiled_module_is_not_taken_for_its_failure() -> None:
    def importing() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        except BaseException as error:
            raise ImportError("initialization failed") from error  # as pybind11 does

    with StopSignal() as stop, pytest.raises(Stopped), stop.immediate():
        importing()
    with StopSignal() as stop, pytest.raises(ImportError), stop.immediate():
        raise ImportError("initialization failed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_signal(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        assert stop.name == number.name
        os.kill(os.getpid(), signal.SIGTERM)  # once more does no harm
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) == before


def test_run_dir_new_used_resume(tmp_path: Path) -> None:
    path = prepare_run_dir(tmp_path / "a" / "run")
    assert path.is_dir()
    (path / ".hydra").mkdir()
    prepare_run_dir(path)  # Hydra's own files do not count
    write_run_files(path, "mode: train\n", ["method=deepmimic", "num_envs=4"])
    assert (path / "overrides.txt").read_text() == "method=deepmimic\nnum_envs=4\n"
    assert (path / "config.yaml").read_text() == "mode: train\n"
    assert "python" in json.loads((path / "versions.json").read_text())
    assert (path / "git.txt").read_text()
    with pytest.raises(RunDirError, match=r"already holds a run \(found config.yaml\); continue it with resume="):
        prepare_run_dir(path)
    prepare_run_dir(path, resume=True)  # killed before its first checkpoint: begins again
    (tmp_path / "other").mkdir()
    with pytest.raises(RunDirError, match="no checkpoints"):
        prepare_run_dir(tmp_path / "other", resume=True)
    save_checkpoint(path, {}, iteration=0, metric=None)
    prepare_run_dir(path, resume=True)
    assert write_run_files(path, "mode: other\n", []) == path / "starts" / "1"
    assert (path / "starts" / "1" / "config.yaml").read_text() == "mode: train\n"
    assert (path / "starts" / "1" / "overrides.txt").read_text() == "method=deepmimic\nnum_envs=4\n"
    assert write_run_files(path, "mode: other\n", []) is None  # the same again is no history
    assert write_run_files(path, "mode: third\n", []) == path / "starts" / "2" == newest_start(path)
    add_versions(path, "engine=isaac_gym", {"python": "3.8.18"})
    assert json.loads((path / "versions.json").read_text())["engine=isaac_gym"] == {"python": "3.8.18"}
    assert "engine=isaac_gym" not in json.loads((path / "starts" / "2" / "versions.json").read_text())
    assert (path / "config.yaml").read_text() == "mode: third\n"


def test_a_launcher_starts_a_resumed_run_with_its_newest_config(tmp_path: Path) -> None:
    before, now = (
        freeze(to_run(compose([*words, "rand_seed=1"])), {}, words)
        for words in (["launch=slurm", "launch.partition=gpu"], ["max_samples=7", "launch=local"])
    )
    (tmp_path / "config.yaml").write_text(before.text)
    (tmp_path / "frozen.yaml").write_text(before.text)
    write_run_files(tmp_path, now.text, [])
    found = read_frozen(tmp_path / "frozen.yaml").run
    assert found.max_samples == 7
    assert found.launch == before.run.launch


def test_run_dir_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match=r"out_dir=.* cannot be written to"):
        prepare_run_dir(tmp_path / "file" / "run")
    (tmp_path / "run_12").mkdir()
    with pytest.raises(RunDirError, match=r"no such directory; did you mean .*run_12"):
        prepare_run_dir(tmp_path / "run_13", resume=True)


def test_git_state_without_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision, _ = git_state()
    assert len(revision.splitlines()[0]) == 40 or "no git" in revision
    monkeypatch.setenv("PATH", "")
    assert git_state() == ("no git repository\n", "")
    assert versions()["platform"]


def test_the_build_of_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata of its CUDA builds has the bare version."""
    monkeypatch.setattr(torch, "__version__", "9.9.0+cu130")
    assert versions()["torch"] == "9.9.0+cu130"
