"""Networks of the world-model agent: smooth ones, since gradients go through dozens of them in a row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from mimickit_hydra.agents.networks import OutputLayer

RIDGE = 1e-4  # variances
EXACT = 1e-3  # of the variance: what a linear map may miss and still be the reference's action


class SmoothMLP(nn.Module):
    """Linear, LayerNorm and SiLU for each of ``widths``, then a linear output that begins ``scale`` times as large."""

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int, scale: float) -> None:
        super().__init__()
        sizes = [inputs, *widths]
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.norm = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.out = OutputLayer(sizes[-1], outputs)
        with torch.no_grad():
            self.out.weight.mul_(scale)
            self.out.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.onward(self.linear[0](x))

    def onward(self, x: Tensor) -> Tensor:
        """The output of what the first linear layer gives."""
        x = functional.silu(self.norm[0](x))
        for linear, norm in zip(self.linear[1:], self.norm[1:], strict=True):
            x = functional.silu(norm(linear(x)))
        out: Tensor = self.out(x)
        return out

    def matrices(self) -> list[nn.Parameter]:
        """The weights of the layers before the output."""
        return [linear.weight for linear in self.linear]  # type: ignore[union-attr,misc]


class Policy(nn.Module):
    """Normalised action [..., A] of the normalised observation [..., O]: a network and a linear map beside it.

    The linear map is what :meth:`start_from` finds, so that learning begins near a policy that is known already; it is
    not trained: steps of a rate that suits a network would shake a map of hundreds of inputs.
    """

    base_weight: Tensor
    base_bias: Tensor

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.net = SmoothMLP(inputs, widths, outputs, 0.02)
        self.register_buffer("base_weight", torch.zeros(outputs, inputs))
        self.register_buffer("base_bias", torch.zeros(outputs))

    def forward(self, norm_obs: Tensor) -> Tensor:
        out: Tensor = _exact(norm_obs, self.base_weight, self.base_bias) + self.net(norm_obs)
        return out

    def weights(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Of the first layer and of the linear map, for some ``columns`` of the observation."""
        return self.net.matrices()[0].index_select(1, columns), self.base_weight.index_select(1, columns)

    def first(self, norm_obs: Tensor, weights: tuple[Tensor, Tensor], bias: bool) -> tuple[Tensor, Tensor]:
        """What columns [..., C] of the observation, of these ``weights``, add to the first layer and the linear map.

        Those of all columns together, ``bias`` once among them, go into :meth:`onward`.
        """
        layer, straight = weights
        direct = _exact(norm_obs, straight, self.base_bias if bias else None)
        return functional.linear(norm_obs, layer, self.net.linear[0].bias if bias else None), direct  # type: ignore[arg-type]

    def onward(self, first: Tensor, straight: Tensor) -> Tensor:
        """The action [..., A], see :meth:`first`."""
        return straight + self.net.onward(first)

    @torch.no_grad()
    def start_from(self, norm_obs: Tensor, action: Tensor, columns: Sequence[Tensor]) -> None:
        """Set the linear map to the regression from the observation ``norm_obs`` [S, O] to ``action`` [S, A].

        Of the sets of columns the first one counts that foretells the second half of the samples from the first, or
        else the one that does best: the fewer columns, the less does the map depend on what they are in other states.
        """
        half, best = len(norm_obs) // 2, None
        for chosen in columns:
            x, y = norm_obs.index_select(1, chosen).double(), action.double()
            weight, bias = _regression(x[:half], y[:half])
            missed = (x[half:] @ weight.T + bias - y[half:]).square().sum() / y[half:].var(0).sum() / (len(y) - half)
            if best is None or float(missed) < best[0]:
                best = (float(missed), chosen, *_regression(x, y))
            if float(missed) < EXACT:
                break
        assert best is not None
        _, chosen, weight, bias = best
        self.base_weight.zero_()
        self.base_weight.index_copy_(1, chosen, weight.float())
        self.base_bias.copy_(bias)


def _regression(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [A, C] and bias [A] of the ridge regression from ``x`` [S, C] to ``y`` [S, A]."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    gram = x.T @ x / len(x)
    gram.diagonal().add_(RIDGE)
    weight = torch.linalg.solve(gram, x.T @ y / len(x)).T
    return weight, mean_y - weight @ mean_x


def _exact(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear map in float32, whatever the layers beside it run in."""
    with torch.autocast(x.device.type, enabled=False):
        return functional.linear(x.float(), weight, bias)


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, share: float) -> None:
    """Move the parameters of ``average`` by ``share`` of the way to those of ``model``."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), share)
