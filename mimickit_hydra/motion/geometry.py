"""Support points of a character's primitives: what touches the ground first."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.mjcf import Geom


class SupportPoints:
    """Each primitive as a few spheres: a sphere is one, a capsule two, a box eight of radius 0.

    ``P`` points: ``body [P]`` indices, ``local [P, 3]`` m in the body frame, ``radius [P]`` m. CPU only.
    """

    def __init__(self, character: CharacterModel) -> None:
        points = [(geom.body, *point) for geom in character.geoms for point in _spheres(geom)]
        self.body = torch.tensor([body for body, _, _ in points], dtype=torch.long)
        centers = np.array([center for _, center, _ in points]).reshape(-1, 3)
        self.local = torch.tensor(centers, dtype=torch.float32)
        self.radius = torch.tensor([radius for _, _, radius in points], dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.radius)

    def lowest(self, body_pos: Tensor, body_rot: Tensor) -> Tensor:
        """World position ``[T, P, 3]`` of the lowest point of each sphere, from body poses ``[T, B, 3 or 4]``."""
        center = body_pos[:, self.body] + rot.quat_rotate(body_rot[:, self.body], self.local)
        return torch.cat([center[..., :2], (center[..., 2] - self.radius).unsqueeze(-1)], dim=-1)

    def moved(self, body_pos: Tensor, body_rot: Tensor) -> Tensor:
        """Where the material point that is lowest in frame i is in frame i + 1: ``[T - 1, P, 3]``."""
        down = torch.stack([torch.zeros_like(self.radius), torch.zeros_like(self.radius), -self.radius], dim=-1)
        now, then = body_rot[:-1, self.body], body_rot[1:, self.body]
        local = self.local + rot.quat_rotate_inv(now, down.expand(len(now), -1, 3))
        return body_pos[1:, self.body] + rot.quat_rotate(then, local)


def _spheres(geom: Geom) -> list[tuple[np.ndarray, float]]:
    """Centres in the body frame and radii."""
    if geom.kind == "sphere":
        offsets, radius = [np.zeros(3)], float(geom.size[0])
    elif geom.kind == "capsule":
        offsets, radius = [np.array([0.0, 0.0, sign * geom.size[1]]) for sign in (-1, 1)], float(geom.size[0])
    else:
        offsets, radius = [np.array(signs) * geom.size for signs in itertools.product((-1, 1), repeat=3)], 0.0
    turn = torch.tensor(geom.rot)
    return [(geom.pos + rot.quat_rotate(turn, torch.tensor(offset)).numpy(), radius) for offset in offsets]
