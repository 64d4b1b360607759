"""Runs with added terms: trained, resumed, repeated, swept, and refused where they would be left out."""

from __future__ import annotations

from pathlib import Path

import own_terms
import pytest
import torch
from tiny_run import SAMPLES, TINY, assert_same_run, log_rows

from mimickit_hydra.agents.graph import StagedRollout
from mimickit_hydra.checks.check import validate
from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.saved import choices_header, overrides_of_run
from mimickit_hydra.training.build import build
from mimickit_hydra.training.run import run

own_terms.register()
TERMS = [
    "env.rewards.own_height={weight: 0.1, target: 0.8}",
    "env.rewards.own_change.weight=-0.001",
    "env.observations.own_sway={}",
    "env.observations.last.term=own_change",
    "env.terminations.own_low.below=0.6",
]


def train(out_dir: Path, iterations: int, *overrides: str) -> None:
    words = [*TINY, *TERMS, f"out_dir={out_dir}", f"max_samples={iterations * SAMPLES}", *overrides]
    cfg = compose(words)
    config = to_run(cfg)
    validate(config)
    run(config, resolved_yaml=resolved_yaml(cfg), overrides=words, out_dir=str(out_dir))


@pytest.mark.parametrize("method", [["method=deepmimic"], ["method=amp", "agent.task_reward_weight=0.5"]])
def test_a_run_goes_on_with_the_same_numbers(tmp_path: Path, method: list[str]) -> None:
    whole, path = tmp_path / "whole", tmp_path / "run"
    train(whole, 4, *method, "agent.iters_per_output=1")
    train(path, 2, *method, "agent.iters_per_output=1")
    train(path, 4, *method, "agent.iters_per_output=1", f"resume={path}")
    assert_same_run(whole, path)
    table = log_rows(whole)
    assert all(0.0 < value <= 0.1 for value in table["Reward_Own_Height"])
    assert all(value < 0.0 for value in table["Reward_Own_Change"])
    assert all(0.0 <= value <= 1.0 for value in table["End_Own_Low"])
    assert all(value > 0.0 for value in table["Test_Return"])


def test_the_staged_rollout_gives_the_numbers_of_the_direct_one() -> None:
    results = []
    for stage in (False, True):
        torch.manual_seed(3)
        parts = build(to_run(compose([*TINY, *TERMS])), Comm(), torch.device("cpu"))
        with parts:
            parts.env._by_index = False
            if stage:
                parts.agent._staged = StagedRollout(parts.agent, capture=False)
            for _ in range(3):
                parts.agent.train_iteration()
            results.append({**parts.env.state_dict(), **parts.agent.model_state_dict()})
    for name, expected in results[0].items():
        assert torch.equal(results[1][name], expected), name


def saved(folder: Path, *overrides: str) -> list[str]:
    """The overrides that repeat a run with these."""
    choices = {"engine": "mujoco", "method": "deepmimic", "character": "humanoid", "env": "deepmimic", "agent": "ppo"}
    folder.mkdir()
    (folder / "config.yaml").write_text(choices_header(choices) + resolved_yaml(compose(overrides)))
    return overrides_of_run(folder)


def test_a_saved_run_keeps_its_terms(tmp_path: Path) -> None:
    before, again = to_run(compose(TERMS)).env, to_run(compose(saved(tmp_path / "run", *TERMS))).env
    assert again == before
    assert again.observations == {"own_sway": {}, "last": {"term": "own_change"}}
    on_top = compose([*saved(tmp_path / "other", *TERMS), "env.rewards.own_height.weight=0.3"])
    assert to_run(on_top).env.rewards["own_height"] == {"weight": 0.3, "target": 0.8}


def test_a_term_taken_out_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a YAML can be taken out on the command line."""
    conf = tmp_path / "conf" / "env"
    conf.mkdir(parents=True)
    (conf / "tall.yaml").write_text(
        "defaults: [deepmimic, _self_]\n"
        "rewards: {own_height: {weight: 0.1, target: 0.8}, own_behind: {}}\n"
        "terminations: {own_low: {below: 0.5}}\n"
    )
    monkeypatch.setenv("MIMICKIT_CONF", str(tmp_path / "conf"))
    words = ["env=tall", "~env.rewards.own_height.target", "~env.terminations.own_low"]
    found = to_run(compose(words)).env
    assert (found.rewards, found.terminations) == ({"own_height": {"weight": 0.1}, "own_behind": {}}, {})
    (tmp_path / "run").mkdir()
    header = choices_header({"engine": "mujoco", "env": "tall"})
    (tmp_path / "run" / "config.yaml").write_text(header + resolved_yaml(compose(words)))
    again = overrides_of_run(tmp_path / "run")
    assert again[-2:] == ["~env.rewards.own_height.target", "~env.terminations.own_low"]
    assert to_run(compose(again)).env == found


def test_a_sweep_over_a_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mimickit_hydra.cli.main import main
    from mimickit_hydra.config.resolved import saved_config

    monkeypatch.chdir(tmp_path)
    words = [*TINY, f"max_samples={SAMPLES}", "env.rewards.root_vel.weight=0.1,0.2", "video=false"]
    assert main(["train", "-m", *words, f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 0
    weights = [
        saved_config(path.parent).env.rewards.root_vel.weight for path in sorted(tmp_path.glob("sweep/*/config.yaml"))
    ]
    assert sorted(weights) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=amp"], r"agent\.task_reward_weight: found 0\.0, must be more than 0: it weighs env\.rewards"),
        (["method=add"], r"agent\.task_reward_weight: found 0\.0"),
        (["core=mimickit"], r"env\.observations: core=mimickit runs MimicKit's own envs"),
    ],
)
def test_what_would_leave_them_out_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate(to_run(compose([*TERMS, *words])), machine=False)


def test_made_up_motion_is_no_reference(tmp_path: Path) -> None:
    words = ["method=smp", "agent.enable_gsi=true", "agent.task_reward_weight=1"]
    with pytest.raises(UserError, match=r"env\.rewards\.own_behind: agent\.enable_gsi=true leaves it no reference"):
        validate(to_run(compose([*words, "env.rewards.own_behind={}"])), machine=False)
