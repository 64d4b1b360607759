"""The facts of a robot's file as plain values: what kinematics, checks and every engine take from it.

They are read by :mod:`mimickit_hydra.motion.mjcf`, with MuJoCo. This module needs numpy alone and runs on Python 3.8,
so that an engine in another interpreter is handed the values instead of reading the file again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

NO_LIMIT = 1e10  # rad, a joint without a range
NO_TORQUE_LIMIT = 1e6  # N m, a joint whose torque nothing limits
_SHOWN = 8  # names in a line


@dataclass(frozen=True)
class Geom:
    """A primitive in the frame of body ``body``: ``sphere``, ``capsule`` or ``box``, sizes as MuJoCo means them."""

    body: int
    kind: str
    size: np.ndarray  # sphere [1] radius; capsule [2] radius, half-length along z; box [3] half-sizes; m
    pos: np.ndarray  # [3] m
    rot: np.ndarray  # [4] xyzw


@dataclass
class Robot:
    """One tree of ``B`` bodies, depth-first, with ``D`` DoFs: hinges, three in a row for a joint of three DoFs.

    Quaternions xyzw, SI units. An angle counts as the file counts it. ``kp`` and ``kd`` are the gains of the joint's
    controller; ``stiffness``, ``springref``, ``damping`` and ``frictionloss`` act whatever it does.
    """

    name: str
    body_names: list[str]
    parents: np.ndarray  # [B] int, root -1
    masses: np.ndarray  # [B] kg
    local_pos: np.ndarray  # [B, 3] m, in the parent's frame with all angles zero
    local_rot: np.ndarray  # [B, 4]
    dof_dims: np.ndarray  # [B] 0, 1 or 3, root 0
    dof_names: list[str]  # [D] joints as the file calls them, "" where it does not
    axes: np.ndarray  # [D, 3] unit, in the body's frame
    anchors: np.ndarray  # [D, 3] m, the joint's place in the body's frame
    dof_low: np.ndarray  # [D] rad
    dof_high: np.ndarray  # [D] rad
    driven: np.ndarray  # [D] bool: False where the file has actuators and none for this joint
    kp: np.ndarray  # [D] N m/rad
    kd: np.ndarray  # [D] N m s/rad
    torque_low: np.ndarray  # [D] N m
    torque_high: np.ndarray  # [D] N m
    target_low: np.ndarray  # [D] rad, the targets that the ctrlrange of a position actuator allows
    target_high: np.ndarray  # [D] rad
    stiffness: np.ndarray  # [D] N m/rad, of a spring
    springref: np.ndarray  # [D] rad, where it rests
    damping: np.ndarray  # [D] N m s/rad, of a damper
    armature: np.ndarray  # [D] kg m^2
    frictionloss: np.ndarray  # [D] N m
    inertia: np.ndarray  # [D] kg m^2 about the joint in the rest pose, armature included
    geoms: list[Geom]
    touches: bool  # whether anything of it can touch the ground
    notes: list[str]  # lines for the user: what of the file is not simulated as it stands there
    parts: dict[str, list[str]]  # what not every simulator has, by kind: equality, tendon, ... and their names
    plain: str = ""  # the robot as plain MJCF, for a simulator that reads it by itself

    @property
    def num_dofs(self) -> int:
        return len(self.dof_names)

    @property
    def torque_limits(self) -> np.ndarray:
        """The larger side of each torque range ``[D]``, N m."""
        return np.maximum(np.abs(self.torque_low), np.abs(self.torque_high))

    def lacking(self, engine: str, has: Iterable[str] = ()) -> str:
        """A line saying what ``engine`` would lose of the file, and what to do; empty if nothing.

        ``has`` are the kinds of parts that it simulates.
        """
        lost = [" ".join([kind, ", ".join(names)]).strip() for kind, names in self.parts.items() if kind not in has]
        return (
            f"engine={engine} does not simulate its {'; '.join(lost)}; use engine=mujoco, or remove them"
            if lost
            else ""
        )

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Robot:
        """The robot of :func:`dataclasses.asdict`."""
        return cls(**{**values, "geoms": [Geom(**geom) for geom in values["geoms"]]})

    def joints(self, which: np.ndarray) -> str:
        """The joints of the DoFs ``which`` ``[D]`` (bool) for the user: their names, else those of their bodies."""
        bodies = np.repeat(np.arange(len(self.body_names)), self.dof_dims)
        names = [self.dof_names[dof] or self.body_names[bodies[dof]] for dof in np.flatnonzero(which)]
        return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")

    def without_gains(self, control_mode: str) -> np.ndarray:
        """The driven DoFs ``[D]`` (bool) that a command of this mode does not move."""
        gains = {"pos": self.kp, "pd_explicit": self.kp, "vel": self.kd}.get(control_mode)
        return self.driven & (gains == 0.0) if gains is not None else np.zeros(self.num_dofs, dtype=bool)

    def remarks(self, control_mode: str) -> list[str]:
        """Lines for the user about what will disappoint in this mode, and what is simulated otherwise than written."""
        lines = list(self.notes)
        if not self.touches:
            lines.append(
                "nothing of it can touch the ground (its geoms have contype and conaffinity 0): it falls through"
            )
        without = self.without_gains(control_mode)
        if without.any():
            lines.append(
                f"{without.sum()} of {self.num_dofs} joints have no gains, so that commands do not move them: "
                f"{self.joints(without)}; give them some: character.gains=from_armature, from_inertia or a number "
                "(N m/rad)"
            )
        if not self.driven.all():
            lines.append(f"joints that no actuator of the file drives swing freely: {self.joints(~self.driven)}")
        endless = self.driven & ((self.dof_low <= -NO_LIMIT) | (self.dof_high >= NO_LIMIT))
        if endless.any() and control_mode in ("pos", "pd_explicit"):
            lines.append(f"joints without a range get targets of half a turn at most: {self.joints(endless)}")
        return lines
