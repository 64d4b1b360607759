"""A run on a GPU that was stopped and resumed, against one that was not. Skipped where there is no GPU.

Contacts are summed in no fixed order there, so states and weights part from rounding on; that they are continued is for
test_training_run.py, on a CPU. What does not come out of the simulator must be equal to the bit here too: counters,
random state, clips and times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import TINY, assert_equal

from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.engines.registry import engine_problem
from mimickit_hydra.training.checkpoint import load_checkpoint
from mimickit_hydra.training.run import run

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(bool(engine_problem("newton")), reason=engine_problem("newton") or "-"),
]
NUM_ENVS = 16
OVERRIDES = [
    *(word for word in TINY if not word.startswith(("engine.", "num_envs"))),
    "engine=newton", "devices=[cuda:0]", f"num_envs={NUM_ENVS}",
    "env.enable_early_termination=false",  # or whether an episode ends depends on rounding
]  # fmt: skip


def train(out_dir: Path, iterations: int, *overrides: str) -> None:
    samples = NUM_ENVS * 8
    cfg = compose([*OVERRIDES, f"out_dir={out_dir}", f"max_samples={iterations * samples}", *overrides])
    run(to_run(cfg), resolved_yaml=resolved_yaml(cfg), overrides=list(overrides), out_dir=str(out_dir))


def payload(path: Path) -> dict[str, Any]:
    return load_checkpoint(path).payload


@pytest.mark.parametrize("method", ["deepmimic", "amp"])
def test_a_resumed_run_goes_on_as_one_without_interruption(method: str, tmp_path: Path) -> None:
    """From the fourth step on a rollout is a graph: the two run the same steps as graphs and one by one."""
    words = [f"method={method}"] + (["agent.disc_buffer_size=500"] if method == "amp" else [])
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(whole, 5, *words)
    train(parts, 3, *words)
    at_stop = payload(parts)
    train(parts, 5, *words, f"resume={parts}")
    a, b = payload(parts), payload(whole)
    assert_equal(a["rng"], b["rng"], "rng")
    assert a["rng"]["cuda"][0].tolist() != at_stop["rng"]["cuda"][0].tolist()
    for part in ("agent", "env"):
        assert a[part].keys() == b[part].keys()
        for key, value in b[part].items():
            if not isinstance(value, torch.Tensor | dict):
                assert a[part][key] == value, f"{part}.{key}"
    for name in ("timestep", "time", "motion_ids", "start_times", "motion_time", "clip_end"):
        assert_equal(a["env"][name], b["env"][name], name)
