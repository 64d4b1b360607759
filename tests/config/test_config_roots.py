"""Config folders of the user: every way to name one, and what cannot work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mimickit_hydra.cli.completion import candidates
from mimickit_hydra.cli.folders import take_from
from mimickit_hydra.cli.main import main, make_parser
from mimickit_hydra.config import roots
from mimickit_hydra.config.compare import differences
from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.config.explain import trace
from mimickit_hydra.config.groups import groups
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.saved import choices_header, overrides_of_run

STROLL = (
    "# A clip of mine\ndefaults:\n  - base_motion\n  - _self_\n"
    "name: stroll\ncharacter: humanoid\nmotion_file: clips/stroll.npz\n"
)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "mine" / "conf"
    (folder / "motion" / "slow").mkdir(parents=True)
    (folder / "motion" / "stroll.yaml").write_text(STROLL)
    (folder / "motion" / "slow" / "amble.yaml").write_text(STROLL.replace("name: stroll", "name: amble"))
    (folder / "weather").mkdir()
    (folder / "weather" / "rain.yaml").write_text("# @package env\n# It rains\nepisode_length: 3.0\n")
    (tmp_path / "mine" / "clips").mkdir()
    (tmp_path / "mine" / "clips" / "stroll.npz").touch()
    return folder


def named_by_flag(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert take_from(["a=1", "--config-dir", str(folder), "b=2"]) == ["a=1", "b=2"]


def named_by_searchpath(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert take_from(["hydra.searchpath=[file://conf]"]) == []


def named_by_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMICKIT_CONF", str(folder))


def without_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder.parent / "home"))
    (folder.parent / "home" / "mimickit-hydra").mkdir(parents=True)
    (folder.parent / "home" / "mimickit-hydra" / "conf").symlink_to(folder)


@pytest.mark.parametrize("way", [named_by_flag, named_by_searchpath, named_by_variable, without_a_name])
def test_everything_knows_the_folder(own: Path, monkeypatch: pytest.MonkeyPatch, way: object) -> None:
    assert "stroll" not in groups()["motion"].option_names()
    way(own, monkeypatch)  # type: ignore[operator]
    assert {"stroll", "slow/amble"} <= set(groups()["motion"].option_names())
    assert groups()["weather"].options[0].help == "It rains"
    run = to_run(compose(["motion=stroll", "+weather=rain"]))
    assert (run.motion.name, run.env.motion_file, run.env.episode_length) == ("stroll", "clips/stroll.npz", 3.0)
    assert to_run(compose(["motion=slow/amble"])).motion.name == "amble"
    assert [one.right for one in differences("", "motion=stroll") if one.key == "motion.name"] == ["stroll"]
    source = trace(["motion=stroll"]).history["motion.name"][-1].source
    assert source.endswith("/motion/stroll.yaml:5")
    assert os.path.isabs(source)
    assert candidates("mimickit train motion=stro", make_parser()) == ["motion=stroll"]
    assert resolve_data_file("clips/stroll.npz") == own.parent / "clips" / "stroll.npz"


def test_a_file_that_is_added_later_is_seen(own: Path) -> None:
    roots.add([own])
    assert "late" not in groups()["motion"].option_names()
    (own / "motion" / "late.yaml").write_text(STROLL)
    os.utime(own / "motion", (1, 1))
    assert "late" in groups()["motion"].option_names()


def test_commands_take_the_flag(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "motion", "-cd", str(own)]) == 0
    assert "A clip of mine" in capsys.readouterr().out
    assert main(["explain", "motion.name", "motion=stroll", f"--config-dir={own}"]) == 0
    assert f"{own}/motion/stroll.yaml:5" in capsys.readouterr().out


def test_a_run_remembers(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots.add([own])
    cfg = compose(["motion=stroll", "num_envs=8"], with_hydra=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(choices_header(cfg.hydra.runtime.choices) + resolved_yaml(cfg))
    monkeypatch.setenv("MIMICKIT_CONF", "")
    assert "motion=stroll" in overrides_of_run(tmp_path / "run")
    assert [root.path for root in roots.further()] == [own]
    monkeypatch.setenv("MIMICKIT_CONF", "")
    own.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=rf"motion=stroll came with the config folder {own}, which is gone; name its"):
        overrides_of_run(tmp_path / "run")
    roots.add([tmp_path / "elsewhere"])
    assert "motion=stroll" in overrides_of_run(tmp_path / "run")


# -------------------------------------------------------------------------------------------------- what cannot work


def test_an_option_that_is_there_already(own: Path) -> None:
    (own / "motion" / "humanoid_walk.yaml").write_text(STROLL)
    roots.add([own])
    with pytest.raises(UserError, match=r"^motion/humanoid_walk.yaml: found in .*conf and in .*mine/conf; one of"):
        compose([])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--config-dir", "nowhere"], "--config-dir nowhere: no such directory"),
        (["hydra.searchpath=nowhere"], "hydra.searchpath=nowhere: must be a list of folders"),
        (["hydra.searchpath=[nowhere]"], "hydra.searchpath: found nowhere, must be an existing folder"),
        (["hydra.searchpath=[pkg://no.where]"], "hydra.searchpath: found pkg://no.where, must be an existing folder"),
    ],
)
def test_a_folder_that_is_not_there(arguments: list[str], line: str) -> None:
    with pytest.raises(UserError) as caught:
        take_from(arguments)
    assert str(caught.value).startswith(line)


def test_a_variable_with_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMICKIT_CONF", str(tmp_path / "gone"))
    with pytest.raises(UserError, match=rf"^MIMICKIT_CONF: found {tmp_path}/gone, must be an existing folder$"):
        groups()


def test_a_mistake_in_a_file_of_the_user_names_the_file(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "experiment").mkdir()
    (own / "experiment" / "typo.yaml").write_text("# @package _global_\nnum_env: 16\n")
    assert main(["train", "-cd", str(own), "experiment=typo", "--cfg", "job"]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"{own}/experiment/typo.yaml: num_env: unknown key; nearest: env, num_envs")
    assert line.count("\n") == 1
