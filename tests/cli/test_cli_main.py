"""The ``mimickit`` command: list, explain, diff, and the tab key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mimickit_hydra.cli.completion import BASH, candidates
from mimickit_hydra.cli.main import main, make_parser, parsed
from mimickit_hydra.config.groups import groups

ROOT = Path(__file__).resolve().parents[2]


def out_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


# -------------------------------------------------------------------------------------------------------------- list


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    text = out_of(capsys, "list")
    for group in groups().values():
        assert f"{group.name}: {group.help}" in text
    assert "* mujoco" in text


def test_list_of_one_group(capsys: pytest.CaptureFixture[str]) -> None:
    text = out_of(capsys, "list", "engine")
    assert "newton" in text
    assert "humanoid_walk" not in text
    assert "engin: unknown group; nearest: engine" in error_of(capsys, "list", "engin")


@pytest.mark.usefixtures("clips")
def test_list_motion_has_a_column_for_the_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(out_of(capsys, "list", "motion").splitlines()) == 1 + len(groups()["motion"].options)


def test_list_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = dict(line.split(maxsplit=1) for line in out_of(capsys, "list", "pairs").splitlines())
    assert rows["amp"] == "amp*, dodgeball, location, steering"
    assert rows["lcp"] == "deepmimic*, dodgeball, location, steering, tracking, vault"
    assert rows["smpl"] == "smpl_walk*"
    assert "humanoid_walk*" in rows["humanoid"]
    assert "sword" not in rows["humanoid"]
    assert "g1_walk" in rows["g1_mjlab"]  # clips_of: g1


def test_list_of_what_has_no_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    assert "DeepMimic text clip .txt .json" in out_of(capsys, "list", "importers")


# ----------------------------------------------------------------------------------------------------------- explain


def test_explain_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    lines = out_of(capsys, "explain", "engine.sim_freq", "engine.sim_freq=120").splitlines()
    assert lines[0] == "engine.sim_freq = 120"
    assert lines[1].split()[:3] == ["#", "physics", "steps,"]
    assert lines[2].split()[:4] == ["set", "by", "command", "line"]
    assert lines[3].split()[0] == "replaced"
    assert "schema MujocoEngineConfig" in lines[3]


def test_explain_follows_interpolations(capsys: pytest.CaptureFixture[str]) -> None:
    text = out_of(capsys, "explain", "env.motion_file", "motion=humanoid_run")
    assert "env.motion_file = data/motions/humanoid/humanoid_run.pkl" in text
    assert "${motion.motion_file}" in text
    assert "conf/motion/humanoid_run.yaml:" in text
    assert "[motion=humanoid_run from command line]" in text


def test_explain_a_preset_says_who_chose_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = out_of(capsys, "explain", "agent.discount")
    assert "conf/recipe/cpu.yaml:" in text
    assert "recipe=cpu from conf/compute/cpu.yaml:" in text


def test_explain_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    text = out_of(capsys, "explain", "compute")
    assert text.startswith("compute = cpu\n  chosen by   conf/engine/mujoco.yaml:")
    assert "replaced    conf/config.yaml:" in text
    assert "compute.num_envs" in text


def test_explain_everything_and_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(out_of(capsys, "explain", "all").splitlines()) > 80
    assert "nearest: num_envs" in error_of(capsys, "explain", "num_env")
    assert "engine=newtn: no such option" in error_of(capsys, "explain", "num_envs", "engine=newtn")


# -------------------------------------------------------------------------------------------------------------- diff


def test_diff(capsys: pytest.CaptureFixture[str]) -> None:
    lines = out_of(capsys, "diff", "walk_30min", "agent.discount=0.5").splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["max_minutes", "agent.discount"]
    assert lines[2].split() == ["agent.discount", "0.95", "0.5"]
    assert out_of(capsys, "diff", "", "engine=mujoco") == "no difference\n"
    assert "walk_30mn: no run directory" in error_of(capsys, "diff", "walk_30mn", "")


# ------------------------------------------------------------------------------------------------------ command line


def test_a_command_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert "lst: no such command; nearest: list" in error_of(capsys, "lst")
    assert "required: KEY" in error_of(capsys, "explain").replace("key", "KEY")


@pytest.mark.parametrize(
    "line",
    [
        "models pack RUN name engine=newton,mujoco test_episodes=2 --root=x",
        "models pack RUN name --root=x engine=newton,mujoco test_episodes=2",
        "models pack --root x RUN name engine=newton,mujoco --replace test_episodes=2",
        "export RUN engine=newton,mujoco -o x --to onnx test_episodes=2",
        "export RUN --to onnx engine=newton,mujoco -o x test_episodes=2",
    ],
)
def test_overrides_stand_before_or_after_options(line: str) -> None:
    assert parsed(make_parser(), line.split()).overrides == ["engine=newton,mujoco", "test_episodes=2"]


def test_so_do_the_settings_of_a_sweep_that_goes_on() -> None:
    assert parsed(make_parser(), ["sweep", "resume", "DIR", "-j", "2", "launch=local"]).overrides == ["launch=local"]


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("export", "RUN"),
        ("models pack", "RUN, NAME"),
        ("prior train", "DIR"),
        ("sweep resume", "DIR"),
        ("view", "WHAT"),
    ],
)
def test_only_what_is_needed_is_called_missing(line: str, needed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"the following arguments are required: {needed}; see" in error_of(capsys, *line.split())


@pytest.mark.parametrize("line", ["explain x --no method=amp", "list engine=mujoco --no", "report a --no"])
def test_an_option_that_does_not_exist_is_named(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert "--no" in capsys.readouterr().err


def test_without_a_command_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    text = out_of(capsys)
    for name in ("train", "list", "explain", "diff", "completion"):
        assert name in text


# -------------------------------------------------------------------------------------------------------- completion


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mimickit ex", ["explain", "export"]),
        (
            "mimickit train engine=",
            [f"engine={name}" for name in ("isaac_gym", "isaac_lab", "mjwarp", "mujoco", "newton")],
        ),
        ("mimickit train engine=n", ["engine=newton"]),
        ("mimickit train motion=humanoid_run,humanoid_w", ["motion=humanoid_run,humanoid_walk"]),
        ("mimickit train eng", ["engine="]),
        ("mimickit train mode=t", ["mode=train", "mode=test"]),
        ("mimickit train video=", ["video=true", "video=false"]),
        ("mimickit train agent.actor_o", ["agent.actor_optimizer."]),
        ("mimickit train agent.actor_optimizer.t", ["agent.actor_optimizer.type="]),
        (
            "mimickit train agent.actor_optimizer.type=A",
            [f"agent.actor_optimizer.type={name}" for name in ("Adam", "AdamW")],
        ),
        ("mimickit train method=lcp agent.lc", ["agent.lcp_weight="]),
        ("mimickit train env.rewards.im", ["env.rewards.imitation."]),
        ("mimickit train --cfg ", ["job", "hydra", "all"]),
        ("mimickit list p", ["pairs"]),
        ("mimickit train --he", ["--help"]),
        ("mimickit list mot", ["motion"]),
        ("mimickit explain agent.actor_ep", ["agent.actor_epochs"]),
        ("mimickit explain num_envs debug=", ["debug=fast", "debug=smoke", "debug=tiny"]),
        ("mimickit doctor experiment=amp_g", ["experiment=amp_g1", "experiment=amp_go2"]),
        ("mimickit doctor --no", ["--no-step"]),
        ("mimickit diff walk", ["walk_30min"]),
        ("mimickit completion ", ["bash"]),
        ("python train.py engine=m", ["engine=mjwarp", "engine=mujoco"]),
    ],
)
def test_candidates(line: str, expected: list[str]) -> None:
    assert candidates(line, make_parser()) == expected


def test_no_hidden_part_is_offered() -> None:
    parser = make_parser()
    found = [text for group in groups() for text in candidates(f"mimickit train {group}=", parser)]
    assert not [text for text in found if "base_" in text]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mimickit", "li"], ["list"]),
        (["mimickit", "train", "engine", "=", "n"], ["newton"]),  # bash splits words at =
        (["mimickit", "train", "engine="], ["isaac_gym", "isaac_lab", "mjwarp", "mujoco", "newton"]),
        (["mimickit", "train", "log"], ["logger="]),
        (["python", "train.py", "debug", "=", "s"], ["smoke"]),
        (["python", "other.py", "debug", "=", "s"], []),
    ],
)
def test_bash_really_completes(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    for name, module in (("mimickit", ' -m mimickit_hydra.cli.main "$@"'), ("python", ' "$@"')):
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\nexec {sys.executable}{module}\n")
        command.chmod(0o755)
    line = " ".join(words).replace(" = ", "=")
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"""
        eval "$(mimickit completion bash)"
        function_name=$(complete -p {words[0]} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}
        "$function_name"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.split() == expected
    assert done.stderr == ""


def test_the_bash_script_is_valid(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    subprocess.run(["bash", "-n"], input=BASH, text=True, check=True)
