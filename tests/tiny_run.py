"""The smallest run that goes through everything, and how two of them are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mimickit_hydra.runs.log_table import read_log
from mimickit_hydra.training.checkpoint import load_checkpoint

TINY = [
    "num_envs=4",
    "engine.num_threads=1",
    "agent.steps_per_iter=8",
    "agent.iters_per_output=2",
    "agent.test_episodes=1",
    "agent.model.actor_net=fc_2layers_128units",
    "agent.model.critic_net=fc_2layers_128units",
    "env.episode_length=0.5",
    "test_episodes=0",
    "rand_seed=7",
    "logger=txt",
]
SAMPLES = 32  # of one iteration and process
CLOCK_COLUMNS = {"Wall_Time", "Samples_Per_Second"}


def log_rows(run_dir: Path) -> dict[str, list[float]]:
    """The log without the columns that measure the clock."""
    return {key: list(values) for key, values in read_log(run_dir / "log.txt").items() if key not in CLOCK_COLUMNS}


def iteration_of(run_dir: Path) -> int:
    return int(load_checkpoint(run_dir).payload["agent"]["iteration"])


def assert_same_run(left: Path, right: Path, ranks: int = 1) -> None:
    """Same curve, same state of everything: nothing was lost and nothing was done twice."""
    assert log_rows(left) == log_rows(right)
    assert_same_state(left, right, ranks)


def assert_same_state(left: Path, right: Path, ranks: int = 1) -> None:
    """The newest checkpoints agree in everything but the clock."""
    for rank in range(ranks):
        a, b = (load_checkpoint(path, rank=rank, world_size=ranks).payload for path in (left, right))
        assert a["agent"]["iteration"] == b["agent"]["iteration"]
        for part in ("agent", "env", "rng"):
            assert_equal(a[part], b[part], part)


def assert_equal(a: Any, b: Any, where: str) -> None:
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{index}]")
    else:
        assert a == b, where
