"""What a user's file gets wrong, and the line that says how to write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimickit_hydra import api
from mimickit_hydra.errors import UserError

GLOBAL = "# @package _global_\n"
MISTAKES = [
    ("defaults: [override /method: amp]", "override /method: a file that chooses a group begins with: # @package"),
    (
        f"{GLOBAL}defaults: [override method: amp]",
        "override method: meets nothing; write it with a slash: - override",
    ),
    (f"{GLOBAL}default: [override /method: amp]", "default: unknown key; nearest: defaults"),
    (f"{GLOBAL}method: amp", "method: a group is chosen in the file's list of defaults: - override /method: amp"),
    (f"{GLOBAL}engine: newton", "engine: a group is chosen in the file's list of defaults: - override /engine: newton"),
    (f"{GLOBAL}agent: amp", "agent: a group is chosen in the file's list of defaults: - override /agent: amp"),
    (f"{GLOBAL}env: tracking", "env: a group is chosen in the file's list of defaults: - override /env: tracking"),
    (f"{GLOBAL}recipe: cpu", "recipe: a group is chosen in the file's list of defaults: - override /recipe: OPTION"),
    (f"{GLOBAL}agent.discount: 0.9", "agent.discount: a file nests its keys: agent: {discount: VALUE}"),
    (
        f"{GLOBAL}agent.actor_optimizer.learning_rate: 1",
        "agent.actor_optimizer.learning_rate: a file nests its keys: agent: {actor_optimizer: {learning_rate: VALUE}}",
    ),
    (f"{GLOBAL}agent: {{discont: 0.9}}", "agent.discont: unknown key; nearest: agent.discount"),
]


@pytest.mark.parametrize(("text", "line"), MISTAKES)
def test_each_names_the_file_and_what_to_write(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "experiment" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(UserError) as error:
        api.compose(["experiment=mine"], config_dirs=[tmp_path])
    assert str(error.value).startswith(f"{file}: {line}")


def test_a_group_that_is_chosen_twice(tmp_path: Path) -> None:
    """Hydra does not say by which file."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"{GLOBAL}defaults: [/method: amp]")
    with pytest.raises(UserError) as error:
        api.compose(["experiment=mine"], config_dirs=[tmp_path])
    assert str(error.value) == "method: chosen twice; the file of amp has to write: - override /method: amp"
