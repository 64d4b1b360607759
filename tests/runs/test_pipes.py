"""A named pipe in the place of a file of a run is no file: whoever would read it waits for no writer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mimickit_hydra.cli.control import _print_rest
from mimickit_hydra.cli.status import logged_samples
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import sha256_of
from mimickit_hydra.mimickit.convert import _is_same_file
from mimickit_hydra.runs.directory import write_run_files
from mimickit_hydra.runs.files import read_files
from mimickit_hydra.runs.state import read_state
from mimickit_hydra.sweeps.runner import last_line, read_result

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("log.txt", "output.log", "result.json", "state.json", "frozen.yaml", "files.json", "clip.npz"):
        os.mkfifo(tmp_path / name)
    return tmp_path


def test_readers_of_a_run(folder: Path) -> None:
    assert logged_samples(folder) is None
    assert last_line(folder / "output.log") == ""
    assert read_result(folder) is None
    assert read_state(folder) is None
    with pytest.raises(UserError, match=r"files\.json: is no plain file"):
        read_files(folder)
    with pytest.raises(UserError, match=r"output\.log: is no plain file, not a file"):
        _print_rest(folder / "output.log", None)


def test_files_that_are_compared(folder: Path) -> None:
    with pytest.raises(UserError, match=r"clip\.npz: is no plain file"):
        sha256_of(folder / "clip.npz")
    assert not _is_same_file(folder / "clip.npz", str(folder / "clip.npz"))


@pytest.mark.parametrize("name", ["frozen.yaml", "files.json", "git.diff"])
def test_a_run_is_recorded_over_it(tmp_path: Path, name: str) -> None:
    assert write_run_files(tmp_path, "num_envs: 8\n", []) is None
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    write_run_files(tmp_path, "num_envs: 9\n", [])
    assert (tmp_path / "config.yaml").read_text() == "num_envs: 9\n"
    assert name == "frozen.yaml" or (tmp_path / name).is_file()
