"""Random character states for the invariants: any numbers that are a state, no character needed."""

from __future__ import annotations

import dataclasses

import torch

from mimickit_hydra.envs.state import CharacterState
from mimickit_hydra.motion.rotations import axis_angle_to_quat, quat_mul, quat_normalize, quat_rotate, quat_to_tan_norm

JOINTS, DOFS, BODIES, KEYS = 4, 9, 5, 2


def random_state(seed: int, n: int = 3) -> CharacterState:
    g = torch.Generator().manual_seed(seed)

    def r(*shape):
        return torch.randn((n, *shape), generator=g)

    body_pos, root_rot, joint_rot = r(BODIES, 3), quat_normalize(r(4)), quat_normalize(r(JOINTS, 4))
    return CharacterState(
        root_pos=body_pos[:, 0].clone(), rotations=joined(root_rot, joint_rot), root_vel=r(3), root_ang_vel=r(3),
        dof_vel=r(DOFS), body_pos=body_pos, body_rot=quat_normalize(r(BODIES, 4)),
        key_offset=body_pos[:, -KEYS:] - body_pos[:, :1], tan_norm=quat_to_tan_norm(joined(root_rot, joint_rot)),
    )  # fmt: skip


def joined(root_rot: torch.Tensor, joint_rot: torch.Tensor) -> torch.Tensor:
    return torch.cat([root_rot.unsqueeze(-2), joint_rot], -2)


def moved(state: CharacterState, angle: float, shift: tuple[float, float]) -> CharacterState:
    """The same state, turned about the vertical through the origin and then shifted over the ground."""
    turn = axis_angle_to_quat(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(angle))
    offset = torch.tensor([shift[0], shift[1], 0.0])
    rotations = joined(quat_mul(turn.expand_as(state.root_rot), state.root_rot), state.joint_rot)
    return dataclasses.replace(
        state,
        root_pos=quat_rotate(turn, state.root_pos) + offset,
        rotations=rotations,
        root_vel=quat_rotate(turn, state.root_vel),
        root_ang_vel=quat_rotate(turn, state.root_ang_vel),
        body_pos=quat_rotate(turn, state.body_pos) + offset,
        body_rot=quat_mul(turn.expand_as(state.body_rot), state.body_rot),
        key_offset=quat_rotate(turn, state.key_offset),
        tan_norm=quat_to_tan_norm(rotations),
    )
