"""The captured rollout against the one step by step, on a GPU: with an engine that is captured along, and with those
between whose calls the graphs stand."""

from __future__ import annotations

import sys

import pytest
import torch

from mimickit_hydra.engines.registry import engine_problem

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
OVERRIDES = ["devices=[cuda:0]", "num_envs=64", "agent.steps_per_iter=12", "rand_seed=3"]
ENGINES = {
    "newton": ["engine=newton"],
    "mjwarp": ["engine=mjwarp"],
    "newton, hosted": ["engine=newton", f"engine.python={sys.executable}"],
    "isaac_lab": ["engine=isaac_lab", "engine.sim_freq=240"],
}


def engine(label: str) -> list[str]:
    """The overrides that choose it; skips where it is not installed."""
    problem = engine_problem(label.partition(",")[0])
    if problem:
        pytest.skip(problem)
    return ENGINES[label]


def rollouts(capture: bool, *overrides: str) -> list[dict[str, torch.Tensor]]:
    """Two rollouts without an update between them, so that the simulator alone can make a difference."""
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.distributed import Comm
    from mimickit_hydra.training.build import build

    run = to_run(compose([*OVERRIDES, *overrides]))
    torch.manual_seed(3)
    parts = build(run, Comm(), torch.device("cuda:0"))
    agent = parts.agent
    if not capture:
        agent._staged = None
    agent._start()
    found = []
    for _ in range(2):
        agent._rollout()
        found.append({name: tensor.clone() for name, tensor in agent.buffer._fields.items()})
    if capture:
        assert agent._staged is not None
        assert agent._staged.captured, agent._staged.problem
    parts.close()
    return found


@pytest.mark.parametrize(
    ("label", "method"),
    [
        ("newton", "deepmimic"),
        ("newton", "amp"),
        ("mjwarp", "deepmimic"),
        ("newton, hosted", "deepmimic"),
        ("isaac_lab", "amp"),
    ],
)
def test_graphs_and_single_steps_agree(label: str, method: str) -> None:
    """Contacts are summed in no fixed order on a GPU: where a foot just touches the ground two runs part at once, so
    nearly all numbers of the first steps agree, and the medians of all steps."""
    words = [*engine(label), f"method={method}"]
    captured, direct = rollouts(True, *words), rollouts(False, *words)
    for name, value in direct[0].items():
        if value.is_floating_point():
            close = torch.isclose(captured[0][name][:6], value[:6], atol=5e-2, rtol=1e-2).flatten(1).float().mean(1)
            assert close.min() > 0.97, f"{name}: share of close numbers by row {close.tolist()}"
            apart = (captured[0][name] - value).abs().flatten(1).median(dim=1).values
            assert apart.max() < 1e-2, f"{name}: median difference by row {apart.tolist()}"
    torch.testing.assert_close(captured[0]["noise"], direct[0]["noise"])
    same = (captured[1]["done"] == direct[1]["done"]).float().mean()
    assert same > 0.9


def test_a_captured_rollout_never_waits() -> None:
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.distributed import Comm
    from mimickit_hydra.training.build import build

    parts = build(to_run(compose([*OVERRIDES, *engine("newton")])), Comm(), torch.device("cuda:0"))
    parts.agent._start()
    parts.agent._rollout()
    torch.cuda.set_sync_debug_mode("error")
    try:
        parts.agent._rollout()
    finally:
        torch.cuda.set_sync_debug_mode("default")
        parts.close()
