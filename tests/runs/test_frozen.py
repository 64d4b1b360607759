"""Configs and manifests that were cut short are refused: the part that is left would make sense, as something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import TINY

from mimickit_hydra.config.resolved import saved_config
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.manifest import FILE, add_runs, create_sweep, read_sweep
from mimickit_hydra.runs.snapshot import read_frozen
from mimickit_hydra.sweeps import start
from mimickit_hydra.sweeps.expand import plan_sweep


@pytest.fixture(scope="module")
def text() -> str:
    (planned,) = plan_sweep([*TINY, "out_dir=x", "hydra.sweep.subdir=run"]).runs
    return planned.frozen


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 0.99])
def test_a_config_that_is_cut_short_is_refused(tmp_path: Path, text: str, share: float) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert read_frozen(path).text == text
    assert saved_config(path).rand_seed == 7
    lines = text.splitlines(keepends=True)
    for left in (text[: int(share * len(text))], "".join(lines[: int(share * len(lines))])):
        path.write_text(left)
        for read in (read_frozen, saved_config):
            with pytest.raises(UserError, match="cut short"):
                read(path)


def test_a_manifest_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    sweep = add_runs(create_sweep(tmp_path, []), [(f"run_{number}", [], [], "") for number in range(3)])
    assert read_sweep(tmp_path) == sweep
    lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
    for count in range(len(lines)):
        (tmp_path / FILE).write_text("".join(lines[:count]))
        with pytest.raises(UserError, match="cut short"):
            read_sweep(tmp_path)


def test_a_run_whose_frozen_config_is_damaged_goes_on_with_what_it_recorded(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    monkeypatch.setattr(start, "start", lambda frozen, restart: seen.append(frozen.text))
    (tmp_path / "frozen.yaml").write_text(text[:-20])
    with pytest.raises(UserError, match="cut short"):
        start.start_file(tmp_path / "frozen.yaml")
    (tmp_path / "config.yaml").write_text(text)
    start.start_file(tmp_path / "frozen.yaml")
    assert seen == [text]
    assert "going on with config.yaml" in capsys.readouterr().out
