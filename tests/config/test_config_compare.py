"""``mimickit diff`` and ``sim2sim`` on what is given to them: run directories by any name, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimickit_hydra.cli.main import main
from mimickit_hydra.config.compare import differences
from mimickit_hydra.config.compose import compose, resolved_yaml
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError


def run_dir(path: Path, *overrides: str) -> str:
    path.mkdir()
    (path / "config.yaml").write_text(resolved_yaml(compose([*overrides, "rand_seed=1"])), encoding="utf-8")
    return str(path)


def test_run_directories_named_like_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in ("0.9", "0.8"):
        run_dir(tmp_path / f"discount={value}", f"agent.discount={value}")
    (found,) = differences("discount=0.9", "discount=0.8")
    assert (found.key, found.left, found.right) == ("agent.discount", 0.9, 0.8)


BROKEN = {
    "latin": ("name: Müller\n".encode("latin-1"), "line 1 is not text in UTF-8"),
    "list": (b"- a\n- b\n", "not the resolved config of a run"),
    "other": (b"a: 1\n", "not the resolved config of a run"),
    "number": (b"engine: 3\n", "not the resolved config of a run"),
    "empty": (b"", "cut short"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("command", ["diff", "sim2sim"])
def test_a_config_that_is_none_is_one_line(
    command: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, expected = BROKEN[name]
    (tmp_path / "config.yaml").write_bytes(content)
    assert main([command, str(tmp_path), "engine=mujoco"]) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith(f"{tmp_path / 'config.yaml'}: {expected}")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("side", "line"),
    [
        ("a='x", "a='x: not a list of overrides (no closing quotation)"),
        (
            str(bundled_data() / "motions" / "humanoid" / "humanoid_walk.npz"),
            ".npz: line 1 is not text in UTF-8",
        ),
        (str(bundled_data() / "motions" / "NOTICE"), ": not valid YAML"),
        (str(bundled_data()), "no config.yaml in it, so it is not a run directory"),
        ("x" * 5000, "no run directory, experiment or override list"),
    ],
)
def test_a_side_that_is_nothing_is_one_line(side: str, line: str) -> None:
    with pytest.raises(UserError) as raised:
        differences(side, "")
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)
