"""One thread for torch, before it is imported: the tests' tensors are small and the machine may be shared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with an empty file for every bundled clip, for checks that look at names and not at frames."""
    from mimickit_hydra.config.catalog import groups

    folder = tmp_path / "data_root" / "motions" / "humanoid"
    folder.mkdir(parents=True)
    for name in groups()["motion"].option_names():
        (folder / f"{name}.npz").touch()
    monkeypatch.setenv("MIMICKIT_DATA", str(tmp_path / "data_root"))
    return tmp_path / "data_root"
