"""The registry of named networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mimickit_hydra.agents.errors import AgentError
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


def test_cnn():
    net, size = build_net("cnn_3conv_1fc_0", (4, 84, 84))
    assert size == 512
    assert net[8].in_features == 3136
    assert net(torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)).shape == (2, 512)


def test_output_layer():
    head = linear_head(10, 3, 0.01)
    assert head.weight.abs().max() <= 0.01
    assert not head.bias.any()


def test_unknown_name_is_one_line_with_the_nearest():
    with pytest.raises(
        AgentError, match=r"model.actor_net.*fc_2layers_1024unit'.*nearest: fc_2layers_1024units"
    ) as error:
        build_net("fc_2layers_1024unit", 4, key="model.actor_net")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "shape"), [("cnn_3conv_1fc_0", 4), ("fc_2layers_128units", (4, 84, 84))])
def test_shape_that_does_not_fit(name, shape):
    with pytest.raises(AgentError, match=name):
        build_net(name, shape)
