"""Policy observations as pure functions of tensors.

``n`` rows are environments, ``J`` joints without the root, ``D`` DoFs, ``K`` key bodies, ``S`` target frames. Lengths
in m, angles in rad, world axes, quaternions xyzw. "Heading frame" means turned about z by the inverse heading of the
root (DeepMimic, Peng et al. 2018, section 5.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mimickit_hydra.envs.state import CharacterState
from mimickit_hydra.motion.rotations import quat_mul, quat_rotate, quat_to_tan_norm


def char_obs_size(num_joints: int, num_dofs: int, num_keys: int, root_height: bool) -> int:
    """The length of :func:`char_obs`."""
    return int(root_height) + 6 + 3 + 3 + 6 * num_joints + num_dofs + 3 * num_keys


def char_obs(state: CharacterState, *, local: bool, root_height: bool) -> list[Tensor]:
    """Blocks ``[n, .]`` of the character observation, to be joined along the last axis.

    Root height 1 (if ``root_height``), tangent and normal of the root 6, linear and angular velocity of the root 3 + 3,
    tangent and normal of every joint 6 J, DoF velocities D, key body positions relative to the root 3 K.
    ``local`` puts root rotation, velocities and key offsets into the heading frame instead of world axes.
    """
    blocks = [state.root_pos[..., 2:3]] if root_height else []
    joints = state.tan_norm[..., 1:, :].flatten(-2)
    if not local:
        blocks += [state.tan_norm[..., 0, :], state.root_vel, state.root_ang_vel, joints, state.dof_vel]
        return [*blocks, state.key_offset.flatten(-2)]
    root = quat_to_tan_norm(quat_mul(state.heading_inv, state.root_rot))
    vectors = torch.cat([state.root_vel.unsqueeze(-2), state.root_ang_vel.unsqueeze(-2), state.key_offset], dim=-2)
    vectors = quat_rotate(state.heading_inv.unsqueeze(-2), vectors)
    blocks += [root, vectors[..., :2, :].flatten(-2), joints, state.dof_vel]
    return [*blocks, vectors[..., 2:, :].flatten(-2)]


def phase_obs_size(num_encodings: int) -> int:
    """The length of :func:`phase_obs`."""
    return 1 + 2 * num_encodings


def phase_frequencies(num_encodings: int, device: torch.device | str = "cpu") -> Tensor:
    """Angular frequencies ``[num_encodings]`` 2 pi 2^k, k = 0 .. num_encodings - 1, per unit of phase."""
    return 2.0 * math.pi * torch.pow(2.0, torch.arange(num_encodings, dtype=torch.float32, device=device))


def phase_obs(phase: Tensor, frequencies: Tensor) -> list[Tensor]:
    """Blocks of the phase ``[n]`` in [0, 1]: itself, its sines and its cosines at ``frequencies`` ``[E]``."""
    angle = phase.unsqueeze(-1) * frequencies
    return [phase.unsqueeze(-1), torch.sin(angle), torch.cos(angle)]


def target_obs_size(num_steps: int, num_joints: int, num_keys: int, root_height: bool) -> int:
    """The length of :func:`target_obs`."""
    return num_steps * (2 + int(root_height) + 6 + 6 * num_joints + 3 * num_keys)


def target_obs(
    root_pos: Tensor, targets: Sequence[CharacterState], *, global_obs: bool, root_height: bool
) -> list[Tensor]:
    """Blocks ``[n, .]`` of the future frames of the reference, frame by frame.

    Each: root position 3 (2 without ``root_height``), tangent and normal of root and joints 6 + 6 J, key body positions
    relative to the frame's own root 3 K. With ``global_obs`` positions are relative to the simulated root ``root_pos``
    ``[n, 3]`` in world axes. Otherwise they are relative to the root of the *first target*, in its heading frame: they
    show the motion to come, not how far the character is from it. With ``root_height`` the third component of the
    position is the target's height above ground.
    """
    if global_obs:
        positions = [target.root_pos - root_pos for target in targets]
        rotations = [target.tan_norm.flatten(-2) for target in targets]
        offsets = [target.key_offset.flatten(-2) for target in targets]
    else:
        positions, rotations, offsets = _heading_targets(targets)
    blocks = []
    for i, target in enumerate(targets):
        blocks.append(positions[i][..., :2])
        if root_height:
            blocks.append(target.root_pos[..., 2:3])
        blocks += [rotations[i], offsets[i]]
    return blocks


def _heading_targets(targets: Sequence[CharacterState]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Positions, rotations and key offsets of all targets in the heading frame of the first, turned together."""
    origin, heading_inv = targets[0].root_pos, targets[0].heading_inv.unsqueeze(-2)
    vectors = torch.stack([torch.cat([(t.root_pos - origin).unsqueeze(-2), t.key_offset], dim=-2) for t in targets], -3)
    vectors = quat_rotate(heading_inv.unsqueeze(-2), vectors)
    roots = torch.stack([target.root_rot for target in targets], dim=-2)
    roots = quat_to_tan_norm(quat_mul(heading_inv.expand_as(roots), roots))
    rotations = [
        torch.cat([roots[..., i, :], target.tan_norm[..., 1:, :].flatten(-2)], dim=-1)
        for i, target in enumerate(targets)
    ]
    moved = vectors.unbind(-3)
    return [v[..., 0, :] for v in moved], rotations, [v[..., 1:, :].flatten(-2) for v in moved]
