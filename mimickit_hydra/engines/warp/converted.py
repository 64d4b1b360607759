"""A scene as the engines on MuJoCo Warp need it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Converted(NamedTuple):
    """One environment as a MuJoCo and a MuJoCo Warp model, and the capacity for its contacts and constraints."""

    mujoco: Any  # MjModel
    warp: Any  # mujoco_warp.Model
    contacts: int
    rows: int
    nonzeros: Any  # of the constraints' Jacobian; None: by MuJoCo Warp's own rule
