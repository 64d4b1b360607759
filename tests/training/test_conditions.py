"""What a resumed run takes over: words that count, words that weights would overrule, and what best was best at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mimickit_hydra.cli.train import main
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.runs.files import parse_files, record_files
from mimickit_hydra.runs.repeat import expand
from mimickit_hydra.runs.state import read_state
from mimickit_hydra.training.checkpoint import load_checkpoint
from mimickit_hydra.training.conditions import conditions, differing, other_meaning

SMALL = [
    "num_envs=4",
    "agent.iters_per_output=1",
    "agent.test_episodes=2",
    "test_episodes=0",
    "video=false",
    "rand_seed=1",
]
TWO_ITERATIONS = ["max_samples=128", "agent.steps_per_iter=16"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, *TWO_ITERATIONS, "out_dir=run"]) == 0
    return tmp_path / "run"


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error, error
    return error


def test_the_newest_config_counts_and_what_weights_overrule_is_refused(folder: Path, capsys) -> None:
    assert main(["resume=run", "max_samples=192", "agent.discount=0.9"]) == 0
    assert main(["resume=run", "max_samples=256"]) == 0
    for words in (expand([], "run"), expand(["mode=test", "model_file=run"]), expand(["resume=run"])):
        run = to_run(compose(words))
        assert (run.agent.discount, run.max_samples) == (0.9, 256)
    first = to_run(compose(expand([], "run/starts/1")))
    assert (first.agent.discount, first.max_samples) == (0.95, 128)
    before = (folder / "config.yaml").read_text(), sorted(folder.rglob("*"))

    line = refused(capsys, "resume=run", "agent.model.actor_init_output_scale=0.3", "max_samples=999")
    assert line.startswith(
        f"resume={folder}: agent.model.actor_init_output_scale: found 0.3, but the loaded weights go on with 0.01; "
    )
    line = refused(capsys, "resume=run", "rand_seed=5")
    assert line.startswith(f"resume={folder}: rand_seed: found 5, but those of 1 go on; leave it out")
    line = refused(capsys, "resume=run", "engine.control_mode=torque")
    assert "bounds of actions" in line
    assert ((folder / "config.yaml").read_text(), sorted(folder.rglob("*"))) == before
    assert read_state(folder).state == "finished"

    # A deviation that nothing trains is the config's, in the weights too.
    assert main(["resume=run", "max_samples=320", "agent.model.action_std=0.2"]) == 0
    weights = load_checkpoint(folder).payload["agent"]["model"]["_model._action_dist._logstd_net"]
    torch.testing.assert_close(weights.exp(), torch.full_like(weights, 0.2))
    line = refused(capsys, *SMALL, "out_dir=warm", "model_file=run", "agent.model.actor_init_output_scale=0.3")
    assert line.startswith("model_file=run: agent.model.actor_init_output_scale: found 0.3")


def test_a_best_counts_under_its_own_conditions(folder: Path) -> None:
    best = json.loads((folder / "checkpoints" / "best.json").read_text())
    assert main(["resume=run", "max_samples=192", "env.reward_pose_scale=50", "env.reward_vel_scale=50"]) == 0
    now = json.loads((folder / "checkpoints" / "best.json").read_text())
    assert now["metric"] < best["metric"]  # another measure
    assert differing(now["under"], best["under"]) == ["env.reward_pose_scale", "env.reward_vel_scale"]
    assert json.loads((folder / "starts/1/checkpoints/best.json").read_text()) == best
    assert (folder / "starts/1/checkpoints/best.pt").is_file()
    assert main(["mode=test", "model_file=run/starts/1", "test_episodes=1", "out_dir=test"]) == 0
    assert to_run(compose(expand(["mode=test", "model_file=run/starts/1"]))).env.reward_pose_scale == 0.25


def test_another_clip_lasts(folder: Path, capsys) -> None:
    clip = bundled_data() / "motions/humanoid/humanoid_run.npz"
    assert main(["resume=run", "max_samples=192", f"env.motion_file={clip}"]) == 0
    assert "note: env.motion_file, files: another than before, so new episodes begin" in capsys.readouterr().out
    assert to_run(compose(expand(["mode=test", "model_file=run"]))).env.motion_file == str(clip)


def test_weights_of_another_composition_say_what_means_something_else(folder: Path, capsys) -> None:
    nets = [f"agent.model.{net}=fc_2layers_256units" for net in ("actor_net", "critic_net")]
    words = [*SMALL, *TWO_ITERATIONS, *nets, "recipe=mimickit", "model_file=run", "out_dir=warm"]
    assert main(words) == 0
    line = "note: model_file=run: trained with env.action_about=reference, here default; "
    assert line in capsys.readouterr().out
    before, now = (to_run(compose(given)) for given in (["recipe=cpu"], ["recipe=mimickit"]))
    assert other_meaning(before, before, []) == other_meaning(now, before, ["env.action_about=default"]) == ""


def test_conditions_are_values_that_matter(tmp_path: Path, monkeypatch) -> None:
    def of(*words: str) -> dict:
        run = to_run(compose(words))
        return conditions(run, parse_files(record_files(run)))

    base = of()
    assert json.loads(json.dumps(base)) == base
    walk = bundled_data() / "motions/humanoid/humanoid_walk.npz"
    same = ["engine.num_threads=3", "env.camera_mode=still", "agent.discount=0.5", f"env.motion_file={walk}"]
    for word in same:
        assert of(word) == base, word
    for word in ("env.episode_length=3", "engine.sim_freq=120", "agent.test_episodes=3", "motion=humanoid_run"):
        assert of(word) != base, word
