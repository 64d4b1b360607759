"""What the groups compose to, by value."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from mimickit_hydra.agents.schema import PPOAgentConfig
from mimickit_hydra.checks.compatibility import check_pairs
from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.config.fields import check_fields
from mimickit_hydra.config.groups import groups
from mimickit_hydra.config.roots import conf_dir
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.engines.schema import MujocoEngineConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.plugins import SCHEMAS

MIMICKIT = json.loads((Path(__file__).parent / "data" / "deepmimic_humanoid_ppo.json").read_text())
SPINKICK = ["experiment=deepmimic_humanoid_spinkick"]
OPTIONS = [f"{group.name}={name}" for group in groups().values() for name in group.option_names()]

TERMS: dict[str, Any] = {"observations": {}, "rewards": {}, "terminations": {}}  # none


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
    assert extra == {
        "zero_center_action": False,
        "visualize_ref_char": True,
        "objects": [],
        "observations": {},
        "rewards": {},
        "terminations": {},
        "events": {},
        "critic_observations": {},
        "state_estimation": True,
        "motion_split": None,
        "held_out": 0.0,
        "fuse": False,
        "action_about": "default",
        "lift_starts": False,
        "sampling": "weight",
        "sampling_params": {},
    }
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
    assert to_run(compose(["engine=newton", "recipe=fast"])).agent == fast.agent
    assert to_run(compose(["engine=mujoco", "recipe=mimickit"])).agent == upstream.agent
    changed = to_run(compose(["engine=newton", "compute=gpu_fast", "agent.actor_optimizer.type=SGD"])).agent
    assert changed.actor_optimizer.type == "SGD"


@pytest.mark.parametrize("preset", ["light", "robot"])
def test_randomize_has_its_events_and_noise_with_every_method(preset: str) -> None:
    words = ["env=tracking", "character=g1_mjlab", f"randomize={preset}"]
    tracking, imagined = (to_run(compose([*words, f"method={name}"])).env for name in ("tracking", "supermimic"))
    assert imagined.events == tracking.events
    assert imagined.observations["joint_pos"]["noise"] is None  # as sensor_noise has it, and without it none
    plain = to_run(compose([*words[:2], "method=supermimic"])).env
    assert set(plain.events.values()) == {None}


def test_what_an_agent_needs_in_an_env_comes_whatever_the_method() -> None:
    """A world model imagines what the env shows: with another method, too, it has to be what states tell."""
    words = ["env=tracking", "agent=supermimic", "character=g1_mjlab"]
    named, mixed = (to_run(compose([*words, f"method={name}"])).env for name in ("supermimic", "tracking"))
    assert mixed == named
    assert mixed.observations["actions"] is None


def test_what_ppo_needs_in_an_env_goes_to_no_other_agent() -> None:
    ppo = to_run(compose(["method=deepmimic", "recipe=cpu"]))
    assert (ppo.env.action_about, ppo.agent.model.action_std) == ("reference", 0.035)
    for agent in ("adaptive_ppo", "awr", "lcp", "supermimic"):
        run = to_run(compose(["method=deepmimic", "recipe=cpu", f"agent={agent}"]))
        alone = to_run(compose([f"agent={agent}", "recipe=mimickit"]))
        assert (run.env.action_about, run.agent.model.action_std) == ("default", alone.agent.model.action_std)
        check_pairs(run)


def test_the_fast_preset_leaves_what_learns_in_another_way_than_ppo_its_own_settings() -> None:
    words = ["method=supermimic", "engine=newton"]
    own, fast = (to_run(compose([*words, f"compute={name}"])).agent for name in ("gpu", "gpu_fast"))
    assert fast == dataclasses.replace(own, decay_begin=8e6, decay_end=40e6)


def test_every_value_of_a_preset_says_why() -> None:
    for path in [conf_dir() / "compute/cpu.yaml", *sorted((conf_dir() / "recipe").rglob("*.yaml"))]:
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
    cfg = compose([override, *["recipe=mimickit"] * (override == "agent=dummy")])
    run = to_run(cfg)
    check_fields(run)
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


def test_a_limit_is_a_key_of_the_same_dataclass() -> None:
    for entry in SCHEMAS.entries():
        fields = {field.name: field for field in dataclasses.fields(entry.load_schema())}
        assert {field.metadata["up_to"] for field in fields.values() if field.metadata.get("up_to")} <= set(fields)


def test_the_tiny_run_is_two_iterations() -> None:
    run = to_run(compose(["debug=tiny"]))
    assert run.max_samples == 2 * run.num_envs * run.agent.steps_per_iter


def test_no_group_writes_outside_its_own_package() -> None:
    for group in groups().values():
        for option in group.options:
            text = option.path.read_text()
            assert ("@package _global_" in text) == (group.name in ("model", "experiment", "debug", "sweep")), (
                option.path
            )
            assert "_target_:" not in text


def test_a_key_added_past_the_schema_is_refused() -> None:
    with pytest.raises(UserError, match=r"^agent\.actor_epoch: unknown key; nearest: agent\.actor_epochs"):
        to_run(compose(["+agent.actor_epoch=3"]))


def test_the_resolved_yaml_is_plain() -> None:
    text = resolved_yaml(compose())
    assert "${" not in text
    assert "hydra" not in text
    assert "!!" not in text
