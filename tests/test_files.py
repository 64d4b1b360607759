"""What lies in a file's place is called what it is, by whoever reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.roots import further
from mimickit_hydra.engines.catalog import interpreter
from mimickit_hydra.errors import UserError
from mimickit_hydra.mimickit.argfile import read_arg_file
from mimickit_hydra.motion.clip import load_clip
from mimickit_hydra.training.checkpoint import load_file

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n"
PAGE = "\n<!DOCTYPE html>\n<html><body>Sign in</body></html>\n"
READERS = [("a.pkl", load_clip), ("a.npz", load_clip), ("a.pt", load_file), ("a.txt", read_arg_file)]


@pytest.mark.parametrize(("text", "said"), [(POINTER, "Git LFS"), (PAGE, "HTML")])
@pytest.mark.parametrize(("name", "read"), READERS)
def test_what_lies_in_a_files_place(
    tmp_path: Path, name: str, read: Callable[[Path], object], text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        read(tmp_path / name)


def test_a_home_that_is_not_known_counts_as_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MIMICKIT_CONF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    further()
    assert interpreter("isaac_gym").python == ""
    with pytest.raises(UserError, match="no such file"):
        resolve_data_file("data/motions/none.pkl")
