"""What the groups compose to, by value."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from mimickit_hydra.config.catalog import groups
from mimickit_hydra.config.compose import compose, flatten, resolved_yaml, to_run
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.paths import conf_dir
from mimickit_hydra.config.rules import RULES
from mimickit_hydra.config.schema import MujocoEngineConfig, PPOAgentConfig, RunConfig

MIMICKIT = json.loads((Path(__file__).parent / "data" / "deepmimic_humanoid_ppo.json").read_text())
SPINKICK = ["experiment=deepmimic_humanoid_spinkick"]
OPTIONS = [f"{group.name}={name}" for group in groups().values() for name in group.option_names()]


def subset(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Our values of their keys."""
    return {
        key: subset(ours[key], value) if isinstance(value, dict) else ours[key]  #
        for key, value in theirs.items()
    }


@pytest.mark.parametrize(("engine", "sim_freq"), [("newton", 240), ("isaac_lab", 120), ("isaac_gym", 120)])
def test_gpu_engines_keep_mimickits_values(engine: str, sim_freq: int) -> None:
    run = dataclasses.asdict(to_run(compose([*SPINKICK, f"engine={engine}"])))
    assert subset(run["env"], MIMICKIT["env"]) == MIMICKIT["env"]
    assert subset(run["agent"], MIMICKIT["agent"]) == MIMICKIT["agent"]
    expected = {**MIMICKIT["engine"], "engine_name": engine, "sim_freq": sim_freq}
    if engine != "isaac_gym":
        del expected["ground_contact_height"]
    assert subset(run["engine"], expected) == expected
    assert (run["num_envs"], run["devices"], run["max_minutes"]) == (4096, ["cuda:0"], math.inf)


def test_keys_beyond_mimickits_files_have_its_code_defaults() -> None:
    run = to_run(compose([*SPINKICK, "engine=newton"]))
    extra = {key: value for key, value in flatten_run(run.env).items() if key not in MIMICKIT["env"]}
    assert extra == {"zero_center_action": False, "visualize_ref_char": True, "objects": []}
    agent = flatten_run(run.agent)
    assert agent["critic_eval_batch_size"] == 0
    assert (agent["exp_anneal_samples"], agent["exp_prob_beg"], agent["exp_prob_end"]) == (math.inf, 1.0, 1.0)
    assert run.agent.actor_optimizer.weight_decay == run.agent.critic_optimizer.grad_clip == 0.0


def flatten_run(config: Any) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


def test_the_default_run_is_the_walk_on_this_machine() -> None:
    run = to_run(compose())
    assert isinstance(run, RunConfig)
    assert isinstance(run.engine, MujocoEngineConfig)
    assert isinstance(run.agent, PPOAgentConfig)
    assert run.motion.name == "humanoid_walk"
    assert run.env.motion_file == "data/motions/humanoid/humanoid_walk.pkl"
    assert run.devices == ["cpu"]
    assert run.num_envs < 4096
    assert math.isfinite(run.max_minutes)


def test_the_cpu_preset_follows_the_engine_and_gives_way_to_the_command_line() -> None:
    small = to_run(compose(["engine=mujoco"])).agent
    large = to_run(compose(["engine=newton"])).agent
    assert small.model.actor_net != large.model.actor_net
    assert small.discount < large.discount
    assert to_run(compose(["engine=mujoco", "compute=gpu"])).agent == large
    assert to_run(compose(["engine=newton", "compute=cpu"])).agent == small
    assert to_run(compose(["agent.actor_epochs=7"])).agent.actor_epochs == 7
    assert to_run(compose(["compute.num_envs=12"])).num_envs == 12


def test_the_fast_preset_changes_the_learning_of_a_gpu_alone() -> None:
    upstream, fast = to_run(compose(["engine=newton"])), to_run(compose(["engine=newton", "compute=gpu_fast"]))
    assert (fast.num_envs, fast.devices, fast.engine) == (upstream.num_envs, upstream.devices, upstream.engine)
    assert (upstream.agent.actor_optimizer.type, fast.agent.actor_optimizer.type) == ("SGD", "Adam")
    changed = to_run(compose(["engine=newton", "compute=gpu_fast", "agent.actor_optimizer.type=SGD"])).agent
    assert changed.actor_optimizer.type == "SGD"


def test_every_value_of_a_preset_says_why() -> None:
    for path in [conf_dir() / "compute/cpu.yaml", *sorted((conf_dir() / "agent/compute").glob("*.yaml"))]:
        before = ""
        content = path.read_text().split("_self_")[-1]
        for line in content.splitlines():
            key, _, value = line.partition(": ")
            if value and not key.lstrip().startswith("#"):
                assert before.lstrip().startswith("#"), f"{path}: {key} has no comment above it"
            before = line


@pytest.mark.parametrize("override", OPTIONS)
def test_every_option_composes_and_passes_the_rules(override: str) -> None:
    if override == "sweep=optuna_ppo":
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    cfg = compose([override])
    run, flat = to_run(cfg), flatten(cfg, resolve=True)
    for key, rule in RULES.items():
        if key in flat:
            assert rule.accepts(flat[key]), f"{override}: {key}"
    if override.startswith("motion="):
        assert run.motion.name == override.partition("=")[2]
        assert run.env.motion_file == run.motion.motion_file
        assert run.motion.motion_file.startswith(("data/motions/", "data/datasets/"))
        assert run.motion.name.startswith(f"{run.motion.character}_")


def test_a_clip_that_lies_down_may_touch_the_ground() -> None:
    assert to_run(compose()).env.contact_bodies == ["right_foot", "left_foot"]
    assert to_run(compose(["motion=humanoid_cartwheel"])).env.contact_bodies[:2] == ["right_hand", "left_hand"]
    assert len(to_run(compose(["motion=humanoid_roll"])).env.contact_bodies) == 15
    assert to_run(compose(["motion=humanoid_roll", "env.contact_bodies=[head]"])).env.contact_bodies == ["head"]


def test_every_rule_names_a_key_that_exists() -> None:
    named = ("engine", "agent", "env", "launch")
    words = [f"{name}={option}" for name in named for option in groups()[name].option_names()]
    keys = set().union(*(flatten(compose([word])) for word in words))
    assert set(RULES) <= keys


def test_the_tiny_run_is_two_iterations() -> None:
    run = to_run(compose(["debug=tiny"]))
    assert run.max_samples == 2 * run.num_envs * run.agent.steps_per_iter


def test_no_group_writes_outside_its_own_package() -> None:
    for group in groups().values():
        for option in group.options:
            text = option.path.read_text()
            assert ("@package _global_" in text) == (group.name in ("experiment", "debug", "sweep")), option.path
            assert "_target_:" not in text


def test_a_key_added_past_the_schema_is_refused() -> None:
    with pytest.raises(UserError, match=r"^agent\.actor_epoch: unknown key; nearest: agent\.actor_epochs"):
        to_run(compose(["+agent.actor_epoch=3"]))


def test_the_resolved_yaml_is_plain() -> None:
    text = resolved_yaml(compose())
    assert "${" not in text
    assert "hydra" not in text
    assert "!!" not in text
