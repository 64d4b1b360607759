"""``benchmarks/supermimic_ablations.py``: each variant leaves out what it says, and one command runs some of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "supermimic_ablations.py"
WORDS = ["character=humanoid", "motion=humanoid_walk", "engine=mujoco"]


def test_every_variant_changes_a_run(script) -> None:
    args = script.arguments(["--minutes", "1", "--device", "cpu", *WORDS])
    words = list(dict.fromkeys(word for own in script.VARIANTS.values() for word in own))
    before, after = script.composed(args, []), script.composed(args, words)  # all at once, for the time it takes
    assert after.agent.horizon == before.agent.horizon // 2
    for word in words:
        kind, *path = word.partition("=")[0].split(".")
        values = [getattr(run, kind) for run in (before, after)]
        for key in path:
            values = [value[key] if isinstance(value, dict) else getattr(value, key) for value in values]
        assert values[0] != values[1], word


@pytest.mark.parametrize("words", [[], ["--only", "average,ema", "--minutes", "1"]])
def test_what_cannot_be_is_said(script, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script.arguments(words)
    assert ("give --iterations" if not words else "'ema' is none of all, average") in capsys.readouterr().err


@pytest.mark.slow
def test_one_command_runs_them(tmp_path: Path) -> None:
    small = [
        "num_envs=8", "engine.num_threads=1", "agent.warmup_steps=8", "agent.holdout_envs=2", "agent.horizon=2",
        "agent.window=4", "agent.first_window=4", "agent.world_warmup=2", "agent.iters_per_output=1",
    ]  # fmt: skip
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--iterations", "3", "--episodes", "8"]
    out = tmp_path / "rows.json"
    done = subprocess.run(
        [*command, "--only", "all,probes", "--out", str(out), *WORDS, *small], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["without"] for row in rows] == ["all", "probes"]
    assert all(row["iterations"] == 3 and row["return"] > 0.0 for row in rows)
    assert rows[0]["falls_per_hour"] is not None
    assert rows[1]["falls_per_hour"] is None
    assert done.stdout.splitlines()[-2].startswith("| - | 3 |")
