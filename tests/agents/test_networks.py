"""The registry of named networks."""

from __future__ import annotations

import pytest
from torch import nn

from mimickit_hydra.agents.networks import FC_WIDTHS, build_net, linear_head


@pytest.mark.parametrize(("name", "widths"), FC_WIDTHS.items())
def test_fully_connected(name, widths):
    net, size = build_net(name, 7)
    linear = [module for module in net if isinstance(module, nn.Linear)]
    assert tuple(layer.out_features for layer in linear) == widths
    assert size == widths[-1]
    assert [index for index, module in enumerate(net) if isinstance(module, nn.Linear)] == [0, 2, 4][: len(widths)]
    assert isinstance(net[-1], nn.ReLU)
    assert all(not layer.bias.any() for layer in linear)
    assert linear[0].weight.abs().max() <= 1 / 7**0.5


def test_output_layer():
    head = linear_head(10, 3, 0.01)
    assert head.weight.abs().max() <= 0.01
    assert not head.bias.any()
