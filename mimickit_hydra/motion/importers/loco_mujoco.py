"""LocoMuJoCo's trajectories (``.npz``), new and old; several trajectories in one file are several recordings.

The new layout holds MuJoCo's ``qpos`` with the names and types of the joints and a ``frequency``. The old one holds a
column a joint, ``q_`` and its name, and its velocity ``dq_``, which tells the rate. The root moves by six joints of
its own (``pelvis_tx``, ``trunk_tilt`` ...), as the robot's file says: in most, ``ty`` leads up. Without angles the
place is that in the world.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.clip import FPS, read_arrays
from mimickit_hydra.motion.importers.glance import Glance
from mimickit_hydra.motion.importers.recording import WXYZ, XYZW, Recording, fps_of, names_of, shaped, table_of

_PLACE = re.compile(r"q_(\w+)_tx")  # of the root, with _ty and _tz
_ANGLES = ("list", "tilt", "rotation")
_TOLD = 0.999  # of the velocities that a rate has to explain
_WHOLE = 0.005  # of a rate, within which it is a whole number
_FREE, _HINGE = 0, 3  # types of joints, as MuJoCo counts them


def is_loco_mujoco(file: Glance) -> bool:
    return bool(_root_of(file.members)) or {"qpos", "joint_names", "jnt_type"} <= file.members


def _root_of(names: Iterable[str]) -> str:
    """What the columns of the root's place are called; empty if there are none."""
    known = set(names)
    found = (match.group(1) for name in sorted(known) if (match := _PLACE.fullmatch(name)))
    return next((root for root in found if {f"q_{root}_ty", f"q_{root}_tz"} <= known), "")


def read_loco_mujoco(path: str | Path) -> list[Recording]:
    """Read one file. Raises UserError with one line."""
    path = Path(path)
    from mimickit_hydra.foreign import check_archive

    members = [name.removesuffix(".npy") for name in check_archive(path, at_most=2**29)]
    if "qpos" in members:
        fields = read_arrays(path, ("qpos", "joint_names", "jnt_type", "frequency", "split_points"))
        whole = _of_qpos(path, fields)
    else:
        root = f"dq_{_root_of(members)}_"
        fields = read_arrays(
            path, [name for name in members if name.startswith(("q_", root)) or name == "split_points"]
        )
        whole = _of_columns(path, fields)
    return _split(whole, fields)


def _of_qpos(path: Path, fields: dict[str, Any]) -> Recording:
    qpos, names = shaped(fields, "qpos", path, 0), names_of(fields, "joint_names", path)
    types = np.asarray(fields.get("jnt_type")).ravel()
    if types.dtype.kind not in "iu" or len(types) != len(names) or _FREE not in types[:1]:
        raise UserError(f"{path}: its first joint is not free, or jnt_type is not as long as joint_names")
    if not np.isin(types[1:], (_HINGE,)).all() or qpos.shape[1] != 7 + len(names) - 1:
        raise UserError(
            f"{path}: qpos has {qpos.shape[1]} columns, which are not a free joint and {len(names) - 1} hinges"
        )
    return Recording(
        path,
        fps_of(fields, path, "frequency"),
        qpos[:, :3],
        qpos[:, 3:7],
        WXYZ,
        qpos[:, 7:],
        names[1:],
        triples="hinges",
    )


def _of_columns(path: Path, fields: dict[str, Any]) -> Recording:
    root = _root_of(fields)
    columns = {key[2:]: table_of(fields, key, path) for key in fields if key.startswith("q_")}
    if not root or len({column.shape for column in columns.values()}) != 1 or columns[f"{root}_tx"].shape[1] != 1:
        raise UserError(f"{path}: its columns q_... are not of one length, or not those of a robot")
    place = {f"{root}_t{axis}": columns.pop(f"{root}_t{axis}")[:, 0] for axis in "xyz"}
    angles = {f"{root}_{name}": columns.pop(f"{root}_{name}")[:, 0] for name in _ANGLES if f"{root}_{name}" in columns}
    if len(angles) not in (0, 3):
        raise UserError(f"{path}: has some of the angles {', '.join(_ANGLES)} of {root}, but not all")
    if not columns:
        raise UserError(f"{path}: has no joints")
    rate = _rate(path, fields, [f"q_{name}" for name in place])
    return Recording(
        path, rate, np.stack(list(place.values()), axis=1), None, XYZW, np.hstack(list(columns.values())),
        list(columns), triples="hinges", rate="by its velocities", root_joints={**place, **angles} if angles else {},
    )  # fmt: skip


def _rate(path: Path, fields: dict[str, Any], keys: Sequence[str]) -> float | None:
    """Frames per second by which the columns ``keys`` change as fast as their velocities say; None if nothing tells."""
    cuts = np.asarray(fields.get("split_points", [])).ravel()
    best, told = None, _TOLD
    for key in keys:
        if f"d{key}" not in fields:
            continue
        place, speed = table_of(fields, key, path), table_of(fields, f"d{key}", path)
        if place.shape != speed.shape:
            raise UserError(f"{path}: d{key} is not as long as {key}")
        step, speed = (place[2:, 0] - place[:-2, 0]) / 2.0, speed[1:-1, 0]
        inside = ~np.isin(np.arange(1, len(step) + 1), [cuts, cuts - 1])
        step, speed = step[inside], speed[inside]
        if not step.any() or not speed.any():
            continue
        rate = float(speed @ step / (step @ step))
        share = 1.0 - float(((speed - rate * step) ** 2).sum() / (speed @ speed))
        if share > told and FPS[0] <= rate <= FPS[1]:
            best, told = rate, share
    return round(best) if best is not None and abs(best - round(best)) < _WHOLE * best else best


def _split(whole: Recording, fields: dict[str, Any]) -> list[Recording]:
    """The trajectories between the file's ``split_points``."""
    points = np.asarray(fields.get("split_points", [0, len(whole.root_pos)])).ravel()
    if (
        points.dtype.kind not in "iu"
        or not 2 <= len(points) <= 10_000
        or (np.diff(points.astype(np.int64)) < 2).any()
        or points[0] < 0
        or points[-1] > len(whole.root_pos)
    ):
        raise UserError(f"{whole.path}: split_points are no places at which {len(whole.root_pos)} frames are split")
    if len(points) == 2 and (points[0], points[1]) == (0, len(whole.root_pos)):
        return [whole]
    parts = []
    for number, (begin, end) in enumerate(pairwise(points)):
        rows = slice(int(begin), int(end))
        turns = None if whole.root_rot is None else whole.root_rot[rows]
        assert whole.joints is not None
        parts.append(Recording(
            whole.path, whole.fps, whole.root_pos[rows], turns, whole.quat, whole.joints[rows], whole.joint_names,
            triples=whole.triples, name=f"{whole.name}_{number}", assumed=list(whole.assumed), rate=whole.rate,
            root_joints={name: column[rows] for name, column in whole.root_joints.items()},
        ))  # fmt: skip
    return parts
