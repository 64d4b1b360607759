"""A run with a replay buffer goes on with the same numbers, and goes on at all where the buffer is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import SAMPLES, TINY, assert_same_state

from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.training.checkpoint import list_checkpoints
from mimickit_hydra.training.run import run

AMP = [*TINY, "method=amp", "agent.disc_buffer_size=100", "agent.disc_replay_samples=20"]


def train(out_dir: Path, iterations: int, *overrides: str) -> None:
    words = [*AMP, f"out_dir={out_dir}", f"max_samples={iterations * SAMPLES}", *overrides]
    cfg = compose(words)
    run(to_run(cfg), resolved_yaml=resolved_yaml(cfg), overrides=words, out_dir=str(out_dir))


def test_the_replay_is_part_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, path = tmp_path / "whole", tmp_path / "run"
    train(whole, 4)
    train(path, 2)
    train(path, 4, f"resume={path}")
    assert_same_state(path, whole)
    newest = list_checkpoints(path)[-1]
    assert [file.name for file in newest.parent.glob("replay_*")] == [newest.name.replace("ckpt", "replay")]

    next(newest.parent.glob("replay_*")).unlink()
    train(path, 5, f"resume={path}")
    assert "going on with an empty replay buffer" in capsys.readouterr().out
