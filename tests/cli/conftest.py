from __future__ import annotations

from pathlib import Path

import pytest

from mimickit_hydra.config.catalog import groups


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with an empty file for every bundled clip: the checks here look at names, not at frames."""
    folder = tmp_path / "data_root" / "motions" / "humanoid"
    folder.mkdir(parents=True)
    for name in groups()["motion"].option_names():
        (folder / f"{name}.npz").touch()
    monkeypatch.setenv("MIMICKIT_DATA", str(tmp_path / "data_root"))
    return tmp_path / "data_root"
