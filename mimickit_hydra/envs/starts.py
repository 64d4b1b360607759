"""Starts of episodes other than a frame of the reference motion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import ResetState
from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.parts import Part
from mimickit_hydra.envs.rows import Rows
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.geometry import lowest_heights
from mimickit_hydra.motion.library import MotionLibrary

RESET_FIELDS = ("root_pos", "root_rot", "root_vel", "root_ang_vel", "dof_pos", "dof_vel")


class Start(Part):
    """A part that changes where episodes start, and what came before."""

    def history(self, past: Tensor, now: Tensor) -> Tensor:
        """The frames ``[n, H, F]`` (see ``DiscObs.features``) that led to the start just made.

        ``past`` are those of the reference motion, ``now`` ``[n, F]`` is the start itself.
        """
        return past


class Lift:
    """Raises starts in which the reference is in the floor by as much as it is.

    The depth of every frame is worked out once; in between it is interpolated, which is never too little where the
    character moves straight. What is compared and paid for is still the reference as it is.
    """

    def __init__(self, library: MotionLibrary, character: CharacterModel) -> None:
        frames = library.frames()
        heights = lowest_heights(character, frames.root_pos, frames.root_rot, frames.joint_rot)
        lowest = torch.zeros(len(frames.root_pos)) if heights is None else torch.nan_to_num(heights)
        self._library, self._lowest = library, lowest.to(library.device)
        self._up = torch.tensor([0.0, 0.0, 1.0], device=library.device)

    def __call__(self, start: ResetState, motion_ids: Tensor, times: Tensor) -> ResetState:
        """``start [n, .]`` at ``times [n]`` s of clips ``[n]``, out of the floor."""
        depth = (-self._library.between(self._lowest, motion_ids, times)).clamp(min=0.0)
        return replace(start, root_pos=torch.addcmul(start.root_pos, depth.unsqueeze(-1), self._up))


class DefaultPose(Start):
    """Some episodes, or all, start at rest in ``init_pose``: ASE (Peng et al. 2022) learns to recover from it."""

    def __init__(
        self, pose: ResetState, num_envs: int, probability: float = 1.0, *, still_history: bool = False
    ) -> None:
        """``pose`` has one row. With ``still_history`` such an episode's history stands still in the pose, otherwise it
        shows the clip that was drawn, as MimicKit's does."""
        self._pose = pose
        self._num_envs = num_envs
        self._probability = probability
        self._still_history = still_history
        self._chosen: Tensor | None = None

    def draw(self) -> Tensor:
        """Uniform numbers ``[N]``; below the probability an episode starts in the pose."""
        return torch.rand(self._num_envs, device=self._pose.root_pos.device)

    def start(self, start: ResetState, rows: Rows) -> ResetState:
        chosen = rows.take(self.draw() < self._probability)
        self._chosen = chosen
        column = chosen.unsqueeze(-1)
        return ResetState(
            *(torch.where(column, getattr(self._pose, name), getattr(start, name)) for name in RESET_FIELDS)
        )

    def history(self, past: Tensor, now: Tensor) -> Tensor:
        if not self._still_history or self._chosen is None:
            return past
        return torch.where(self._chosen.view(-1, 1, 1), now.unsqueeze(1), past)


def default_pose(init_pose: Sequence[float], num_dofs: int, device: torch.device) -> ResetState:
    """The pose ``init_pose`` at rest, as one row."""
    position, rotation = start_pose(init_pose)
    dofs = [float(v) for v in init_pose[6:]] or [0.0] * num_dofs

    def row(values: Sequence[float]) -> Tensor:
        return torch.tensor([list(values)], dtype=torch.float32, device=device)

    return ResetState(row(position), row(rotation), row([0.0] * 3), row([0.0] * 3), row(dofs), row([0.0] * num_dofs))


def start_pose(init_pose: Sequence[float]) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """Position (m) and rotation (xyzw) of ``init_pose``: position 3, exponential map 3, DoFs; missing ones are 0."""
    if 0 < len(init_pose) < 3:
        raise EnvError(f"env.init_pose: found {len(init_pose)} numbers, allowed are none, 3 or 6 + number of DoFs")
    x, y, z, *rest = [float(v) for v in init_pose] or [0.0, 0.0, 0.0]
    ex, ey, ez = (*rest, 0.0, 0.0, 0.0)[:3]
    angle = math.sqrt(ex * ex + ey * ey + ez * ez)
    if angle < 1e-9:
        return (x, y, z), (0.0, 0.0, 0.0, 1.0)
    s = math.sin(0.5 * angle) / angle
    return (x, y, z), (ex * s, ey * s, ez * s, math.cos(0.5 * angle))
