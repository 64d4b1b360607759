"""The pose error by time warping: how close a motion is to its reference if it may run ahead or lag behind.

The pose error of AMP (Peng et al. 2021, single-clip imitation): mean distance of the bodies, relative to the root, of
frames that dynamic time warping (Sakoe & Chiba 1978) has paired. Here both poses are turned into their own heading, as
a policy that is only asked for a style may walk anywhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mimickit_hydra.envs.done import DONE_NULL
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.envs.state import CharacterState
from mimickit_hydra.motion.rotations import quat_rotate

MAX_EPISODES = 32  # one of each of the first environments; all pairs of frames of an episode are compared


class PoseError:
    """Records the first episode of the first environments; call :meth:`record` after a step, before the resets."""

    def __init__(self, env: ImitationEnv) -> None:
        self._env = env
        self._count = min(env.num_envs, MAX_EPISODES)
        self._frames: list[Tensor] = []  # [2, E, B, 3] of the character and its reference
        self._running = torch.ones(self._count, dtype=torch.bool, device=env.device)
        self._lengths = torch.zeros(self._count, dtype=torch.int64, device=env.device)

    @torch.no_grad()
    def record(self, done: Tensor) -> None:
        """``done`` [N] of the step that ``env.latest`` shows."""
        view = self._env.latest
        if view is None or view.reference is None:
            return
        self._frames.append(torch.stack([self._pose(view.character), self._pose(view.reference)]))
        self._lengths += self._running
        self._running &= done[: self._count] == DONE_NULL

    def _pose(self, state: CharacterState) -> Tensor:
        """Body positions ``[E, B, 3]`` in the heading frame of the root, m."""
        count = self._count
        offset = state.body_pos[:count] - state.root_pos[:count].unsqueeze(-2)
        return quat_rotate(state.heading_inv[:count].unsqueeze(-2), offset)

    @torch.no_grad()
    def result(self) -> float:
        """Mean over the episodes that ended, m; NaN without one."""
        ended = (~self._running).cpu()
        if not self._frames or not bool(ended.any()):
            return math.nan
        lengths = self._lengths.cpu()[ended]
        poses = torch.stack(self._frames[: int(lengths.max())], dim=2).cpu()[:, ended]
        return float(warped_error(torch.nan_to_num(poses[0]), torch.nan_to_num(poses[1]), lengths).mean())


def warped_error(poses: Tensor, reference: Tensor, lengths: Tensor) -> Tensor:
    """Mean distance ``[E]`` along the cheapest alignment of ``poses`` and ``reference`` ``[E, T, B, 3]``.

    Only the first ``lengths`` ``[E]`` frames of both count; the first are paired with each other, and so are the last.
    A path moves on in one of them or in both, and its cost is divided by its number of pairs.
    """
    total, pairs = _cheapest_path(_distances(poses, reference))
    rows = torch.arange(len(lengths))
    return total[rows, lengths - 1, lengths - 1] / pairs[rows, lengths - 1, lengths - 1]


def _distances(poses: Tensor, reference: Tensor) -> Tensor:
    """Mean over the bodies of the distance of every pair of frames: [E, T, T]."""
    episodes, frames, bodies, _ = poses.shape
    total = poses.new_zeros(episodes, frames, frames)
    for body in range(bodies):
        total += torch.cdist(poses[:, :, body], reference[:, :, body])
    return total / bodies


def _cheapest_path(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Cost of the cheapest path from the first pair to every pair and its number of pairs, both ``[E, T, T]``.

    Cells with the same sum of indices depend only on earlier sums, so they are computed together.
    """
    episodes, size = cost.shape[0], cost.shape[-1]
    total = cost.new_full((episodes, size + 1, size + 1), math.inf)
    pairs = cost.new_zeros(episodes, size + 1, size + 1)
    total[:, 0, 0] = 0.0
    for diagonal in range(2 * size - 1):
        i = torch.arange(max(0, diagonal - size + 1), min(diagonal, size - 1) + 1)
        j = diagonal - i
        before = torch.stack([total[:, i, j], total[:, i, j + 1], total[:, i + 1, j]])
        best = before.argmin(0, keepdim=True)
        steps = torch.stack([pairs[:, i, j], pairs[:, i, j + 1], pairs[:, i + 1, j]])
        total[:, i + 1, j + 1] = cost[:, i, j] + before.gather(0, best)[0]
        pairs[:, i + 1, j + 1] = 1.0 + steps.gather(0, best)[0]
    return total[:, 1:, 1:], pairs[:, 1:, 1:]
