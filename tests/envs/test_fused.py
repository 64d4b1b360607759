"""``env.fuse``: what an env computes is the same to rounding when it is compiled."""

from __future__ import annotations

import pytest
import torch

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.training.build import build
from mimickit_hydra.training.rng import seed_everything


def rollout(fuse: bool, *more: str) -> dict[str, torch.Tensor]:
    words = [
        *more,
        "num_envs=16",
        "devices=[cpu]",
        "agent.steps_per_iter=8",
        "env.episode_length=0.2",
        f"env.fuse={fuse}",
    ]
    seed_everything(0)
    parts = build(to_run(compose(words)), Comm(), torch.device("cpu"))
    parts.agent._start()
    parts.agent._rollout()
    parts.agent._rollout()
    found = {name: tensor.clone() for name, tensor in parts.agent.buffer._fields.items()}
    found |= parts.env.sampler.state_dict()
    parts.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["weight", "failure", "return"])
def test_a_compiled_env_shows_the_same(sampling: str) -> None:
    fused, plain = (rollout(fuse, f"env.sampling={sampling}", "motion=humanoid_fifteen") for fuse in (True, False))
    for name, tensor in plain.items():
        torch.testing.assert_close(
            fused[name], tensor, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_by_default_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(torch, "compile", refuse)
    rollout(False)
