"""How closely the character follows its reference: seven errors per environment and their running means."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mimickit_hydra.envs.state import CharacterState
from mimickit_hydra.motion.rotations import quat_diff_angle

NAMES = (
    "root_pos_err",  # m
    "root_rot_err",  # rad
    "body_pos_err",  # m, relative to the root, mean over all bodies
    "body_rot_err",  # rad, world rotations, mean over all bodies
    "dof_vel_err",  # rad/s, mean over the DoFs
    "root_vel_err",  # m/s, mean over the three components
    "root_ang_vel_err",  # rad/s, mean over the three components
)


def tracking_errors(sim: CharacterState, ref: CharacterState) -> Tensor:
    """Errors ``[n, 7]`` in the order of :data:`NAMES`; world axes throughout."""
    offset = ref.body_pos - ref.root_pos.unsqueeze(-2) - (sim.body_pos - sim.root_pos.unsqueeze(-2))
    return torch.stack(
        [
            torch.linalg.vector_norm(ref.root_pos - sim.root_pos, dim=-1),
            quat_diff_angle(sim.root_rot, ref.root_rot),
            torch.linalg.vector_norm(offset, dim=-1).mean(-1),
            quat_diff_angle(sim.body_rot, ref.body_rot).mean(-1),
            (ref.dof_vel - sim.dof_vel).abs().mean(-1),
            (ref.root_vel - sim.root_vel).abs().mean(-1),
            (ref.root_ang_vel - sim.root_ang_vel).abs().mean(-1),
        ],
        dim=-1,
    )


class RunningMeans:
    """Count-weighted means of the seven errors over everything recorded since :meth:`restart`; zeros before."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.means = torch.zeros(len(NAMES), device=device)
        self.count = torch.zeros(1, device=device)  # samples; exact in float32 up to 2^24, and only a weight beyond

    def restart(self) -> None:
        self.means.zero_()
        self.count.zero_()

    def record(self, errors: Tensor, weights: Tensor | None = None) -> None:
        """Add the rows of ``errors`` ``[n, 7]``; ``weights`` ``[n]`` of 0 and 1 leaves rows out without a host sync."""
        if weights is None:
            total, number = errors.sum(0), self.count.new_full((1,), errors.shape[0])
        else:
            total, number = (errors * weights.unsqueeze(-1)).sum(0), weights.sum().unsqueeze(0)
        self.count += number
        self.means += (total - number * self.means) / self.count.clamp(min=1.0)

    def as_dict(self) -> dict[str, Tensor]:
        """0-d views of the live means by name."""
        return {name: self.means[i] for i, name in enumerate(NAMES)}

    def state_dict(self) -> dict[str, Tensor]:
        return {"means": self.means.cpu().clone(), "count": self.count.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.means.copy_(state["means"])
        self.count.copy_(state["count"])
