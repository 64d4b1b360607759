"""The networks that a config names (``actor_net: fc_2layers_1024units``), with an activation after every layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.schema import FC_WIDTHS

ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU}


def build_net(name: str, in_size: int, activation: str = "relu") -> tuple[nn.Sequential, int]:
    """The hidden layers called ``name`` for ``in_size`` features and the number of features they put out.

    Linear layers sit at index 0, 2, (4), as in the names of a checkpoint. Weights keep torch's default
    U(±1/sqrt(fan_in)), biases are 0.
    """
    layers: list[nn.Module] = []
    for width in FC_WIDTHS[name]:
        linear = nn.Linear(in_size, width)
        nn.init.zeros_(linear.bias)
        layers += [linear, ACTIVATIONS[activation]()]
        in_size = width
    return nn.Sequential(*layers), in_size


class OutputLayer(nn.Linear):
    """A linear layer that stays in float32 where the layers before it run in mixed precision.

    Three digits of bfloat16 are too few for a mean whose standard deviation is a twentieth of the action's range.
    """

    def forward(self, features: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(features.device.type):
            return super().forward(features)
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())


def linear_head(in_size: int, out_size: int, weight_scale: float | None = None) -> nn.Linear:
    """An output layer with zero bias; weights U(-s, s), or torch's default where ``weight_scale`` is None."""
    layer = OutputLayer(in_size, out_size)
    if weight_scale is not None:
        nn.init.uniform_(layer.weight, -weight_scale, weight_scale)
    nn.init.zeros_(layer.bias)
    return layer
