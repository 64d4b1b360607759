"""Tracking errors: how closely the character follows its reference, per environment and as running means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mimickit_hydra.envs.state import CharacterState
from mimickit_hydra.motion.rotations import heading, quat_diff, quat_diff_angle

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


KEYPOINT_NAMES = ("mpkpe", "mpkpe_local")  # m


def keypoint_errors(sim: CharacterState, ref: CharacterState, bodies: Tensor | None = None, anchor: int = 0) -> Tensor:
    """Mean distances of ``bodies`` (all, where None) ``[n, 2]``, m, in the order of :data:`KEYPOINT_NAMES`.

    The first is that in the world. The second is that of a reference which is put where the body ``anchor`` is, over
    the ground, and turned about the vertical as it is (BeyondMimic, Liao et al. 2025).
    """
    place, goal = sim.body_pos[..., anchor, :], ref.body_pos[..., anchor, :]
    turn = heading(quat_diff(ref.body_rot[..., anchor, :], sim.body_rot[..., anchor, :]))
    found, wanted = (
        state.body_pos if bodies is None else state.body_pos.index_select(-2, bodies) for state in (sim, ref)
    )
    x, y, z = (wanted - goal.unsqueeze(-2)).unbind(-1)
    cos, sin = turn.cos().unsqueeze(-1), turn.sin().unsqueeze(-1)
    x0, y0, z0 = place[..., 0:1], place[..., 1:2], goal[..., 2:]
    aligned = torch.stack([x0 + cos * x - sin * y, y0 + sin * x + cos * y, z0 + z], dim=-1)
    norm = torch.linalg.vector_norm
    return torch.stack([norm(found - wanted, dim=-1).mean(-1), norm(found - aligned, dim=-1).mean(-1)], dim=-1)


class RunningMeans:
    """Count-weighted means of what ``names`` lists over everything recorded since :meth:`restart`; zeros before."""

    def __init__(self, device: torch.device | str = "cpu", names: Sequence[str] = NAMES) -> None:
        self.names = tuple(names)
        self.means = torch.zeros(len(names), device=device)
        self.count = torch.zeros(1, device=device)  # samples; exact in float32 up to 2^24, and only a weight beyond

    def restart(self) -> None:
        self.means.zero_()
        self.count.zero_()

    def record(self, errors: Tensor, weights: Tensor | None = None) -> None:
        """Add the rows of ``errors`` ``[n, names]``; ``weights`` ``[n]`` of 0 and 1 leaves rows out without a sync."""
        if weights is None:
            total, number = errors.sum(0), self.count.new_full((1,), errors.shape[0])
        else:
            total, number = (errors * weights.unsqueeze(-1)).sum(0), weights.sum().unsqueeze(0)
        self.count += number
        self.means += (total - number * self.means) / self.count.clamp(min=1.0)

    def as_dict(self) -> dict[str, Tensor]:
        """0-d views of the live means by name."""
        return {name: self.means[i] for i, name in enumerate(self.names)}

    def state_dict(self) -> dict[str, Tensor]:
        return {"means": self.means.cpu().clone(), "count": self.count.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.means.copy_(state["means"])
        self.count.copy_(state["count"])
