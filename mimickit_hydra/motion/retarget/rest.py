"""A robot with all joints at zero, upright with x forward, from which its lengths and directions are taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.retarget.skeletons import SIDES, Skeleton


@dataclass
class Rest:
    """A robot with all joints at zero: its points ``[3]`` m, and the rotations ``[3, 3]`` of the bodies they are on."""

    points: dict[str, np.ndarray]
    turns: dict[str, np.ndarray]
    joints: dict[str, np.ndarray]  # the origins of these bodies

    @classmethod
    def of(cls, character: CharacterModel, skeleton: Skeleton) -> Rest:
        unit = torch.tensor([0.0, 0.0, 0.0, 1.0])
        zero = character.dof_to_rot(torch.zeros(character.num_dofs))
        pos, quat = (part.double().numpy() for part in character.forward_kinematics(torch.zeros(3), unit, zero))
        rest = cls({}, {}, {})
        for role, (name, offset) in skeleton.points.items():
            body = character.body_names.index(name)
            rest.turns[role] = Rotation.from_quat(quat[body]).as_matrix()
            rest.joints[role] = pos[body]
            rest.points[role] = pos[body] + rest.turns[role] @ np.array(offset)
        return rest

    def length(self, a: str, b: str) -> float:
        return float(np.linalg.norm(self.points[a] - self.points[b]))

    @property
    def leg(self) -> float:
        return float(
            np.mean([self.length(f"{s}_hip", f"{s}_knee") + self.length(f"{s}_knee", f"{s}_ankle") for s in SIDES])
        )
