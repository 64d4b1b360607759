"""The imitation reward of DeepMimic (Peng et al. 2018, section 5.3), in MimicKit's five terms."""

from __future__ import annotations

import torch
from torch import Tensor

from mimickit_hydra.envs.state import CharacterState
from mimickit_hydra.motion.rotations import quat_mul, quat_rotate

TERMS = ("pose", "vel", "root_pose", "root_vel", "key_pos")
ROTATION_SHARE = 0.1  # of a squared angle (rad) against a squared distance (m), and of angular against linear velocity


def imitation_errors(
    sim: CharacterState,
    ref: CharacterState,
    *,
    joint_weights: Tensor,
    dof_weights: Tensor,
    root_axes: Tensor,
    heading_frame: bool,
) -> Tensor:
    """Weighted squared errors ``[n, 5]`` between character and reference in the order of :data:`TERMS`.

    ``joint_weights`` ``[J]`` and ``dof_weights`` ``[D]`` are not normalised. ``root_axes`` ``[3]`` of 0 and 1 chooses
    the components of the root position that count. With ``heading_frame`` root rotation, velocities and key offsets of
    each side are first turned into that side's own heading frame, so that only the motion counts, not where it goes.
    """
    rotations, vectors = [], []
    for side in (sim, ref):
        vector = torch.cat([side.root_vel.unsqueeze(-2), side.root_ang_vel.unsqueeze(-2), side.key_offset], dim=-2)
        rotation = side.rotations
        if heading_frame:
            vector = quat_rotate(side.heading_inv.unsqueeze(-2), vector)
            rotation = torch.cat([quat_mul(side.heading_inv, side.root_rot).unsqueeze(-2), side.joint_rot], dim=-2)
        rotations.append(rotation)
        vectors.append(vector)
    angle = _angle(rotations[0], rotations[1])
    angle = angle * angle
    vector_err = torch.square(vectors[1] - vectors[0]).sum(-1)
    pose = (angle[..., 1:] * joint_weights).sum(-1)
    vel = (torch.square(ref.dof_vel - sim.dof_vel) * dof_weights).sum(-1)
    root_pos = (torch.square(ref.root_pos - sim.root_pos) * root_axes).sum(-1)
    root_pose = torch.add(root_pos, angle[..., 0], alpha=ROTATION_SHARE)
    root_vel = torch.add(vector_err[..., 0], vector_err[..., 1], alpha=ROTATION_SHARE)
    return torch.stack([pose, vel, root_pose, root_vel, vector_err[..., 2:].sum(-1)], dim=-1)


def _angle(q0: Tensor, q1: Tensor) -> Tensor:
    """Angle ``[...]`` in [0, pi] between unit quaternions, from the chords to one and to minus the other.

    As accurate as the angle of their quotient and a quarter of its time, which is felt in every step.
    """
    apart, opposite = torch.linalg.vector_norm(q0 - q1, dim=-1), torch.linalg.vector_norm(q0 + q1, dim=-1)
    return 4.0 * torch.atan2(torch.minimum(apart, opposite), torch.maximum(apart, opposite))


def reward_terms(errors: Tensor, scales: Tensor) -> Tensor:
    """``exp(-scale * error)`` ``[n, 5]``, each in (0, 1] and 1 where character and reference agree."""
    return torch.exp(-scales * errors)


def weighted_reward(terms: Tensor, weights: Tensor) -> Tensor:
    """Sum of the five terms ``[n]``; an elementwise sum, so that TF32 matrix products cannot round it."""
    return (terms * weights).sum(-1)
