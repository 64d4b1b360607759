"""Twenty iterations of every method on the MuJoCo engine: finite numbers, and signs that it learns what it should.

One seed each, on one thread. The margins are far inside what was seen, so that another version of a library with other
rounding passes as well; what twenty iterations cannot show is not asked for.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import pytest
import torch

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.ase import unit_latents
from mimickit_hydra.agents.gradient_penalty import hidden_activations
from mimickit_hydra.agents.lcp_agent import lipschitz_penalty
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.training.build import build

pytestmark = pytest.mark.slow

NUM_ENVS = 48
SMALL = ["engine=mujoco", f"num_envs={NUM_ENVS}", "motion=humanoid_walk", "compute=cpu"]
SMALL += ["agent.steps_per_iter=32"]  # twice the preset's: each iteration has to show more
ITERATIONS = 20
PRIOR = ["prior.num_attention_heads=1", "prior.num_layers=1", "prior.batch_size=64", "prior.num_samples_stat=500"]
PRIOR += ["prior.num_iterations=300", "prior.output_iter=300", "prior.lr=1e-3", "prior.device=cpu"]
PRIOR += ["prior.model_ema=false"]

Row = dict[str, float]
FIRST, LAST, ALL = slice(0, 3), slice(-3, None), slice(None)


@contextlib.contextmanager
def new_agent(*overrides: str) -> Iterator[Agent]:
    torch.manual_seed(0)
    parts = build(to_run(compose([*SMALL, *overrides])), Comm(), torch.device("cpu"))
    try:
        parts.agent.update_threads = 1
        yield parts.agent
    finally:
        parts.close()


def train(agent: Agent) -> list[Row]:
    rows = [agent.train_iteration() for _ in range(ITERATIONS)]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    return rows


def mean(rows: list[Row], key: str, which: slice) -> float:
    values = [row[key] for row in rows[which]]
    return sum(values) / len(values)


@pytest.mark.parametrize("method", ["deepmimic", "awr", "lcp"])
def test_the_test_return_rises(method: str) -> None:
    with new_agent(f"method={method}", "env.action_about=default") as agent:  # about the reference it begins high
        before = agent.test(NUM_ENVS)
        train(agent)
        after = agent.test(NUM_ENVS)
    assert after["Test_Return"] > 1.12 * before["Test_Return"]
    assert after["Test_Episode_Length"] > 1.05 * before["Test_Episode_Length"]


def steepness(agent: Agent) -> float:
    """Mean ‖∂ log π(a|o)/∂o‖² over the last rollout, for actions drawn from the policy with fixed random numbers."""
    layers, head = agent.model._actor_layers, agent.model._action_dist
    obs = agent.buffer["norm_obs"][:-1].flatten(0, 1)
    noise = torch.randn(len(obs), len(agent.env.action_low), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden = hidden_activations(layers, obs)
        dist = head(hidden[-1])
        return float(lipschitz_penalty(layers, head, hidden, dist.mean + noise * dist.logstd.exp()))


def test_lcp_makes_a_smoother_policy_than_ppo() -> None:
    found = []
    for overrides in (["method=deepmimic"], ["method=lcp", "agent.lcp_weight=0.01"]):
        with new_agent("num_envs=32", *overrides) as agent:
            train(agent)
            found.append(steepness(agent))
    assert found[1] < 0.8 * found[0]


def test_amp_tells_policy_and_clip_apart() -> None:
    with new_agent("method=amp") as agent:
        rows = train(agent)
    _assert_judging(rows)
    assert mean(rows, "Disc_Demo_Logit", LAST) > 0.5 > -0.5 > mean(rows, "Disc_Agent_Logit", LAST)
    # the policy gets away with more than at the start, before the discriminator had learned the easy differences
    assert mean(rows, "Disc_Reward_Mean", LAST) > min(row["Disc_Reward_Mean"] for row in rows)


def _assert_judging(rows: list[Row]) -> None:
    """Above the chance of one half."""
    assert mean(rows, "Disc_Agent_Acc", LAST) > 0.7
    assert mean(rows, "Disc_Demo_Acc", LAST) > 0.7
    assert mean(rows, "Disc_Loss", LAST) < mean(rows, "Disc_Loss", FIRST)


def test_add_comes_closer_to_the_reference() -> None:
    with new_agent("method=add") as agent:
        before = agent.test(NUM_ENVS)
        rows = train(agent)
        after = agent.test(NUM_ENVS)
    for key in ("Body_Pos_Err", "Root_Pos_Err", "Body_Rot_Err", "Root_Vel_Err"):
        assert after[key] < before[key], key
    assert after["Test_Episode_Length"] > 0.9 * before["Test_Episode_Length"]  # not by ending sooner
    assert mean(rows, "Disc_Pos_Logit", LAST) > mean(rows, "Disc_Neg_Logit", LAST) + 1.0
    assert mean(rows, "Disc_Neg_Acc", LAST) > 0.7
    assert mean(rows, "Disc_Loss", LAST) < mean(rows, "Disc_Loss", FIRST)


def spread(agent: Agent) -> float:
    """Deviation of the action over eight skills for the same observations, mean, in units of half the range."""
    generator = torch.Generator().manual_seed(0)
    obs, size = agent.env.obs, agent.config.model.latent_dim
    skills = unit_latents(torch.randn(8, len(obs), size, generator=generator))
    actions = torch.stack([agent.action_norm.normalize(agent.act_with_latents(obs, latent)) for latent in skills])
    return float(actions.std(0).mean())


def test_ase_finds_skills() -> None:
    """The encoder fits better than chance, 0 +- 0.003 here, and the policy's answers to different skills move apart.

    That skills can be told apart from the motion, which is what the encoder's reward measures, takes longer.
    """
    with new_agent("method=ase", "agent.enc_epochs=4") as agent:  # twenty iterations are few for one pass each
        before = spread(agent)
        rows = train(agent)
        after = spread(agent)
    _assert_judging(rows)
    assert mean(rows, "Enc_Loss", ALL) < -0.015
    assert after > 1.4 * before > 0.0
    assert 0.0 < mean(rows, "Diversity_Loss", LAST) <= 1.0


def test_smp_is_rewarded_more(tmp_path) -> None:
    pytest.importorskip("diffusers")
    from mimickit_hydra.cli.main import main

    assert main(["prior", "train", str(tmp_path / "prior"), "motion=humanoid_walk", *PRIOR]) == 0
    with new_agent("method=smp", f"agent.smp_prior_model={tmp_path / 'prior' / 'model.pt'}") as agent:
        rows = train(agent)
    start = slice(1, 4)  # the first iteration does not know how large losses are
    assert mean(rows, "Sds_Loss_Mean", LAST) < 0.95 * mean(rows, "Sds_Loss_Mean", start)
    assert mean(rows, "Smp_Reward_Mean", LAST) > 1.1 * mean(rows, "Smp_Reward_Mean", start)
