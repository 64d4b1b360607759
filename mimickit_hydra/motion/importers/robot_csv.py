"""Tables of a robot's poses as text: LAFAN1 and others retargeted by Unitree and GMR, and BONES-SEED.

A row holds the root's position, its rotation and the joints, a frame each. LAFAN1 has no header, metres, radians and a
quaternion x, y, z, w; others write w first. BONES has a header with a frame number, centimetres and degrees, and the
root's rotation as angles of which z is applied last.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_text
from mimickit_hydra.motion.clip import MAX_NUMBERS
from mimickit_hydra.motion.importers.glance import Glance
from mimickit_hydra.motion.importers.recording import MUJOCO, XYZW, Recording

MAX_BYTES = 2**28
LAFAN_FPS, BONES_FPS = 30.0, 120.0
_LAFAN_RATE, _SI = "that of LAFAN1; --fps for another", "units: m and rad"
_ROOT = 7  # columns of position and quaternion
_NUMBERS = re.compile(rb"\s*[-+.\d][-+.\deE]*(\s*,\s*[-+.\d][-+.\deE]*){7,}\s*[\r\n]")
_POSITION = re.compile(r"(?:root|base|pelvis)?_?(?:translate|trans|pos|position|p|t)?_?([xyz])", re.IGNORECASE)
_QUAT = re.compile(r"(?:root|base|pelvis)?_?(?:quat|quaternion|rot|rotation|q|r|o)_?([wxyz])", re.IGNORECASE)
_EULER = re.compile(r"root_rotate([XYZ])")


def is_robot_csv(file: Glance) -> bool:
    first = file.head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
    names = [name.strip() for name in first.decode("utf-8", "replace").split(",")]
    return bool(_NUMBERS.match(file.head.removeprefix(b"\xef\xbb\xbf"))) or (
        len(names) > _ROOT and len([name for name in names if _POSITION.fullmatch(name)]) == 3
    )


def read_robot_csv(path: str | Path) -> Recording:
    """Read one table. Raises UserError with one line."""
    path = Path(path)
    lines = [line for line in read_text(path, MAX_BYTES).splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path}: is empty")
    header = [name.strip().strip('"') for name in lines[0].split(",")]
    named = not _is_numbers(header)
    values = _rows(lines[named:], path)
    if values.shape[1] <= _ROOT:
        raise UserError(f"{path}: rows of {values.shape[1]} numbers; a pose has the root's 7 and the joints")
    if not named:
        return Recording(
            path, LAFAN_FPS, values[:, :3], values[:, 3:_ROOT], joints=values[:, _ROOT:], order=MUJOCO,
            triples="hinges", rate=_LAFAN_RATE, made_by="LAFAN1's tables are", assumed=[_SI],
        )  # fmt: skip
    if len(header) != values.shape[1]:
        raise UserError(f"{path}: its header names {len(header)} columns, its rows have {values.shape[1]}")
    return _with_header(path, header, values)


def _with_header(path: Path, header: list[str], values: np.ndarray) -> Recording:
    place = {m.group(1).lower(): at for at, name in enumerate(header) if (m := _POSITION.fullmatch(name))}
    quat = {m.group(1).lower(): at for at, name in enumerate(header) if (m := _QUAT.fullmatch(name))}
    euler = {m.group(1).lower(): at for at, name in enumerate(header) if (m := _EULER.fullmatch(name))}
    if set(place) != set("xyz") or (set(quat) != set(XYZW) and set(euler) != set("xyz")):
        raise UserError(
            f"{path}: its header names no position x, y, z and rotation of the root: {', '.join(header[:9])}"
        )
    used = {*place.values(), *quat.values(), *euler.values()}
    rest = [at for at, name in enumerate(header) if at not in used and name.lower() not in ("frame", "time", "")]
    names, pos = [header[at] for at in rest], values[:, [place[axis] for axis in "xyz"]]
    if set(quat) == set(XYZW):
        turns = values[:, [quat[axis] for axis in XYZW]]
        return Recording(
            path, LAFAN_FPS, pos, turns, XYZW, values[:, rest], names, triples="hinges", rate=_LAFAN_RATE, assumed=[_SI]
        )
    turns = Rotation.from_euler("xyz", values[:, [euler[axis] for axis in "xyz"]], degrees=True).as_quat()
    assumed = [
        "units: cm and degrees, as in BONES-SEED, which has such a header",
        "root rotation: angles about the fixed axes x, y, z, in this order",
    ]
    return Recording(
        path, BONES_FPS, pos * 0.01, turns, XYZW, np.radians(values[:, rest]), names, triples="hinges",
        rate="that of BONES-SEED; --fps for another", assumed=assumed,
    )  # fmt: skip


def _is_numbers(words: list[str]) -> bool:
    try:
        return all(np.isfinite(float(word)) for word in words)
    except ValueError:
        return False


def _rows(lines: list[str], path: Path) -> np.ndarray:
    width = lines[0].count(",") + 1 if lines else 0
    if len(lines) < 2 or width * len(lines) > MAX_NUMBERS:
        raise UserError(f"{path}: {len(lines)} rows of {width} numbers are no motion")
    values = np.empty((len(lines), width))
    for at, line in enumerate(lines):
        words = line.split(",")
        try:
            values[at] = [float(word) for word in words]
        except ValueError:
            raise UserError(f"{path}: row {at + 1} is not {width} numbers") from None
    if not (np.abs(values) <= 1e6).all():
        raise UserError(f"{path}: row {int((~(np.abs(values) <= 1e6)).any(axis=1).argmax()) + 1} is not a pose")
    return values
