"""From the command line: a prior and the policy it judges, tasks with a method that follows a clip; train and test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import TINY, log_rows

ROOT = Path(__file__).resolve().parents[2]
PRIOR = [
    "prior.num_attention_heads=2", "prior.attention_head_dim=8", "prior.num_layers=1", "prior.batch_size=8",
    "prior.num_samples_stat=50", "prior.num_iterations=20", "prior.output_iter=20", "prior.device=cpu",
]  # fmt: skip


def command(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    return done.stdout


def train_and_test(folder: Path, *overrides: str) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The log of a short training, and the metrics of a test of its policy."""
    run, test = folder / "run", folder / "test"
    command("train.py", *TINY, *overrides, "max_samples=96", "video=false", f"out_dir={run}")
    said = command("train.py", "debug=smoke", f"model_file={run}", f"out_dir={test}")
    assert "testing " in said
    assert "untrained" not in said
    metrics = json.loads((test / "metrics.json").read_text())
    assert metrics["episodes"] == 2  # the preset's, on top of the run's own config
    return log_rows(run), metrics


@pytest.mark.slow
@pytest.mark.parametrize("task", [None, "location"])
def test_a_prior_and_its_policy(tmp_path: Path, task: str | None) -> None:
    pytest.importorskip("diffusers")
    env = [] if task is None else [f"env={task}"]
    said = command("-m", "mimickit_hydra.cli.main", "prior", "train", str(tmp_path / "prior"), *env, *PRIOR)
    model = tmp_path / "prior" / "model.pt"
    assert f"agent.smp_prior_model={model}" in said
    gsi = (
        [] if task is None else ["agent.gsi_buffer_size=16", "agent.gsi_batch_size=4", "agent.gsi_regen_num_motions=8"]
    )
    log, metrics = train_and_test(tmp_path, "method=smp", *env, f"agent.smp_prior_model={model}", *gsi)
    assert all(value > 0.0 for value in log["Smp_Reward_Mean"])
    assert metrics["episode_length"] > 1


@pytest.mark.slow
@pytest.mark.parametrize("task", ["location", "steering", "dodgeball"])
def test_a_task_with_a_method_that_follows_a_clip(tmp_path: Path, task: str) -> None:
    log, metrics = train_and_test(tmp_path, "method=add", f"env={task}", "motion=humanoid_walk")
    assert log["Samples"][-1] == 96
    assert metrics["episode_length"] > 1


def test_one_sample_per_iteration(tmp_path: Path) -> None:
    """Standard deviations of one sample are 0, not NaN: of the advantage, and of both of ASE's rewards."""
    sizes = [f"agent.{name}_batch_size=1" for name in ("actor", "critic", "disc", "enc")]
    one = ["num_envs=1", "agent.steps_per_iter=1", "agent.iters_per_output=1", "max_samples=3", "video=false"]
    command("train.py", *TINY, "method=ase", *one, *sizes, f"out_dir={tmp_path / 'run'}")
    log = log_rows(tmp_path / "run")
    for name in ("Adv_Std", "Disc_Reward_Std", "Enc_Reward_Std"):
        assert set(log[name]) == {0.0}
