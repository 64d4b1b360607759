"""Every trained policy that comes with the package has what its form asks for, and composes what it was trained for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mimickit_hydra.config.compose import compose, flatten, to_run
from mimickit_hydra.config.fields import is_speed_alone
from mimickit_hydra.config.models import CARD, MODEL, find, models, read_card
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.config.resolved import saved_config
from mimickit_hydra.errors import UserError
from mimickit_hydra.plugins import ENGINES

NAMES = [model.name for model in models()]
DECIDED = ("env.", "character.gains", "agent.model.actor", "engine.control_freq", "engine.sim_freq")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_composed_is_what_it_was_trained_for(name: str) -> None:
    trained = flatten(saved_config(find(name).folder))
    run = to_run(compose(["mode=test", f"model={name}"]))
    assert run.model_file == f"data/models/{name}"
    for recipe in ("cpu", "fast", "mimickit"):
        cfg = compose(["mode=test", f"model={name}", f"recipe={recipe}"])
        composed = flatten(cfg, resolve=True)
        decided = {key: trained[key] for key in trained if key.startswith(DECIDED) and not is_speed_alone(cfg, key)}
        assert {key: composed.get(key) for key in decided} == decided


@pytest.mark.parametrize("env", ["deepmimic", "tracking"])
def test_env_fuse_alone_decides_nothing_but_speed(env: str) -> None:
    cfg = compose([f"env={env}"])
    assert [key for key in flatten(cfg) if is_speed_alone(cfg, key)] == ["env.fuse"]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_how_it_was_made_and_what_it_does(name: str) -> None:
    card = read_card(find(name).folder)
    assert card["command"].startswith("python train.py ")
    assert "/" not in card["command"]
    assert {"method", "character", "motion", "seed", "samples", "minutes", "hardware", "versions"} <= set(card)
    assert card["licence"]
    assert "mujoco" in card["metrics"]
    assert card["trained_on"] in card["metrics"]
    for engine, metrics in card["metrics"].items():
        assert engine in ENGINES
        assert metrics["episodes"] >= 32 or "failed_clips" in metrics  # each clip of a set is played once
    assert find(name).help


def test_all_of_them_together_fit_into_the_wheel() -> None:
    files = [path for path in (bundled_data() / "models").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 15e6
    assert {path.parent.name for path in files} == {name for name in NAMES if find(name).folder.parent.name == "models"}


def test_a_name_that_is_none_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^model: found 'humanoid_walc', must be one of .*; nearest: humanoid_walk"):
        find("humanoid_walc")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (MODEL, "other", r"model\.pt: not the file that card\.json beside it describes"),
        (MODEL, None, r"model\.pt: no such file"),
        (CARD, "[1]", r"card\.json: not the card of a model"),
        (CARD, "{", r"card\.json: not valid JSON"),
        (CARD, None, r"card\.json: no such file"),
    ],
)
def test_a_damaged_folder_is_one_line(tmp_path: Path, file: str, text: str | None, message: str) -> None:
    folder = shutil.copytree(find("humanoid_walk").folder, tmp_path / "walk")
    (folder / file).unlink() if text is None else (folder / file).write_text(text)
    with pytest.raises(UserError, match=message):
        read_card(folder)
