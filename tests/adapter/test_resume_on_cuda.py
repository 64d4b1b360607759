"""A run on a GPU that was stopped and resumed, against one that was not. Skipped where there is no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_run import TINY, assert_same_state

from mimickit_hydra.adapter.run import run
from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.engines.registry import engine_problem

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(bool(engine_problem("newton")), reason=engine_problem("newton") or "-"),
]
NUM_ENVS = 16
OVERRIDES = [
    *(word for word in TINY if not word.startswith(("engine.", "num_envs"))),
    "engine=newton", "engine.deterministic=true", "devices=[cuda:0]", f"num_envs={NUM_ENVS}",
]  # fmt: skip


def train(out_dir: Path, iterations: int, *overrides: str) -> None:
    samples = NUM_ENVS * 8
    cfg = compose([*OVERRIDES, f"out_dir={out_dir}", f"max_samples={iterations * samples}", *overrides])
    run(to_run(cfg), resolved_yaml=resolved_yaml(cfg), overrides=list(overrides), out_dir=str(out_dir))


@pytest.mark.parametrize("method", ["deepmimic", "amp"])
def test_a_resumed_run_equals_one_without_interruption(method: str, tmp_path: Path) -> None:
    """From the fourth step on a rollout is a graph, so the two run the same steps as graphs and one by one."""
    words = [f"method={method}"] + (["agent.disc_buffer_size=500"] if method == "amp" else [])
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(whole, 5, *words)
    train(parts, 3, *words)
    train(parts, 5, *words, f"resume={parts}")
    assert_same_state(parts, whole)
