"""The flat optimiser equals torch's own on the same parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mimickit_hydra.agents.optimizer import HeadOptimizer
from mimickit_hydra.agents.schema import OptimizerConfig
from mimickit_hydra.distributed import Comm
from mimickit_hydra.errors import UserError


def nets():
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1))
    second = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1))
    second.load_state_dict(first.state_dict())
    return first, second


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("clip", [0.0, 0.3])
def test_equals_torch(kind, clip):
    ours, theirs = nets()
    optimizer = HeadOptimizer("actor", ours.parameters(), OptimizerConfig(kind, 1e-2, 1e-3, clip), Comm())
    if kind == "SGD":
        reference = torch.optim.SGD(theirs.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-3)
    else:
        reference = torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=1e-3)
    for _ in range(5):
        x = torch.randn(16, 5)
        optimizer.step(ours(x).square().mean())
        reference.zero_grad()
        theirs(x).square().mean().backward()
        if clip:
            nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_untrained_parameters_stay():
    net, _ = nets()
    net[0].weight.requires_grad_(False)
    before = net[0].weight.clone()
    optimizer = HeadOptimizer("actor", net.parameters(), OptimizerConfig("SGD", 0.1), Comm())
    optimizer.step(net(torch.randn(3, 5)).sum())
    assert torch.equal(net[0].weight, before)
    assert optimizer._flat.numel() == 7 + 7 + 1


def test_loading_a_state_dict_keeps_the_views():
    net, other = nets()
    optimizer = HeadOptimizer("actor", net.parameters(), OptimizerConfig("SGD", 0.1), Comm())
    net.load_state_dict({name: torch.zeros_like(value) for name, value in other.state_dict().items()})
    assert not optimizer._flat.any()


def test_moments_of_another_network_are_refused():
    net, _ = nets()
    optimizer = HeadOptimizer("actor", net.parameters(), OptimizerConfig("Adam"), Comm())
    optimizer.step(net(torch.randn(3, 5)).sum())
    small = HeadOptimizer("actor", nn.Linear(2, 1).parameters(), OptimizerConfig("Adam"), Comm())
    with pytest.raises(UserError, match=r"50 numbers in exp_avg.*3 parameters"):
        small.load_state_dict(optimizer.state_dict())
