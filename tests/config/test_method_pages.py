"""The pages of the methods name every key of their agents, and no key that does not exist."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from mimickit_hydra.agents.schema import (
    AdaptivePPOAgentConfig,
    AMPAgentConfig,
    ASEAgentConfig,
    AWRAgentConfig,
    LCPAgentConfig,
    PPOAgentConfig,
    SMPAgentConfig,
)
from mimickit_hydra.agents.world_model.schema import SuperMimicAgentConfig
from mimickit_hydra.envs.schema import AMPEnvConfig, ASEEnvConfig, DeepMimicEnvConfig
from mimickit_hydra.envs.track.schema import TrackingEnvConfig

PAGES = Path(__file__).parents[2] / "docs" / "methods"
AGENTS = {
    "deepmimic": PPOAgentConfig,
    "tracking": AdaptivePPOAgentConfig,
    "awr": AWRAgentConfig,
    "lcp": LCPAgentConfig,
    "amp": AMPAgentConfig,
    "add": AMPAgentConfig,
    "ase": ASEAgentConfig,
    "smp": SMPAgentConfig,
    "supermimic": SuperMimicAgentConfig,
}
BEYOND = {"ase": "amp"}  # pages that say "and the keys of"
ENVS = (DeepMimicEnvConfig, AMPEnvConfig, ASEEnvConfig, TrackingEnvConfig)


def keys(config: type) -> set[str]:
    """Names of the fields of an agent and of its model."""
    fields = {field.name: field for field in dataclasses.fields(config)}
    model = fields["model"].default_factory()  # type: ignore[misc]
    return ({*fields} - {"model", "agent_name"}) | {field.name for field in dataclasses.fields(model)}


def listed(page: str) -> set[str]:
    """Keys of the tables' first columns."""
    tables = [line.split("|")[1] for line in (PAGES / f"{page}.md").read_text("utf-8").splitlines() if line[:1] == "|"]
    return {name.removeprefix("model.") for cell in tables for name in re.findall(r"`([\w.]+)`", cell)}


@pytest.mark.parametrize("method", AGENTS)
def test_every_key_is_listed(method: str) -> None:
    pages = [method, "README", *([BEYOND[method]] if method in BEYOND else [])]
    missing = keys(AGENTS[method]) - set().union(*map(listed, pages))
    if method == "awr":
        missing -= {"ppo_clip_ratio", "norm_adv_clip"}
    assert not missing


@pytest.mark.parametrize("method", AGENTS)
def test_no_key_is_made_up(method: str) -> None:
    known = keys(AGENTS[method]) | {field.name for env in ENVS for field in dataclasses.fields(env)}
    known |= {
        f"motion_{name}"
        for name in ("global_root_pos", "global_root_ori", "body_pos", "body_ori", "body_lin_vel", "body_ang_vel")
    } | {"action_rate_l2", "joint_limit", "self_collisions"}
    known |= {"pose", "vel", "root_pose", "root_vel", "key_pos", "reward_TERM_w", "reward_TERM_scale"}  # the terms
    assert {name.removeprefix("env.") for name in listed(method)} <= known
