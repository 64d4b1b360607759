"""How episodes of the tracking env start beside the reference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import ResetState
from mimickit_hydra.envs.track.mdp import Facts, Pose
from mimickit_hydra.motion.rotations import exp_map_to_quat, quat_mul, quat_to_exp_map


def roll_pitch_yaw(angles: Tensor) -> Tensor:
    """Rotations ``[..., 4]`` about x, then y, then z of the world by ``angles [..., 3]`` (rad)."""
    about = [exp_map_to_quat(angles * axis) for axis in torch.eye(3, device=angles.device)]
    return quat_mul(about[2], quat_mul(about[1], about[0]))


def beside(pose: Pose, facts: Facts, root: Tensor, velocity: Tensor, joints: Tensor) -> ResetState:
    """The start that is off the reference ``pose`` ``[n, .]``.

    By ``root [n, 6]`` (m, and roll, pitch, yaw about the world's axes), ``velocity [n, 6]`` (m/s, rad/s) and ``joints``
    ``[n, D]`` (rad); joints stay within their soft limits.
    """
    dof_pos = pose.dof_pos + joints
    if facts.balls.numel():
        held, turn = (x.index_select(-1, facts.balls).unflatten(-1, (-1, 3)) for x in (pose.dof_pos, joints))
        turned = quat_to_exp_map(quat_mul(exp_map_to_quat(held), exp_map_to_quat(turn)), least=0.0)
        dof_pos = dof_pos.index_copy(-1, facts.balls, turned.flatten(-2))
    return ResetState(
        pose.root_pos + root[:, :3],
        quat_mul(roll_pitch_yaw(root[:, 3:]), pose.root_rot),
        pose.root_vel + velocity[:, :3],
        pose.root_ang_vel + velocity[:, 3:],
        dof_pos.maximum(facts.low).minimum(facts.high),
        pose.dof_vel,
    )


def soft_limits(low: Any, high: Any, share: float) -> tuple[Tensor, Tensor]:
    """Ends ``[D]`` of the middle ``share`` of each range (arrays ``[D]``); what has no range stays without."""
    lower, upper = (torch.as_tensor(end, dtype=torch.float64) for end in (low, high))
    middle, half = 0.5 * (lower + upper), 0.5 * (upper - lower)
    ranged = torch.isfinite(half)
    return (
        torch.where(ranged, middle - share * half, lower).float(),
        torch.where(ranged, middle + share * half, upper).float(),
    )
