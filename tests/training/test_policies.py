"""A packed policy acts as its run's does, holds nothing that only training needs, and replays to what its card says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from mimickit_hydra import api
from mimickit_hydra.cli.main import main
from mimickit_hydra.config.models import find, models, read_card
from mimickit_hydra.config.resolved import CONFIG_FILE
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_torch
from mimickit_hydra.training.policies import option_yaml, title, words_of
from mimickit_hydra.training.weights import model_weights, whole_weights

TINY = ["debug=tiny", "video=false", "num_envs=4", "rand_seed=1", "test_episodes=1", "engine.num_threads=1"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "amp"
    return api.train(api.compose([*TINY, "method=amp", "agent.discount=0.9", f"out_dir={out}"]))


@pytest.fixture(scope="module")
def root(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    words = ["test_episodes=2", f"--root={root}", "--licence=mine"]
    assert main(["models", "pack", str(run_dir), "tiny_amp", "engine=mujoco", *words]) == 0
    return root


def test_a_packed_policy_acts_as_the_run_does(run_dir: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMICKIT_CONF", str(root / "conf"))
    with api.load_policy(run_dir, num_envs=3) as whole, api.load_policy("tiny_amp", num_envs=3) as packed:
        obs = whole.env.reset().clone()
        torch.testing.assert_close(packed.act(obs), whole.act(obs), rtol=0, atol=0.01)
        for name, value in whole.parts.agent.model_state_dict().items():
            if "_obs_norm" in name and "_disc" not in name:
                torch.testing.assert_close(packed.parts.agent.model_state_dict()[name], value)


def test_it_holds_what_acts_and_no_machine(root: Path) -> None:
    folder = root / "data" / "models" / "tiny_amp"
    found = model_weights(folder)
    assert not [
        name for name in found.weights if "critic" in name or ("disc" in name and found.weights[name].numel() > 1)
    ]
    assert [name for name in found.left_out if "_disc_layers" in name]
    assert all(value.dtype == torch.float16 for value in found.weights.values() if value.ndim > 1)
    text = (folder / CONFIG_FILE).read_text()
    assert str(root.parent) not in text
    assert "out_dir: null" in text
    card = read_card(folder)
    assert card["licence"] == "mine"
    assert {"python", "train.py", "method=amp", "num_envs=4", "agent.discount=0.9", "rand_seed=1"} <= set(
        card["command"].split()
    )
    assert card["metrics"]["mujoco"]["episodes"] == 2
    assert "left_out" in read_torch(folder / "model.pt")["agent"]


def test_what_decides_speed_alone_is_no_part_of_a_choice(root: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(root / "data" / "models" / "tiny_amp", tmp_path / "tiny_amp")
    plain = option_yaml(folder)
    config = folder / CONFIG_FILE
    config.write_text(
        config.read_text().replace("fuse: false", "fuse: true").replace("global_obs: true", "global_obs: false")
    )
    assert option_yaml(folder) == plain + "  global_obs: false\n"  # after what else is its own of env


def test_a_set_is_told_by_its_clips_and_a_clip_by_its_return() -> None:
    card = {"motion": "some", "method": "amp", "metrics": {}}
    assert title(card) == "some, amp: not tested"
    of_a_set = {"return": 59.4, "return_std": 26.2, "episodes": 15, "failed_clips": 1}
    of_a_clip = {"return": 284.5, "return_std": 2.4, "episodes": 256}
    without_reward = {"return": 0.0, "return_std": 0.0, "episodes": 4, "episode_seconds": 9.96}
    card["metrics"] = {"mujoco": of_a_set, "newton": of_a_clip, "mjwarp": without_reward}
    assert title(card) == "some, amp: 14 of 15 clips on mujoco, return 284 on newton, episodes of 10.0 s on mjwarp"
    card["metrics"] = {"mujoco": of_a_clip, "newton": {**of_a_clip, "return": 283.0}}
    assert title(card) == "some, amp: return 284 on mujoco, 283 on newton"


def test_what_needs_all_networks_says_that_they_are_missing(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds the policy alone, without .*; give the run directory"):
        whole_weights(root / "data" / "models" / "tiny_amp")
    words = ["export", str(root / "data" / "models" / "tiny_amp"), "--to", "mimickit", "-o", str(tmp_path / "m.pt")]
    assert main(words) == 2


@pytest.mark.parametrize("name", ["humanoid_walk", "no-name", "tiny_amp", "../x", ""])
def test_a_name_that_is_taken_or_none_is_refused(name: str, run_dir: Path, root: Path, capfd: object) -> None:
    assert main(["models", "pack", str(run_dir), name, f"--root={root}"]) == 2


def test_a_name_that_is_taken_can_be_made_anew(run_dir: Path, tmp_path: Path) -> None:
    """What the package brings is made again by the command on its card, elsewhere; and there again."""
    words = ["models", "pack", str(run_dir), "humanoid_walk", f"--root={tmp_path}", "engine=mujoco", "test_episodes=2"]
    for licence in ("A", "B"):
        assert main([*words, "--replace", f"--licence={licence}"]) == 0
        assert read_card(tmp_path / "data" / "models" / "humanoid_walk")["licence"] == licence


def test_training_goes_on_from_it(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMICKIT_CONF", str(root / "conf"))
    out = api.train(api.compose([*TINY, "model=tiny_amp", "test_episodes=0", f"out_dir={tmp_path / 'on'}"]))
    assert (out / "checkpoints" / "last.pt").exists()


def test_the_words_of_a_run_that_was_resumed() -> None:
    """Its minutes were raised, and where it was is nobody's business."""
    words = ["method=amp", "max_minutes=46.0", "rand_seed=1", "resume=/home/me/run", "max_minutes=124"]
    assert words_of(words) == ["method=amp", "max_minutes=124", "rand_seed=1"]


def test_one_replays_to_its_metrics(tmp_path: Path) -> None:
    """A few episodes, whose mean lies within the spread of so few; the slow test has more, and all policies."""
    replays("humanoid_walk", tmp_path, episodes=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [model.name for model in models()])
def test_each_replays_to_its_metrics(name: str, tmp_path: Path) -> None:
    replays(name, tmp_path, episodes=64)


def replays(name: str, out: Path, episodes: int) -> None:
    """Test a model on MuJoCo: return and length are those of its card within four standard errors and 2 %."""
    found = find(name)
    words = [*found.words, f"test_episodes={episodes}", "video=false", "rand_seed=3", f"out_dir={out / 'test'}"]
    now = json.loads((api.train(api.compose(words)) / "metrics.json").read_text())
    card = read_card(found.folder)["metrics"]["mujoco"]
    for key in ("return", "episode_length"):
        margin = 4 * card[f"{key}_std"] / episodes**0.5 + 0.02 * abs(card[key])
        assert abs(now[key] - card[key]) <= margin, (
            f"{key}: {now[key]:.1f}, on the card {card[key]:.1f} +- {margin:.1f}"
        )
