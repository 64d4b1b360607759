"""``mimickit export`` takes a trained policy by name, as ``mimickit view`` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimickit_hydra.cli.main import main


def test_a_trained_policy_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    assert main(["export", "model=humanoid_walk", "--to", "onnx", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "policy.onnx").stat().st_size > 1e5
    assert "humanoid_walk/model.pt" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("model=humanoid_walc", "model: found 'humanoid_walc', must be one of"),
        ("humanoid_walk", "humanoid_walk: no such run; the trained policy of this name is model=humanoid_walk"),
        ("humanoid_walc", "humanoid_walc does not exist"),
    ],
)
def test_a_name_that_is_none(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", source, "--to", "onnx"]) == 2
    assert capsys.readouterr().err.startswith(message)
    assert not list(tmp_path.iterdir())
