"""Gains and limits of joints, out of a compiled MJCF.

Where an actuator states gains (``<position>``, ``<velocity>``, an affine ``<general>``), these are the joint's, and its
own stiffness and damping are the spring and the damper that MuJoCo makes of them. Where they state none, as in
MimicKit's files, the joint's own stiffness and damping are the gains; damping alone is a damper, unless the file has no
actuators at all. Where a file has actuators and none for a joint, the joint is passive. Limits are those of the
actuators (control and force range, times gear) and of the joint (actuatorfrcrange), whichever is less.

Joints without gains can be given some: k = I w^2 and d = 2 z I w, with w = 2 pi 10 Hz and z = 2, which are the natural
frequency and damping ratio of BeyondMimic's motor models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.mj import mujoco
from mimickit_hydra.motion.robot import NO_TORQUE_LIMIT

FREQUENCY = 2.0 * math.pi * 10.0  # rad/s
DAMPING_RATIO = 2.0
_NUMBERS = ("kp", "kd", "torque_low", "torque_high", "target_low", "target_high", "stiffness", "springref", "damping",
            "armature")  # fmt: skip


@dataclass
class _Drive:
    """What the actuators of one joint add up to."""

    actuators: int = 0
    states_gains: bool = False
    kp: float = 0.0
    kd: float = 0.0
    damping: float = 0.0
    armature: float = 0.0
    low: float = 0.0  # N m
    high: float = 0.0
    target_low: float = -math.inf  # rad
    target_high: float = math.inf


def read_drives(
    path: Path, model: mujoco.MjModel, hinges: np.ndarray, gains: str | float | None, notes: list[str]
) -> dict[str, Any]:
    """The fields of :class:`.robot.Robot` about gains, limits, springs and dampers of the joints ``hinges`` ``[D]``."""
    drives = _actuators(path, model, hinges, notes)
    count = len(hinges)
    out = {name: np.zeros(count) for name in _NUMBERS}
    out["driven"] = np.ones(count, dtype=bool)
    for dof, joint in enumerate(hinges):
        drive = drives.get(int(joint), _Drive())
        out["driven"][dof] = drive.actuators > 0 or model.nu == 0
        _gains(model, int(joint), drive, dof, out)
        own_gains = out["kp"][dof] > 0.0 and not drive.states_gains
        if out["driven"][dof]:
            out["torque_low"][dof], out["torque_high"][dof] = _torques(model, int(joint), drive, own_gains)
        out["target_low"][dof], out["target_high"][dof] = drive.target_low, drive.target_high
        out["armature"][dof] += model.dof_armature[model.jnt_dofadr[joint]] + drive.armature
        out["damping"][dof] += drive.damping
    if gains is not None:
        _give(path, model, hinges, gains, out)
    return out


def _actuators(path: Path, model: mujoco.MjModel, hinges: np.ndarray, notes: list[str]) -> dict[int, _Drive]:
    drives: dict[int, _Drive] = {}
    known = {int(joint) for joint in hinges}
    slow = []
    for a in range(model.nu):
        name = model.actuator(a).name or f"number {a}"
        joint = _joint_of(path, model, a, name, known)
        drive = drives.setdefault(joint, _Drive())
        _add(path, model, a, name, drive)
        if model.actuator_dyntype[a] != mujoco.mjtDyn.mjDYN_NONE or (_value(model, "actuator_delay", a) or 0.0) > 0.0:
            slow.append(name)
    if slow:
        notes.append(f"the delay of actuators {', '.join(slow)} (dyntype, delay) is not simulated: they act at once")
    return drives


def _value(model: mujoco.MjModel, name: str, index: int) -> float | None:
    """A number that only newer versions of MuJoCo have."""
    values = getattr(model, name, None)
    return None if values is None else float(np.atleast_1d(values[index])[0])


def _joint_of(path: Path, model: mujoco.MjModel, a: int, name: str, known: set[int]) -> int:
    kind = mujoco.mjtTrn(int(model.actuator_trntype[a]))
    joint = int(model.actuator_trnid[a, 0])
    if kind in (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT) and joint in known:
        return joint
    what = "the root" if kind == mujoco.mjtTrn.mjTRN_JOINT else kind.name[len("mjTRN_") :].lower()
    raise UserError(f"{path}: actuator {name!r} drives {what}, must drive one hinge; remove it or put it on a joint")


def _add(path: Path, model: mujoco.MjModel, a: int, name: str, drive: _Drive) -> None:
    """Add an actuator, whose torque is gear (gain ctrl + b0 + b1 gear q + b2 gear q'), to what drives its joint."""
    gain, bias = mujoco.mjtGain(int(model.actuator_gaintype[a])), mujoco.mjtBias(int(model.actuator_biastype[a]))
    if gain != mujoco.mjtGain.mjGAIN_FIXED or bias not in (mujoco.mjtBias.mjBIAS_NONE, mujoco.mjtBias.mjBIAS_AFFINE):
        kind = (bias if gain == mujoco.mjtGain.mjGAIN_FIXED else gain).name.partition("_")[2].lower()
        raise UserError(
            f"{path}: actuator {name!r} is of type {kind}, must be motor, position, velocity, or general with a fixed "
            "gain and an affine bias"
        )
    gear, factor = float(model.actuator_gear[a, 0]), float(model.actuator_gainprm[a, 0])
    b0, b1, b2 = (float(b) for b in model.actuator_biasprm[a, :3]) if bias else (0.0, 0.0, 0.0)
    controls = np.sort(model.actuator_ctrlrange[a]) if model.actuator_ctrllimited[a] else np.array([-np.inf, np.inf])
    low, high = np.sort(gear * model.actuator_forcerange[a]) if model.actuator_forcelimited[a] else (-np.inf, np.inf)
    drive.actuators += 1
    drive.damping += (_value(model, "actuator_damping", a) or 0.0) * gear**2
    drive.armature += (_value(model, "actuator_armature", a) or 0.0) * gear**2
    if b1 or b2:
        drive.states_gains = True
        drive.kp -= b1 * gear**2
        drive.kd -= b2 * gear**2
        if b1 and gear and factor:
            ends = np.sort((factor * controls + b0) / (-b1 * gear))
            drive.target_low, drive.target_high = max(drive.target_low, ends[0]), min(drive.target_high, ends[1])
    elif gear and factor:
        ends = np.sort(gear * factor * controls)
        low, high = max(low, ends[0]), min(high, ends[1])
    drive.low, drive.high = drive.low + low, drive.high + high
    if not (0.0 <= drive.kp < math.inf and 0.0 <= drive.kd < math.inf):
        raise UserError(
            f"{path}: actuator {name!r} has gains {drive.kp:g} and {drive.kd:g} (-biasprm times gear squared), must be "
            "0 or more: below 0 it pushes its joint away"
        )


def _gains(model: mujoco.MjModel, joint: int, drive: _Drive, dof: int, out: dict[str, np.ndarray]) -> None:
    """Tell gains from springs and dampers (see the top)."""
    address = int(model.jnt_dofadr[joint])
    stiffness, damping = float(model.jnt_stiffness[joint]), float(model.dof_damping[address])
    rest = float(model.qpos_spring[model.jnt_qposadr[joint]])
    turned = rest != float(model.qpos0[model.jnt_qposadr[joint]])
    if drive.states_gains or turned or not out["driven"][dof] or (drive.actuators and not stiffness):
        out["kp"][dof], out["kd"][dof] = drive.kp, drive.kd
        out["stiffness"][dof], out["springref"][dof], out["damping"][dof] = stiffness, rest, damping
    else:
        out["kp"][dof], out["kd"][dof] = stiffness, damping


def _torques(model: mujoco.MjModel, joint: int, drive: _Drive, own_gains: bool) -> tuple[float, float]:
    """The torques (N m) that actuators and joint allow."""
    low, high = -NO_TORQUE_LIMIT, NO_TORQUE_LIMIT
    if model.jnt_actfrclimited[joint]:
        low, high = (float(end) for end in model.jnt_actfrcrange[joint])
        if own_gains:
            return low, high  # MimicKit's motors say nothing beside it
    if drive.actuators:
        low, high = max(low, drive.low), min(high, drive.high)
    return low, high


def _give(
    path: Path, model: mujoco.MjModel, hinges: np.ndarray, gains: str | float, out: dict[str, np.ndarray]
) -> None:
    """Give gains to the driven joints that have none; their damping stays a damper."""
    for dof in np.flatnonzero(out["driven"] & (out["kp"] == 0.0)):
        address = int(model.jnt_dofadr[hinges[dof]])
        if gains == "from_armature":
            kp = float(out["armature"][dof]) * FREQUENCY**2
            if kp <= 0.0:
                name = model.joint(int(hinges[dof])).name
                raise UserError(
                    f"character.gains: found from_armature, but joint {name!r} of {path} has no armature; must be "
                    "from_inertia or a number (N m/rad)"
                )
        else:
            kp = float(model.dof_M0[address]) * FREQUENCY**2 if gains == "from_inertia" else float(gains)
        out["damping"][dof] = max(out["damping"][dof], out["kd"][dof])
        out["kp"][dof], out["kd"][dof] = kp, 2.0 * DAMPING_RATIO * kp / FREQUENCY
