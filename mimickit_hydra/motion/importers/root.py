"""The root of a recording that is told by joints of one model, which has six of them in place of a free one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.mj import mujoco
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.importers.recording import WXYZ, Recording


def with_root(recording: Recording, character: CharacterModel) -> Recording:
    """The recording with poses of its root, which the root joints of the character's file make of ``root_joints``.

    UserError for a character whose root has no such joints: their axes and where they count from are not in the file.
    """
    model = _root_alone(character, list(recording.root_joints))
    if model is None:
        names = ", ".join(recording.root_joints)
        raise UserError(
            f"{recording.path}: tells its root by the joints {names}, which {character.name} has not; make a character "
            "of the model that it was made for: mimickit character add ROBOT.xml"
        )
    data, count = mujoco.MjData(model), len(recording.root_pos)
    pos, turns = np.zeros((count, 3)), np.zeros((count, 4))
    for frame in range(count):
        for name, column in recording.root_joints.items():
            data.joint(name).qpos[0] = column[frame]
        mujoco.mj_kinematics(model, data)
        pos[frame], turns[frame] = data.xpos[1], data.xquat[1]
    assumed = [*recording.assumed, f"root: by the joints {', '.join(recording.root_joints)} of {character.name}'s file"]
    return replace(recording, root_pos=pos, root_rot=turns, quat=WXYZ, root_joints={}, assumed=assumed)


def _root_alone(character: CharacterModel, names: list[str]) -> mujoco.MjModel | None:
    """The root of a character's file with its joints, and nothing else; None where it has not just these."""
    if character.source is None:
        return None
    root = mujoco.MjSpec.from_file(str(character.source)).worldbody.first_body()
    if root is None or sorted(joint.name for joint in root.joints) != sorted(names):
        return None
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body(pos=root.pos, quat=root.quat)
    body.add_geom(size=[1.0, 0.0, 0.0])
    for joint in root.joints:
        body.add_joint(name=joint.name, type=joint.type, axis=joint.axis, pos=joint.pos)
    return spec.compile()
