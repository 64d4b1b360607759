"""Figures that say how good a retargeted clip is; those of another clip of the same motion compare with them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import ROOT_COLUMNS, MotionClip
from mimickit_hydra.motion.geometry import SupportPoints
from mimickit_hydra.motion.retarget.skeletons import SIDES, Skeleton
from mimickit_hydra.motion.retarget.targets import Targets

SPEED_SLACK = 1e-3  # relative, for the float32 of a file


@dataclass(frozen=True)
class Quality:
    """``skate`` m/s is the mean speed over the ground of feet that stand in the source; ``penetration`` m the deepest
    that anything of the robot is in it, and ``deep`` the share of frames with more than 1 cm; ``limits`` and ``speed``
    the shares of frames with a joint beyond its range or faster than allowed, ``fastest`` rad/s; ``tracking`` m the
    mean distance of pelvis, knees, ankles, elbows and hands from their targets, all moved over the ground to meet.
    """

    skate: float
    penetration: float
    deep: float
    limits: float
    speed: float
    fastest: float
    tracking: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def measure(
    clip: MotionClip, character: CharacterModel, skeleton: Skeleton, targets: Targets, support: SupportPoints,
    max_speed: float,
) -> Quality:  # fmt: skip
    """The figures of a clip of ``character`` that follows ``targets``, frame by frame. UserError for other lengths."""
    if clip.num_frames != len(targets.points["pelvis"]):
        raise UserError(
            f"{clip.label}: has {clip.num_frames} frames, must have the {len(targets.points['pelvis'])} of the source"
        )
    rows = torch.from_numpy(clip.frames)
    root = rot.exp_map_to_quat(rows[:, 3:ROOT_COLUMNS])
    joints = character.dof_to_rot(rows[:, ROOT_COLUMNS:])
    pos, quat = character.forward_kinematics(rows[:, :3], root, joints)
    points = {}
    for role, (name, offset) in skeleton.points.items():
        body = character.body_names.index(name)
        place = torch.tensor(offset, dtype=torch.float32).expand(len(rows), 3)
        points[role] = (pos[:, body] + rot.quat_rotate(quat[:, body], place)).double().numpy()
    dofs = clip.frames[:, ROOT_COLUMNS:].astype(float)
    beyond = np.maximum(character.dof_low - dofs, dofs - character.dof_high).max(axis=1)
    speeds = character.dof_velocity(joints[:-1], joints[1:], 1.0 / clip.fps).abs().amax(dim=1).numpy()
    low = np.zeros(len(rows))
    if len(support):
        low = np.minimum(support.lowest(pos, quat)[..., 2].amin(dim=1).double().numpy(), 0.0)
    return Quality(
        skate=_skate(points, targets, clip.fps), penetration=abs(float(low.min())), deep=float((low < -0.01).mean()),
        limits=float((beyond > 1e-4).mean()), speed=float((speeds > max_speed * (1 + SPEED_SLACK)).mean()),
        fastest=float(speeds.max()), tracking=_tracking(points, targets),
    )  # fmt: skip


def _skate(points: dict[str, np.ndarray], targets: Targets, fps: float) -> float:
    speeds = []
    for side in SIDES:
        stands = targets.contact[side]
        both = stands[1:] & stands[:-1]
        steps = np.diff(points[f"{side}_ankle"][:, :2], axis=0)
        speeds.append(np.linalg.norm(steps, axis=1)[both] * fps)
    every = np.concatenate(speeds)
    return float(every.mean()) if len(every) else 0.0


def _tracking(points: dict[str, np.ndarray], targets: Targets) -> float:
    roles = [role for role in targets.points if role in points and not role.endswith(("hip", "shoulder"))]
    errors = np.stack([points[role] - targets.points[role] for role in roles])  # [roles, T, 3]
    errors -= errors.mean(axis=(0, 1)) * [1.0, 1.0, 0.0]
    return float(np.linalg.norm(errors, axis=-1).mean())
