"""The world model: the state after one control step, from the state and the command."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.world_model.networks import SmoothMLP
from mimickit_hydra.agents.world_model.tangent import StateLayout

CLIP = 8.0  # standard deviations, of what the model sees


class WorldModel(nn.Module):
    """Predicts the residual of a semi-implicit Euler step (:meth:`StateLayout.integrate`), deterministically.

    Before any training it adds nothing, so it begins as the ballistic predictor. Statistics of what it sees and
    of the true residuals are taken once, from data of before the first fit, and rest from then on: were they to move,
    so would the function that a policy is being trained through. One further output is the logit of a failure.
    """

    mean: Tensor
    inv_std: Tensor
    scale: Tensor

    def __init__(self, layout: StateLayout, actions: int, widths: Sequence[int], dt: float, to_targets: bool) -> None:
        """``to_targets``: commands are targets of DoFs, which the model sees as the way from the joints to them."""
        super().__init__()
        self.layout, self.dt, self._to_targets = layout, dt, to_targets
        inputs = layout.feature_size + actions
        self.net = SmoothMLP(inputs, widths, layout.tangent_size + 1, 0.0)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("inv_std", torch.ones(inputs))
        self.register_buffer("scale", torch.ones(layout.tangent_size))  # typical size of the true residual

    def inputs(self, state: Tensor, command: Tensor, axes: Tensor) -> Tensor:
        """What the model sees of states [..., X], whose roots have these ``axes``, and commands [..., A], as it is."""
        command = self.layout.dofs_to(state, command) if self._to_targets else command
        return torch.cat([self.layout.features(state, axes), command], dim=-1)

    def forward(self, state: Tensor, command: Tensor) -> tuple[Tensor, Tensor]:
        """The next state [..., X], and the logit [...] of ending in failure there."""
        axes = self.layout.axes(state)
        seen = ((self.inputs(state, command, axes) - self.mean) * self.inv_std).clamp(-CLIP, CLIP)
        out = self.net(seen)
        residual, failure = out[..., :-1] * self.scale, out[..., -1]
        return self.layout.integrate(state, residual, self.dt, axes), failure

    def ballistic(self, state: Tensor) -> Tensor:
        """The next state [..., X] if nothing pushed or pulled."""
        return self.layout.integrate(state, state.new_zeros(*state.shape[:-1], self.layout.tangent_size), self.dt)

    @torch.no_grad()
    def take_statistics(self, state: Tensor, command: Tensor, following: Tensor, valid: Tensor) -> None:
        """Take the statistics of steps [S, .] from ``state`` by ``command`` to ``following``, where ``valid`` [S]."""
        weight = (valid / valid.sum().clamp(min=1.0)).unsqueeze(-1)
        seen = self.inputs(state, command, self.layout.axes(state))
        mean = (seen * weight).sum(0)
        std = ((seen - mean).square() * weight).sum(0).sqrt()
        residual = self.layout.residual(state, following, self.dt).clamp(-50.0, 50.0)
        self.mean.copy_(mean)
        self.inv_std.copy_(1.0 / std.clamp(min=0.02))
        self.scale.copy_((residual.square() * weight).sum(0).sqrt().clamp(min=1e-4))


def error_scales(layout: StateLayout) -> Tensor:
    """What counts as one unit of error, [2 (6 + D)]: 5 cm, 0.05 rad; 0.3 m/s, 0.7 rad/s and, of joints, 1.5 rad/s."""
    joints = layout.character.num_dofs
    values = [0.05] * (6 + joints) + [0.3] * 3 + [0.7] * 3 + [1.5] * joints
    return torch.tensor(values, device=layout.character.device)
