"""Causes for the end of an episode, and the flag that they make together, with fixed shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL, DONE_SUCC, DONE_TIME
from mimickit_hydra.motion.rotations import quat_conj, quat_rotate

CONTACT_FORCE = 0.1  # N, of one component, above which a body counts as touching the ground


def time_over(time: Tensor, episode_length: float | Tensor) -> Tensor:
    """Bool ``[n]``: the episode has lasted ``episode_length`` (s), one number or ``[n]``."""
    return time >= episode_length


def clip_over(motion_time: Tensor, clip_end: Tensor) -> Tensor:
    """Bool ``[n]``: the reference has reached its last frame; ``clip_end`` (s) is infinite for clips that repeat."""
    return motion_time >= clip_end


def fallen(ground_contact_forces: Tensor, forbidden: Tensor) -> Tensor:
    """Bool ``[n]``: the ground pushes (``[n, B, 3]``, N) on some body of the mask ``forbidden`` ``[B]``."""
    touching = (ground_contact_forces.abs() > CONTACT_FORCE).any(-1)
    return (touching & forbidden).any(-1)


def pose_lost(
    body_pos: Tensor,
    root_rot: Tensor,
    ref_body_pos: Tensor,
    ref_root_rot: Tensor,
    *,
    max_dist: float,
    track_root: bool,
    global_obs: bool,
) -> Tensor:
    """Bool ``[n]``: some body is farther than ``max_dist`` (m) from where the reference has it.

    Body positions ``[n, B, 3]``. With ``track_root`` positions count as they are; otherwise relative to the own root,
    in world axes with ``global_obs``, else in the frame of the own root (its full rotation, not only its heading).
    A state that is not a number is lost, so that a diverged simulation ends instead of running on unseen.
    """
    squared = furthest_squared(
        body_pos, root_rot, ref_body_pos, ref_root_rot, track_root=track_root, global_obs=global_obs
    )
    return ~(squared <= max_dist * max_dist)


def furthest_squared(
    body_pos: Tensor,
    root_rot: Tensor,
    ref_body_pos: Tensor,
    ref_root_rot: Tensor,
    *,
    track_root: bool,
    global_obs: bool,
) -> Tensor:
    """The squared distance ``[n]`` (m^2) of the body that is furthest from its reference, see :func:`pose_lost`."""
    if track_root:
        difference = body_pos - ref_body_pos
    else:
        offset = body_pos[..., 1:, :] - body_pos[..., :1, :]
        ref_offset = ref_body_pos[..., 1:, :] - ref_body_pos[..., :1, :]
        if not global_obs:
            offset = quat_rotate(quat_conj(root_rot).unsqueeze(-2), offset)
            ref_offset = quat_rotate(quat_conj(ref_root_rot).unsqueeze(-2), ref_offset)
        difference = offset - ref_offset
    return torch.square(difference).sum(-1).amax(-1)


def done_flags(time: Tensor | None, success: Tensor | None, failure: Tensor | None, out: Tensor) -> Tensor:
    """Write the int32 flag ``[n]`` of the masks into ``out``: FAIL wins over SUCC, which wins over TIME."""
    out.fill_(DONE_NULL)
    for mask, flag in ((time, DONE_TIME), (success, DONE_SUCC), (failure, DONE_FAIL)):
        if mask is not None:
            out.masked_fill_(mask, flag)
    return out
