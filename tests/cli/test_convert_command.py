"""``mimickit convert``: the line that it prints runs, or it says why not; what it saves is found again."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from mimickit_hydra.checks.check import validate
from mimickit_hydra.cli.main import main
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.roots import add, user_dir
from mimickit_hydra.config.schema import RunConfig

DATA = Path(__file__).parents[1] / "mimickit" / "data" / "bot"


@pytest.fixture
def bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A robot of one's own with an argument file by relative paths; the current directory is another one."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Path(shutil.copytree(DATA, tmp_path / "bot"))


def converted(capsys: pytest.CaptureFixture[str], *arguments: str) -> RunConfig:
    """The run that the printed line composes to."""
    assert main(["convert", *arguments]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:2] == ["python", "train.py"]
    if words[2] == "--config-dir":
        add([words[3]])
        del words[2:4]
    run = to_run(compose(words[2:]))
    validate(run, machine=False)
    return run


def test_a_robot_of_ones_own_has_its_name_and_is_found(bot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = converted(capsys, "../bot/args.txt")
    assert (run.character.name, run.motion.name, run.motion.character) == ("bot", "bot", "bot")
    assert run.data_root == [str(bot)]


def test_a_name_that_is_taken(bot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bot / "bot.xml").rename(bot / "g1.xml")
    (bot / "env.yaml").write_text((bot / "env.yaml").read_text().replace("bot.xml", "g1.xml"))
    assert converted(capsys, str(bot / "args.txt")).character.name == "own_g1"


def test_a_checkouts_own_data_comes_before_ours(bot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bot / "data" / "motions").mkdir(parents=True)
    (bot / "args").mkdir()
    (bot / "bot.pkl").rename(bot / "data" / "motions" / "my walk.pkl")
    (bot / "bot.xml").rename(bot / "data" / "bot.xml")
    text = (bot / "env.yaml").read_text().replace("bot.xml", "data/bot.xml")
    (bot / "env.yaml").write_text(text.replace("bot.pkl", "data/motions/my walk.pkl"))
    (bot / "args.txt").rename(bot / "args" / "args.txt")
    run = converted(capsys, str(bot / "args" / "args.txt"))
    assert (run.data_root, run.motion.name) == ([str(bot / "data")], "my_walk")


def test_text_that_looks_like_a_number(bot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(bot / "args.txt", "a") as file:
        file.write("--out_dir 1e3\n")
    assert converted(capsys, str(bot / "args.txt")).out_dir == "1e3"
    assert converted(capsys, str(bot / "args.txt"), "--save", "007").out_dir == "1e3"


def test_saved_where_it_is_found_again(bot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = str(bot / "args.txt")
    assert converted(capsys, arguments, "--save", "mine").character.name == "bot"
    assert (user_dir() / "experiment" / "mine.yaml").is_file()
    assert converted(capsys, arguments, "--save", "../folder/other").character.name == "bot"
    assert (bot.parent / "folder" / "experiment" / "other.yaml").is_file()
    for name in ("mine", "amp_humanoid", "../folder/other"):
        assert main(["convert", arguments, "--save", name]) == 2
        assert "is there already; choose another name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--rand_seed -3", "rand_seed: found -3, must be a whole number from 0"),
        ("--rand_seed 12345678901234567890", "rand_seed: found 12345678901234567890, must be"),
        ("--mode play", "mode: found 'play', must be one of train, test"),
        ("--logger tensorboard", "logger=tensorboard: no such option; allowed: default, tb, txt, wandb"),
        ("--model_file nowhere.pt", "model_file: found 'nowhere.pt', must be a checkpoint"),
        ("--devices gpu", "devices: found 'gpu', must be cpu or cuda:0"),
        ("--test_episodes -1", "test_episodes: found -1, must be 0 or more"),
    ],
)
def test_what_cannot_run_is_refused(bot: Path, capsys: pytest.CaptureFixture[str], flags: str, line: str) -> None:
    with open(bot / "args.txt", "a") as file:
        file.write(f"{flags}\n")
    assert main(["convert", str(bot / "args.txt")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1].startswith(line)
    assert main(["convert", str(bot / "args.txt"), "--save", "mine"]) == 2
    assert not (user_dir() / "experiment").exists()


@pytest.mark.parametrize(
    ("found", "written", "line"),
    [
        ("episode_length: 10.0", "episode_length: .inf", "env.episode_length: found inf, must be a finite number"),
        ("motion_file: bot.pkl", "motion_file: null", "env.motion_file: found null, must have a value"),
        (
            "motion_file: bot.pkl",
            "motion_file: C:\\mocap\\walk.pkl",
            "env.motion_file: C:\\mocap\\walk.pkl: no such file",
        ),
        ("contact_bodies: [footL, footR]", "contact_bodies: footL", "env.contact_bodies: found footL, must be a list"),
        ("key_bodies: [footL, footR]", "key_bodies: [toe]", "env.key_bodies: bot has no body 'toe'"),
    ],
)
def test_values_that_cannot_be(
    bot: Path, capsys: pytest.CaptureFixture[str], found: str, written: str, line: str
) -> None:
    text = (bot / "env.yaml").read_text()
    assert found in text
    (bot / "env.yaml").write_text(text.replace(found, written))
    assert main(["convert", str(bot / "args.txt")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(line)
