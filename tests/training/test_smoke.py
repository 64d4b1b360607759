"""``debug=smoke``: a test run of every method with every task, in one environment and seconds, trained or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mimickit_hydra.checks.check import validate
from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.training.run import run

METHODS = ("deepmimic", "awr", "lcp", "amp", "add", "ase", "smp")
TASKS = ("location", "steering", "dodgeball")
PRIOR = [
    "prior.num_attention_heads=2", "prior.attention_head_dim=8", "prior.num_layers=1", "prior.batch_size=8",
    "prior.num_samples_stat=50", "prior.num_iterations=2", "prior.output_iter=2", "prior.device=cpu",
]  # fmt: skip
EVERYTHING = [(f"method={method}",) for method in METHODS]
EVERYTHING += [(f"method={method}", f"env={task}") for method in METHODS for task in TASKS]
EVERYTHING += [("method=supermimic",)]
EVERYTHING += [("method=deepmimic", "env=vault"), ("method=awr", "env=vault"), ("method=lcp", "env=vault")]


def smoke(out: Path, *overrides: str) -> dict[str, float]:
    """Run it as the command line would, and return its metrics."""
    cfg = compose([*overrides, "debug=smoke", "rand_seed=1", "engine.num_threads=1", f"out_dir={out}"])
    config = to_run(cfg)
    validate(config)
    assert (config.mode, config.num_envs, config.video) == ("test", 1, False)
    run(config, resolved_yaml=resolved_yaml(cfg), overrides=list(overrides), out_dir=str(out))
    metrics: dict[str, float] = json.loads((out / "metrics.json").read_text())
    return metrics


def check(metrics: dict[str, float]) -> None:
    assert metrics["episodes"] == 2
    assert 1 <= metrics["episode_length"] <= 30  # a second at 30 Hz
    assert metrics["return"] == metrics["return"]  # a number


@pytest.fixture(scope="session")
def priors(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """One for motion alone, and one for the tasks, which look from the character's own heading."""
    pytest.importorskip("diffusers")
    from mimickit_hydra.cli.main import main

    folder = tmp_path_factory.mktemp("smoke")
    torch.set_num_threads(1)
    for name, extra in (("motion", []), ("task", ["env=location"])):
        assert main(["prior", "train", str(folder / name), "motion=humanoid_walk", *extra, *PRIOR]) == 0
    return {False: folder / "motion" / "model.pt", True: folder / "task" / "model.pt"}


@pytest.mark.slow
@pytest.mark.parametrize("overrides", EVERYTHING, ids=" ".join)
def test_every_method_with_every_task(
    overrides: tuple[str, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if "method=smp" in overrides:
        prior = request.getfixturevalue("priors")[len(overrides) > 1]
        overrides = (*overrides, f"agent.smp_prior_model={prior}")
    check(smoke(tmp_path / "run", *overrides, "motion=humanoid_walk"))


def test_an_untrained_policy_is_called_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(smoke(tmp_path / "run", "method=amp", "env=location", "motion=humanoid_walk"))
    assert "model_file is not set: testing an untrained policy" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["view_motion", pytest.param("dof_test", marks=pytest.mark.slow)])
def test_where_nothing_is_learned(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = smoke(tmp_path / "run", f"method={method}")
    assert metrics["episodes"] == 2
    out = capsys.readouterr().out
    assert f"{method}: nothing is learned here, the env moves the character" in out
    assert "untrained" not in out
