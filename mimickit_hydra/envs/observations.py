"""Policy observations as pure functions of tensors.

``n`` rows are environments, ``J`` joints without the root, ``D`` DoFs, ``K`` key bodies, ``S`` target frames. Lengths
in m, angles in rad, world axes, quaternions xyzw. "Heading frame" means turned about z by the inverse heading of the
root (DeepMimic, Peng et al. 2018, section 5.1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mimickit_hydra.motion.rotations import heading_quat_inv, quat_mul, quat_rotate, quat_to_tan_norm


def char_obs_size(num_joints: int, num_dofs: int, num_keys: int, root_height: bool) -> int:
    """Length of :func:`char_obs`."""
    return int(root_height) + 6 + 3 + 3 + 6 * num_joints + num_dofs + 3 * num_keys


def char_obs(
    root_pos: Tensor,
    root_rot: Tensor,
    root_vel: Tensor,
    root_ang_vel: Tensor,
    joint_rot: Tensor,
    dof_vel: Tensor,
    key_pos: Tensor,
    *,
    heading_inv: Tensor | None,
    root_height: bool,
) -> list[Tensor]:
    """Blocks ``[n, .]`` of the character observation, to be joined along the last axis.

    Root height 1 (if ``root_height``), tangent and normal of the root 6, linear and angular velocity of the root 3 + 3,
    tangent and normal of every joint 6 J, DoF velocities D, key body positions relative to the root 3 K.
    ``heading_inv`` ``[n, 4]`` puts root rotation, velocities and key offsets into the heading frame; None leaves them
    in world axes.
    """
    offsets = key_pos - root_pos.unsqueeze(-2)
    vectors = torch.cat([root_vel.unsqueeze(-2), root_ang_vel.unsqueeze(-2), offsets], dim=-2)
    if heading_inv is not None:
        vectors = quat_rotate(heading_inv.unsqueeze(-2), vectors)
        root_rot = quat_mul(heading_inv, root_rot)
    rotations = quat_to_tan_norm(torch.cat([root_rot.unsqueeze(-2), joint_rot], dim=-2))
    blocks = [root_pos[..., 2:3]] if root_height else []
    blocks += [rotations[..., 0, :], vectors[..., :2, :].flatten(-2), rotations[..., 1:, :].flatten(-2), dof_vel]
    if key_pos.shape[-2] > 0:
        blocks.append(vectors[..., 2:, :].flatten(-2))
    return blocks


def phase_obs_size(num_encodings: int) -> int:
    """Length of :func:`phase_obs`."""
    return 1 + 2 * num_encodings


def phase_frequencies(num_encodings: int, device: torch.device | str = "cpu") -> Tensor:
    """Angular frequencies 2 pi 2^k, k = 0 .. num_encodings - 1, per unit of phase."""
    return 2.0 * math.pi * torch.pow(2.0, torch.arange(num_encodings, dtype=torch.float32, device=device))


def phase_obs(phase: Tensor, frequencies: Tensor) -> list[Tensor]:
    """Blocks of the phase ``[n]`` in [0, 1]: itself, its sines and its cosines at ``frequencies`` ``[E]``."""
    angle = phase.unsqueeze(-1) * frequencies
    return [phase.unsqueeze(-1), torch.sin(angle), torch.cos(angle)]


def target_obs_size(num_steps: int, num_joints: int, num_keys: int, root_height: bool) -> int:
    """Length of :func:`target_obs`."""
    return num_steps * (2 + int(root_height) + 6 + 6 * num_joints + 3 * num_keys)


def target_obs(
    root_pos: Tensor,
    tar_root_pos: Tensor,
    tar_root_rot: Tensor,
    tar_joint_rot: Tensor,
    tar_key_pos: Tensor,
    *,
    global_obs: bool,
    root_height: bool,
) -> Tensor:
    """Future frames of the reference ``[n, S * (2 or 3 + 6 + 6 J + 3 K)]``, frame by frame.

    ``root_pos`` ``[n, 3]`` is the simulated root; targets are ``[n, S, 3]``, ``[n, S, 4]``, ``[n, S, J, 4]`` and
    ``[n, S, K, 3]``. With ``global_obs`` positions are relative to the simulated root in world axes. Otherwise they
    are relative to the root of the *first target*, in its heading frame: they show the motion to come, not how far the
    character is from it. With ``root_height`` the third component of the position is the target's height above ground.
    """
    offsets = tar_key_pos - tar_root_pos.unsqueeze(-2)
    if global_obs:
        position = tar_root_pos - root_pos.unsqueeze(-2)
    else:
        heading_inv = heading_quat_inv(tar_root_rot[..., :1, :])
        position = tar_root_pos - tar_root_pos[..., :1, :]
        vectors = torch.cat([position.unsqueeze(-2), offsets], dim=-2)
        vectors = quat_rotate(heading_inv.unsqueeze(-2), vectors)
        position, offsets = vectors[..., 0, :], vectors[..., 1:, :]
        tar_root_rot = quat_mul(heading_inv.expand_as(tar_root_rot), tar_root_rot)
    rotations = quat_to_tan_norm(torch.cat([tar_root_rot.unsqueeze(-2), tar_joint_rot], dim=-2))
    blocks = [position[..., :2], rotations.flatten(-2), offsets.flatten(-2)]
    if root_height:
        blocks.insert(1, tar_root_pos[..., 2:3])
    return torch.cat(blocks, dim=-1).flatten(-2)
