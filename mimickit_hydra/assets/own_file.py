"""Writes a robot's file anew with what it lacks: the drives of a robot that is alike, contacts that are left out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.mj import mujoco
from mimickit_hydra.motion.mjcf import load, one_line
from mimickit_hydra.motion.robot import NO_TORQUE_LIMIT, Robot


def drives_like(robot: Robot, other: Robot) -> dict[str, int]:
    """The DoF of ``other`` whose drive each joint without gains gets, by the joint's name; empty unless all get one."""
    without = np.flatnonzero(robot.without_gains("pos"))
    places = {name: dof for dof, name in enumerate(other.dof_names) if name and other.kp[dof] > 0.0}
    names = [robot.dof_names[dof] for dof in without]
    return {name: places[name] for name in names} if all(name in places for name in names) else {}


def with_missing(
    path: Path, robot: Robot, other: Robot | None, drives: dict[str, int], apart: Iterable[tuple[str, str]]
) -> str:
    """The text of the MJCF of ``path``, wherever it is put: its meshes are named by their whole paths.

    Joints of ``drives`` get position actuators with the gains of ``other``, and its armature where they have none;
    torque limits are the file's, else those of ``other``. Bodies of the pairs ``apart`` do not touch each other.
    UserError where MuJoCo cannot write it.
    """
    spec = _editable(path)
    for actuator in [actuator for actuator in spec.actuators if actuator.target in drives]:
        spec.delete(actuator)
    for name, place in drives.items():
        assert other is not None
        _drive(spec, robot, robot.dof_names.index(name), other, place)
    for first, second in apart:
        spec.add_exclude(bodyname1=first, bodyname2=second)
    for key in ("meshdir", "texturedir"):
        setattr(spec, key, str((path.parent / getattr(spec, key)).resolve()))
    try:
        spec.compile()
        return str(spec.to_xml())
    except ValueError as error:
        raise UserError(f"{path}: MuJoCo cannot write it anew: {one_line(error)}") from None


def _editable(path: Path) -> Any:
    """The file as it is; without what only draws, where MuJoCo cannot build that."""
    spec = mujoco.MjSpec.from_file(str(path))
    try:
        spec.compile()
    except ValueError:
        source = load(path)
        if source.ground_pairs or source.ground_excludes:  # which that has taken out
            raise UserError(f"{path}: MuJoCo cannot build it with its contacts with a floor") from None
        return source.spec
    return mujoco.MjSpec.from_file(str(path))


def _drive(spec: Any, robot: Robot, dof: int, other: Robot, place: int) -> None:
    kp, kd = float(other.kp[place]), float(other.kd[place])
    joint = spec.joint(robot.dof_names[dof])
    if robot.armature[dof] == 0.0:
        joint.armature = float(other.armature[place])
    ends = [robot.torque_low[dof], robot.torque_high[dof]]
    if max(np.abs(ends)) >= NO_TORQUE_LIMIT:
        ends = [other.torque_low[place], other.torque_high[place]]
    bounded = max(np.abs(ends)) < NO_TORQUE_LIMIT
    actuator = spec.add_actuator(
        name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT, gear=[1.0, 0, 0, 0, 0, 0],
        gaintype=mujoco.mjtGain.mjGAIN_FIXED, biastype=mujoco.mjtBias.mjBIAS_AFFINE,
        dyntype=mujoco.mjtDyn.mjDYN_NONE, ctrllimited=mujoco.mjtLimited.mjLIMITED_FALSE,
        forcelimited=mujoco.mjtLimited.mjLIMITED_TRUE if bounded else mujoco.mjtLimited.mjLIMITED_FALSE,
    )  # fmt: skip
    actuator.gainprm[0], actuator.biasprm[0:3] = kp, [0.0, -kp, -kd]
    if bounded:
        actuator.forcerange = ends
