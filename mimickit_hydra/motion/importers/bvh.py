"""BVH files (Biovision hierarchy) of motion capture: LAFAN1, CMU, Xsens, MotionBuilder and others.

The text states a tree of joints with offsets, and for each frame the channels of every joint in the order of the tree.
A joint's rotation is the product of its rotation channels from left to right. Position channels stand in place of the
joint's offset. The length of a unit and the vertical axis are not stated; they are taken from the skeleton itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import MAX_DEPTH, number, one_line, read_text
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.clip import MAX_NUMBERS, frame_rate
from mimickit_hydra.motion.human import HumanMotion, skeleton_kinematics, vertical_axis, y_up_to_z_up

MAX_BYTES = 2**28
_CHANNELS = {f"{axis}{kind}": (kind, "XYZ".index(axis)) for axis in "XYZ" for kind in ("position", "rotation")}
# Metres of a unit, by how many units the legs of a person have, or the hips are up: (from, to, metres, name)
_UNITS = ((0.5, 1.3, 1.0, "m"), (12.0, 24.0, 0.0254 / 0.45, "those of the CMU database"),
          (28.0, 45.0, 0.0254, "inches"), (50.0, 130.0, 0.01, "cm"), (500.0, 1300.0, 0.001, "mm"))  # fmt: skip
_STRETCH = 1e-3  # m, by which the place of a joint on its parent may vary
_FOOT = re.compile(r"foot|ankle", re.IGNORECASE)
_DEPTH = 4 * MAX_DEPTH  # of the tree


@dataclass
class _Joint:
    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: list[tuple[str, int]] = field(default_factory=list)


def read_bvh(path: str | Path) -> HumanMotion:
    """Read one file. Raises UserError with one line."""
    path = Path(path)
    text = read_text(path, at_most=MAX_BYTES)
    head, found, motion = text.partition("MOTION")
    if not found:
        raise UserError(f"{path}: not a BVH file, it has no line MOTION")
    try:
        joints = _tree(iter(head.split()))
        step, table = _table(motion, sum(len(joint.channels) for joint in joints))
    except StopIteration:
        raise UserError(f"{path}: not a BVH file, its HIERARCHY ends early") from None
    except ValueError as error:
        raise UserError(f"{path}: not a BVH file ({one_line(error)})") from None
    return _motion(path, joints, table, frame_rate(1, step))


def _tree(words: Iterator[str]) -> list[_Joint]:
    """The joints in the order of the text, each ``End Site`` as a joint ``..._end`` of its own."""
    joints: list[_Joint] = []
    open_joints: list[int] = []
    if next(words) != "HIERARCHY":
        raise ValueError("the first line is not HIERARCHY")
    for word in words:
        if word in ("ROOT", "JOINT", "End"):
            if (word == "ROOT") != (not joints) or (joints and not open_joints):
                raise ValueError(f"{word} where it cannot stand; there is one ROOT, and joints inside it")
            parent = open_joints[-1] if open_joints else -1
            name = next(words)
            joints.append(_Joint(name if word != "End" else f"{joints[parent].name}_end", parent))
        elif word == "{":
            open_joints.append(len(joints) - 1)
            if not joints or len(open_joints) > _DEPTH:
                raise ValueError(f"joints nested more than {_DEPTH} deep" if joints else "a brace before ROOT")
        elif word == "}":
            if not open_joints:
                raise ValueError("a closing brace too many")
            open_joints.pop()
        elif word == "OFFSET" and open_joints:
            joints[open_joints[-1]].offset = np.array([number(next(words)) for _ in range(3)])
        elif word == "CHANNELS" and open_joints:
            count = int(number(next(words)))
            if not 0 <= count <= 6:
                raise ValueError(f"{count} channels of {joints[-1].name}")
            names = [next(words) for _ in range(count)]
            if unknown := [name for name in names if name not in _CHANNELS]:
                raise ValueError(f"channel {unknown[0][:60]!r} of {joints[-1].name}")
            joints[open_joints[-1]].channels = [_CHANNELS[name] for name in names]
        else:
            raise ValueError(f"{word[:60]!r} in the HIERARCHY")
    if open_joints or not joints:
        raise StopIteration
    return joints


def _table(text: str, width: int) -> tuple[float, np.ndarray]:
    """Seconds between frames, and the rows ``[T, width]`` behind ``Frames:`` and ``Frame Time:``."""
    words = text.split(maxsplit=5)
    if len(words) < 6 or (words[0], words[2], words[3]) != ("Frames:", "Frame", "Time:"):
        raise ValueError("MOTION has no 'Frames:' and 'Frame Time:' with at least two frames behind them")
    frames, step = number(words[1]), number(words[4])
    if not (1e-5 <= step <= 1e3):
        raise ValueError(f"a frame time of {step:g} s")
    if width == 0 or not 2 <= frames <= MAX_NUMBERS / width:
        raise ValueError(f"{frames:g} frames of {width} channels")
    values = np.array([float(word) for word in words[5].split()])
    if len(values) != int(frames) * width:
        raise ValueError(f"{int(frames)} frames of {width} channels are not {len(values):,} numbers")
    if not (np.abs(values) < 1e9).all():
        raise ValueError(f"frame {int((~(np.abs(values) < 1e9)).argmax()) // width} holds what is no pose")
    return step, values.reshape(int(frames), width)


def _motion(path: Path, joints: list[_Joint], table: np.ndarray, fps: float) -> HumanMotion:
    offsets = np.stack([joint.offset for joint in joints])
    rotations = np.zeros((len(table), len(joints), 4))
    places: dict[int, np.ndarray] = {}
    column = 0
    for index, joint in enumerate(joints):
        values = table[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        rotations[:, index] = _rotation(joint.channels, values)
        if any(kind == "position" for kind, _ in joint.channels):
            places[index] = np.tile(offsets[index], (len(table), 1))
            for (kind, axis), value in zip(joint.channels, values.T, strict=True):
                if kind == "position":
                    places[index][:, axis] = value
    root = places.pop(0, np.tile(offsets[0], (len(table), 1)))
    offsets[0] = 0.0
    for index, place in places.items():
        offsets[index] = np.median(place, axis=0)
    names, parents = [joint.name for joint in joints], [joint.parent for joint in joints]
    axis, how = vertical_axis(names, skeleton_kinematics(parents, offsets, root, rotations)[0], usual=1)
    scale, unit = _unit(path, names, parents, offsets, np.abs(root[:, axis]))
    assumed = [f"up axis: {'xyz'[axis]}, {how}", f"units: {unit}"]
    for index, place in places.items():
        stretch = float(np.abs(place - offsets[index]).max()) * scale
        if stretch > _STRETCH:
            assumed.append(f"joint {names[index]} moves on its parent by {stretch:.3f} m; it is taken to be fixed")
    if axis == 1:
        root, rotations[:, 0] = y_up_to_z_up(root, rotations[:, 0])
    assumed.append(f"frame rate: {fps:g} Hz, as the file says")
    meta = {"file": str(path), "source": f"BVH {path.name}"}
    return HumanMotion(names, parents, offsets * scale, root * scale, rotations, fps, path.stem, "bvh", meta, assumed)


def _unit(
    path: Path, names: list[str], parents: list[int], offsets: np.ndarray, heights: np.ndarray
) -> tuple[float, str]:
    """Metres of a unit, and by what that is known: the length of a leg, or the hips' height where none has a name."""
    lengths = np.linalg.norm(offsets, axis=1)
    for joint in range(1, len(parents)):
        lengths[joint] += lengths[parents[joint]]
    legs = [lengths[joint] for joint, name in enumerate(names) if _FOOT.search(name)]
    size, what = (float(np.median(legs)), "legs") if legs else (float(np.median(heights)), "hips at a height")
    for low, high, metres, name in _UNITS:
        if low <= size <= high:
            return metres, f"{name}, by {what} of {size:.4g}"
    raise UserError(
        f"{path}: {what} of {size:.4g} units are no adult's in m, cm, mm, inches or CMU's unit; scale the file first"
    )


def _rotation(channels: list[tuple[str, int]], values: np.ndarray) -> np.ndarray:
    """The product ``[T, 4]`` of a joint's rotation channels, degrees."""
    quat = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(len(values), 4)
    for (kind, axis), value in zip(channels, values.T, strict=True):
        if kind == "rotation":
            turn = torch.from_numpy(value * (math.pi / 180.0))
            quat = rot.quat_mul(quat, rot.axis_angle_to_quat(torch.eye(3, dtype=torch.float64)[axis], turn))
    return quat.numpy()
