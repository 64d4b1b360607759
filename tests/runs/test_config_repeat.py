"""A saved config leads back to the same config, and stays alive to overrides on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mimickit_hydra.config.compose import compose, flatten, resolved_yaml, to_run
from mimickit_hydra.config.overrides import quote, written_out
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.saved import choices_header, overrides_of_run

CHOICES = {"engine": "mujoco", "method": "deepmimic", "character": "humanoid", "env": "deepmimic", "agent": "ppo"}


def save(folder: Path, overrides: list[str], **choices: str) -> Path:
    """A run directory as a run with these overrides would leave it."""
    folder.mkdir(exist_ok=True)
    header = choices_header({**CHOICES, "compute": "cpu", "motion": "humanoid_walk", "logger": "default", **choices})
    (folder / "config.yaml").write_text(header + resolved_yaml(compose(overrides)))
    return folder


def same(one: list[str], other: list[str]) -> bool:
    values = [flatten(compose(overrides), resolve=True) for overrides in (one, other)]
    for each in values:
        del each["out_dir"]
    return values[0] == values[1]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["num_envs=7", "agent.discount=0.5"],
        ["compute.num_envs=7"],
        ["max_samples=inf", "rand_seed=3", "data_root=[/a b,'it\\'s']"],
        ["debug=smoke"],
        ["experiment=walk_30min"],
        [r"logger.wandb_project='a\${b}c'"],
        ["env.key_bodies=[head]", "agent.model.actor_net=fc_2layers_128units"],
    ],
)
def test_a_saved_run_composes_to_the_same_config(tmp_path: Path, overrides: list[str]) -> None:
    assert same(overrides_of_run(save(tmp_path, overrides)), overrides)


def test_a_gpu_run(tmp_path: Path) -> None:
    overrides = ["engine=newton", "motion=humanoid_run"]
    run_dir = save(tmp_path, overrides, engine="newton", compute="gpu", motion="humanoid_run")
    assert same(overrides_of_run(run_dir), overrides)
    assert [text for text in overrides_of_run(run_dir) if "." in text] == []  # the choices say it all


def test_what_presets_say_of_a_key_that_came_later_is_not_the_runs(tmp_path: Path) -> None:
    run_dir = save(tmp_path, [], recipe="cpu")
    text = (run_dir / "config.yaml").read_text()
    assert "  action_about: reference\n" in text
    (run_dir / "config.yaml").write_text(text.replace("  action_about: reference\n", ""))
    assert overrides_of_run(run_dir)[-1] == "env.action_about=default"


def test_without_the_comment_the_choices_are_inferred(tmp_path: Path) -> None:
    run_dir = save(tmp_path, ["engine=newton", "motion=humanoid_run", "num_envs=5"])
    path = run_dir / "config.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("#")))
    assert same(overrides_of_run(run_dir), ["engine=newton", "motion=humanoid_run", "num_envs=5"])


def test_an_override_on_top_reaches_the_values_derived_from_it(tmp_path: Path) -> None:
    again = overrides_of_run(save(tmp_path, ["agent.discount=0.5"]))
    run = to_run(compose([*again, "motion=humanoid_run"]))
    assert run.env.motion_file == "data/motions/humanoid/humanoid_run.pkl"
    assert run.agent.discount == 0.5


def test_the_directory_of_the_old_run_is_not_repeated(tmp_path: Path) -> None:
    again = overrides_of_run(save(tmp_path, ["out_dir=/somewhere", "resume=/else"]))
    assert not [text for text in again if "somewhere" in text or "else" in text]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no config.yaml in it, so it is not a run directory"),
        ("a: [1", "not valid YAML"),
        ("just text", "not the resolved config of a run"),
        ("engine: {engine_name: mujoco, num_thread: 1}", "engine.num_thread: unknown key; nearest: engine.num_threads"),
    ],
)
def test_what_is_no_run_directory(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        overrides_of_run(tmp_path)
    assert "\n" not in str(caught.value)


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False),
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$"), max_size=12),
)


@settings(max_examples=80, deadline=None)
@given(st.one_of(PLAIN, st.lists(PLAIN, max_size=4)))
def test_quote_is_read_back_by_hydra(value: Any) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides([f"key={quote(value)}"])[0].value()
    parsed = OmegaConf.to_container(OmegaConf.create({"key": parsed}))["key"]  # type: ignore[index,call-overload]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("core.root=~/MimicKit", "core.root='/home/me/MimicKit'"),
        ("++core.root=~/a b", "++core.root='/home/me/a b'"),
        ("core.root=~", "core.root='/home/me'"),
        ("model_file=~/a,b,~/c", "model_file='/home/me/a',b,'/home/me/c'"),
        ("data_root=[~/a,~/b]", "data_root=['/home/me/a','/home/me/b']"),
        ("~debug", "~debug"),
        ("core.root=a~/b", "core.root=a~/b"),
        ("core.root='~/b'", "core.root='~/b'"),
        ("num_envs=3", "num_envs=3"),
    ],
)
def test_a_path_from_home(monkeypatch: pytest.MonkeyPatch, word: str, meant: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert written_out(word) == meant
