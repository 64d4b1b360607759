"""The named networks a config may ask for (``actor_net: fc_2layers_1024units``), all with ReLU after every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.errors import AgentError
from mimickit_hydra.config.one_line import suggestion

# The number in a name is the width of the first layer(s); the last hidden layer has half of it.
FC_WIDTHS: dict[str, tuple[int, ...]] = {
    "fc_2layers_128units": (128, 64),
    "fc_2layers_256units": (256, 128),
    "fc_2layers_512units": (512, 256),
    "fc_2layers_1024units": (1024, 512),
    "fc_3layers_1024units": (1024, 1024, 512),
}
CNN = "cnn_3conv_1fc_0"
NET_NAMES = (*FC_WIDTHS, CNN)


class BytesToUnit(nn.Module):
    """uint8 images to floats in [0, 1]."""

    def forward(self, image: Tensor) -> Tensor:
        return image.float() / 255.0


def build_net(name: str, in_shape: int | Sequence[int], key: str = "net") -> tuple[nn.Sequential, int]:
    """The hidden layers called ``name`` and the number of features they put out.

    ``in_shape`` is the number of input features, or (channels, height, width) of uint8 images for the CNN. Linear
    layers sit at index 0, 2, (4), as in the names of a checkpoint. Weights keep torch's default U(±1/sqrt(fan_in)),
    biases are 0. Raises AgentError naming ``key`` for an unknown name.
    """
    if name in FC_WIDTHS:
        if not isinstance(in_shape, int):
            raise AgentError(f"{key}: {name} takes a flat observation, found shape {tuple(in_shape)}; use {CNN}")
        net, size = _fully_connected(in_shape, FC_WIDTHS[name])
    elif name == CNN:
        if isinstance(in_shape, int) or len(in_shape) != 3:
            raise AgentError(f"{key}: {name} takes images (channels, height, width), found shape {in_shape}")
        net, size = _convolutional(in_shape)
    else:
        near = suggestion(name, NET_NAMES)
        raise AgentError(f"{key}: no network named {name!r}; allowed: {', '.join(NET_NAMES)}{near}")
    for module in net.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return net, size


def _fully_connected(in_size: int, widths: Sequence[int]) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(in_size, width), nn.ReLU()]
        in_size = width
    return nn.Sequential(*layers), in_size


def _convolutional(in_shape: Sequence[int]) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = [BytesToUnit()]
    channels = in_shape[0]
    for out_channels, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        layers += [nn.Conv2d(channels, out_channels, kernel, stride), nn.ReLU()]
        channels = out_channels
    layers.append(nn.Flatten())
    with torch.no_grad():
        features = nn.Sequential(*layers)(torch.zeros(1, *in_shape, dtype=torch.uint8)).shape[1]
    layers += [nn.Linear(features, 512), nn.ReLU()]
    return nn.Sequential(*layers), 512


def linear_head(in_size: int, out_size: int, weight_scale: float | None = None) -> nn.Linear:
    """An output layer with zero bias; weights U(-s, s), or torch's default where ``weight_scale`` is None."""
    layer = nn.Linear(in_size, out_size)
    if weight_scale is not None:
        nn.init.uniform_(layer.weight, -weight_scale, weight_scale)
    nn.init.zeros_(layer.bias)
    return layer
