"""MimicKit's argument files, shipped and changed, become override lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from mimickit_rows import ROWS

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.errors import UserError
from mimickit_hydra.mimickit.convert import convert, experiment_yaml, save_experiment

MIMICKIT: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "mimickit_configs.json").read_text())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the argument files and YAML of a MimicKit checkout, from their values."""
    (tmp_path / "args").mkdir()
    for name, entry in MIMICKIT.items():
        (tmp_path / f"args/{name}.txt").write_text("".join(f"--{k} {v}\n" for k, v in entry["args"].items()))
        for section in ("engine", "env", "agent"):
            if entry[section] is not None:
                path = tmp_path / entry["args"][f"{section}_config"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(yaml.safe_dump(entry[section]))
    return tmp_path


def check(checkout: Path, names: list[str]) -> None:
    for name in names:
        found = convert(checkout / f"args/{name}.txt")
        assert tuple(found.choices) == ROWS[name]
        assert set(found.values) <= {"out_dir"}, name


def test_shipped_files_become_their_row(checkout: Path) -> None:
    check(checkout, ["amp_go2_args", "smp_location_humanoid_args", "vault_g1_args", "dof_test_humanoid_args"])


@pytest.mark.slow
def test_every_shipped_file_becomes_its_row(checkout: Path) -> None:
    check(checkout, list(ROWS))


def argfile(checkout: Path, text: str) -> Path:
    path = checkout / "args/mine.txt"
    path.write_text(text)
    return path


FILES = """--engine_config data/engines/isaac_gym_engine.yaml
--env_config data/envs/amp_humanoid_env.yaml
--agent_config data/agents/amp_humanoid_agent.yaml
"""
ROW = ["engine=isaac_gym", "method=amp", "motion=humanoid_spinkick"]


def test_changed_values_become_overrides(checkout: Path) -> None:
    agent = checkout / "data/agents/amp_humanoid_agent.yaml"
    agent.write_text(agent.read_text().replace("disc_grad_penalty: 5", "disc_grad_penalty: 7"))
    env = checkout / "data/envs/amp_humanoid_env.yaml"
    env.write_text(env.read_text().replace("rand_reset: true\n", "") + "pose_termination_dist: 0.25\n")
    text = FILES + "--num_envs 128\n--devices cuda:0 cuda:1\n--rand_seed 3\n--visualize True\n--logger wandb\n"
    found = convert(argfile(checkout, text))
    assert found.choices == [*ROW, "logger=wandb"]
    assert found.values == {
        "env.pose_termination_dist": 0.25,
        "agent.disc_grad_penalty": 7,
        "num_envs": 128,
        "devices": ["cuda:0", "cuda:1"],
        "rand_seed": 3,
        "visualize": True,
    }
    run = to_run(compose(found.words()))
    assert (run.env.pose_termination_dist, run.agent.disc_grad_penalty, run.devices[1]) == (0.25, 7.0, "cuda:1")


def test_what_a_file_leaves_out_is_mimickits_default_not_ours(checkout: Path) -> None:
    env = checkout / "data/envs/add_humanoid_env.yaml"
    env.write_text(env.read_text().replace("pose_termination: true\n", ""))
    found = convert(argfile(checkout, FILES.replace("amp_", "add_") + "--num_envs 4096\n"))
    assert found.values == {"env.pose_termination": False}
    assert convert(argfile(checkout, FILES)).values == {"num_envs": 1}


def test_comments_doubles_and_typing_errors_are_read_as_mimickit_does(checkout: Path) -> None:
    env = checkout / "data/envs/amp_humanoid_env.yaml"
    env.write_text(env.read_text() + "episode_length: 5.0\ncolour: red\n")
    text = "# --num_envs 1\n  # indented\n--num_envs 8 #many of them\n--num_envs 16\n--vizualize false\n" + FILES
    found = convert(argfile(checkout, text))
    assert found.values == {"env.episode_length": 5.0, "num_envs": 8}
    notes = "\n".join(found.notes)
    assert "mine.txt:3: MimicKit drops '#many' but reads the words after it" in notes
    assert "mine.txt:4: --num_envs stands twice; MimicKit takes the first" in notes
    assert "--vizualize is no flag of MimicKit, which ignores it; nearest: visualize" in notes
    assert "episode_length stands twice; MimicKit takes the last" in notes
    assert "env.colour: no such key here" in notes
    assert "MimicKit reads '8' and ignores 'of them'" in notes


def test_mixed_precision_is_a_key_here_too(checkout: Path) -> None:
    agent = checkout / "data/agents/amp_humanoid_agent.yaml"
    agent.write_text(agent.read_text() + "use_mixed_precision: True\n")
    found = convert(argfile(checkout, FILES))
    assert found.values["agent.use_mixed_precision"] is True
    assert not any("mixed" in note for note in found.notes)


def test_numbers_that_yaml_takes_for_text(checkout: Path) -> None:
    agent = checkout / "data/agents/amp_humanoid_agent.yaml"
    shipped = agent.read_text()
    agent.write_text(shipped.replace("learning_rate: 0.00025", "learning_rate: 3e-4"))
    assert convert(argfile(checkout, FILES)).values["agent.disc_optimizer.learning_rate"] == 3e-4
    agent.write_text(shipped.replace("disc_logit_reg: 0.01", "disc_logit_reg: 1e-2"))
    with pytest.raises(UserError, match=r"^agent\.disc_logit_reg: found 1e-2, which YAML takes for text"):
        convert(argfile(checkout, FILES))


MISTAKES = [
    ('--out_dir "my runs/a"\n' + FILES, "takes quotes for part of the value; remove them"),
    ("\ufeff" + FILES, "mine.txt:1: begins with a byte-order mark, so MimicKit drops its first flag"),
    ("amp\n" + FILES, "mine.txt:1: 'amp' stands before any --flag"),
    ("--num_envs=4\n" + FILES, "write a space instead of ="),
    ("--num_envs many\n" + FILES, "--num_envs: found many, must be a whole number"),
    ("--num_envs\n" + FILES, "--num_envs has no value"),
    ("--num_envs 4\n", "no --engine_config, which MimicKit needs"),
    (FILES.replace("amp_humanoid_env", "amp_human_env"), "amp_human_env.yaml: no such file from here"),
    (FILES.replace("data/agents/amp_humanoid_agent.yaml", "broken.yaml"), "not valid YAML"),
    (FILES.replace("data/agents/amp_humanoid_agent.yaml", "list.yaml"), "found list, must be a mapping"),
    (FILES.replace("data/agents/amp_humanoid_agent.yaml", "short.yaml"), "is missing, which MimicKit needs"),
    (FILES.replace("data/agents/amp_humanoid_agent.yaml", "other.yaml"), "agent_name: found 'SAC', must be one of PPO"),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_mistakes_are_one_line(checkout: Path, text: str, expected: str) -> None:
    (checkout / "broken.yaml").write_text("a: [1,\n")
    (checkout / "list.yaml").write_text("- 1\n")
    (checkout / "short.yaml").write_text("agent_name: AMP\ndiscount: 0.9\n")
    (checkout / "other.yaml").write_text("agent_name: SAC\n")
    with pytest.raises(UserError) as caught:
        convert(argfile(checkout, text))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_argument_file() -> None:
    with pytest.raises(UserError, match=r"nowhere\.txt: no such file"):
        convert("nowhere.txt")


def test_a_saved_experiment_holds_only_what_differs(checkout: Path) -> None:
    found = convert(argfile(checkout, FILES + "--num_envs 64\n"))
    text = experiment_yaml(found, "mine.txt")
    assert yaml.safe_load(text) == {
        "defaults": [{f"override /{word.split('=')[0]}": word.split("=")[1]} for word in ROW],
        "num_envs": 64,
    }
    path = save_experiment("mine", text, checkout)
    assert path.read_text() == text
    with pytest.raises(UserError, match="is there already"):
        save_experiment("mine", text, checkout)
    with pytest.raises(UserError, match="must be a plain word"):
        save_experiment("../mine", text, checkout)
