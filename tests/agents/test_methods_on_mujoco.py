"""Twenty iterations of every method on the MuJoCo engine: finite numbers, and signs that it learns what it should."""

from __future__ import annotations

import math

import pytest
import torch

from mimickit_hydra.adapter.build import build
from mimickit_hydra.agents.comm import Comm
from mimickit_hydra.config.compose import compose, to_run

SMALL = ["engine=mujoco", "num_envs=32", "motion=humanoid_walk", "compute=cpu"]
ITERATIONS = 20
PRIOR = ["prior.num_attention_heads=1", "prior.num_layers=1", "prior.batch_size=64", "prior.num_samples_stat=500"]
PRIOR += ["prior.num_iterations=300", "prior.output_iter=300", "prior.lr=1e-3", "prior.device=cpu"]
PRIOR += ["prior.model_ema=false"]


def train(*overrides: str) -> list[dict[str, float]]:
    torch.manual_seed(0)
    parts = build(to_run(compose([*SMALL, *overrides])), Comm(), torch.device("cpu"))
    try:
        parts.agent.update_threads = 1
        return [parts.agent.train_iteration() for _ in range(ITERATIONS)]
    finally:
        parts.close()


def mean(rows: list[dict[str, float]], key: str, which: slice) -> float:
    values = [row[key] for row in rows[which]]
    return sum(values) / len(values)


FIRST, LAST = slice(0, 3), slice(-3, None)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["deepmimic", "awr", "lcp", "amp", "add", "ase", "smp"])
def test_twenty_iterations(method, tmp_path):
    overrides = [f"method={method}"]
    if method == "smp":
        pytest.importorskip("diffusers")
        from mimickit_hydra.cli.main import main

        assert main(["prior", "train", str(tmp_path / "prior"), "motion=humanoid_walk", *PRIOR]) == 0
        overrides.append(f"agent.smp_prior_model={tmp_path / 'prior' / 'model.pt'}")
    rows = train(*overrides)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    if method in ("deepmimic", "awr", "lcp"):
        assert mean(rows, "Train_Return", LAST) > 0.0
    if method in ("amp", "ase"):
        assert mean(rows, "Disc_Agent_Acc", LAST) > 0.6
        assert mean(rows, "Disc_Demo_Acc", LAST) > 0.6
    if method == "ase":
        assert mean(rows, "Enc_Loss", LAST) < 0.0  # the encoder points the right way more often than not
        assert 0.0 < mean(rows, "Diversity_Loss", LAST) <= 1.0
    if method == "add":
        assert mean(rows, "Disc_Pos_Logit", LAST) > mean(rows, "Disc_Neg_Logit", LAST)
        assert mean(rows, "Disc_Loss", LAST) < mean(rows, "Disc_Loss", FIRST)
    if method == "smp":
        assert mean(rows, "Smp_Reward_Mean", LAST) > mean(rows, "Smp_Reward_Mean", FIRST)
