"""The whole way from a source to a clip of a robot."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import ROOT_COLUMNS, MotionClip
from mimickit_hydra.motion.geometry import SupportPoints
from mimickit_hydra.motion.retarget.quality import Quality, measure
from mimickit_hydra.motion.retarget.rest import Rest
from mimickit_hydra.motion.retarget.skeletons import Skeleton, skeleton_for
from mimickit_hydra.motion.retarget.solve import Solver
from mimickit_hydra.motion.retarget.source import SourceMotion
from mimickit_hydra.motion.retarget.targets import Targets, make_targets, smoothed

_LIFT = 0.2  # s, over which the robot is lifted where something of it would be in the ground


@dataclass
class Retargeted:
    """A clip, its figures, and what other clips of the same motion are measured with."""

    clip: MotionClip
    quality: Quality
    scale: float
    seconds: float  # that inverse kinematics took
    character: CharacterModel
    skeleton: Skeleton
    targets: Targets
    support: SupportPoints
    max_speed: float

    def measure(self, clip: MotionClip) -> Quality:
        """The figures of another clip of the character, which shows the same motion at the same frames."""
        return measure(clip, self.character, self.skeleton, self.targets, self.support, self.max_speed)


def retarget(
    source: SourceMotion, character: CharacterModel, skeleton: str = "", scale: float | None = None,
    max_speed: float | None = None, posture: np.ndarray | None = None,
) -> Retargeted:  # fmt: skip
    """Retarget a motion to ``character``.

    Args:
        source: of :mod:`.source`.
        character: a robot with legs, with its file.
        skeleton: that says which of its bodies are its limbs: a registered name or a YAML; by default what fits.
        scale: of the way and the steps; by default the legs' lengths decide.
        max_speed: rad/s of any joint; by default the skeleton's.
        posture: ``[6 + D]``, kept to where the motion leaves freedom; by default all joints at zero.

    Raises:
        UserError: in one line, also where mink is not installed.
    """
    character = character.to("cpu")
    known = skeleton_for(character.body_names, character.parents, character.name, skeleton)
    speed = known.max_speed if max_speed is None else max_speed
    if not 0 < speed < np.inf or (scale is not None and not 0 < scale < np.inf):
        raise UserError(f"speed {speed:g} rad/s, scale {scale if scale is not None else 1:g}: must be above 0")
    support, rest = SupportPoints(character), Rest.of(character, known)
    same = source.character is not None and same_joints(source.character, character)
    targets = make_targets(source, character, known, rest, support, scale, same)
    solver = Solver(
        character, known, [role for role in known.points if role in targets.points or role in targets.turns]
    )
    start = time.perf_counter()
    rows = solver.solve(targets, source.fps, speed, _postures(source, character, targets, posture, same))
    seconds = time.perf_counter() - start
    rows[:, 2] += _lift(rows, character, support, source.fps)
    meta = {"source": f"{source.meta.get('source', source.name)}, retargeted to {character.name}"}
    if "licence" in source.meta:
        meta["licence"] = source.meta["licence"]
    frames = rows.astype(np.float32)
    dofs = frames[:, ROOT_COLUMNS:]
    np.clip(dofs, character.dof_low, character.dof_high, out=dofs)
    clip = MotionClip(frames, source.fps, source.loop_mode, source.name, meta)
    quality = measure(clip, character, known, targets, support, speed)
    return Retargeted(clip, quality, targets.scale, seconds, character, known, targets, support, speed)


def _postures(
    source: SourceMotion, character: CharacterModel, targets: Targets, posture: np.ndarray | None, same: bool
) -> np.ndarray:
    """What joints keep to: the source's own angles where it has the same joints, else one posture."""
    clip = source.clip
    if not same or clip is None:
        if posture is not None and len(posture) == ROOT_COLUMNS + character.num_dofs:
            return np.asarray(posture, dtype=float)[None]
        return np.zeros((1, ROOT_COLUMNS + character.num_dofs))
    rows = np.nan_to_num(clip.frames).astype(float)
    rows[:, :3] *= targets.scale
    return rows


def same_joints(a: CharacterModel, b: CharacterModel) -> bool:
    """Whether two robots differ in lengths alone, so that the angles of one are those of the other."""
    return (
        a.body_names == b.body_names
        and a.parents == b.parents
        and a.joint_types == b.joint_types
        and bool(torch.allclose(a.joint_axes, b.joint_axes, atol=1e-4))
        and bool(torch.allclose(a.local_rot, b.local_rot, atol=1e-4))
    )


def _lift(rows: np.ndarray, character: CharacterModel, support: SupportPoints, fps: float) -> np.ndarray:
    """How much (m) to lift the robot in each frame, smoothly, so that nothing of it is in the ground."""
    if not len(support):
        return np.zeros(len(rows))
    values = torch.from_numpy(rows.astype(np.float32))
    root = rot.exp_map_to_quat(values[:, 3:ROOT_COLUMNS])
    poses = character.forward_kinematics(values[:, :3], root, character.dof_to_rot(values[:, ROOT_COLUMNS:]))
    deep = np.maximum(0.0, -support.lowest(*poses)[..., 2].amin(dim=1).double().numpy())
    frames = max(1, round(_LIFT * fps))
    return smoothed(maximum_filter1d(deep, 2 * frames + 1, mode="nearest"), frames)
