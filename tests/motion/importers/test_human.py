"""Readers of human motion, BVH and AMASS, against joint positions by rotation matrices of another library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.importers.amass import JOINTS, OFFSETS, PARENTS, read_amass
from mimickit_hydra.motion.importers.bvh import read_bvh

Y_TO_Z = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
BVH = """HIERARCHY
ROOT Hips
{{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition {root}
  JOINT Spine
  {{
    OFFSET 0 {spine} 0
    CHANNELS 3 {child}
    JOINT Head
    {{
      OFFSET {arm} {arm} 0
      CHANNELS 6 Xposition Yposition Zposition {child}
      End Site
      {{
        OFFSET 0 {arm} 0
      }}
    }}
  }}
  JOINT LeftFoot
  {{
    OFFSET 0 -{leg} 0
    CHANNELS 3 {child}
    End Site
    {{
      OFFSET 0 0 {arm}
    }}
  }}
}}
MOTION
Frames: {frames}
Frame Time: {step}
{rows}
"""


def write_bvh(
    path: Path, unit: float = 0.01, root: str = "ZYX", child: str = "ZXY", step: str = "0.033333"
) -> np.ndarray:
    """A file of five frames; the joints' true positions ``[T, 6, 3]`` m, by rotation matrices."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(-40, 40, (5, 4, 3))
    places = rng.uniform(-5, 5, (5, 3)) + np.array([0, 0.95 / unit, 0])
    head = np.array([0.1, 0.2, 0.05]) / unit
    rows = [[*p, *a[0], *a[1], *head, *a[2], *a[3]] for p, a in zip(places, angles, strict=True)]
    names = [" ".join(f"{axis}rotation" for axis in order) for order in (root, child)]
    text = BVH.format(
        root=names[0], child=names[1], spine=0.3 / unit, arm=0.15 / unit, leg=0.9 / unit, frames=5, step=step,
        rows="\n".join(" ".join(map(repr, map(float, row))) for row in rows),
    )  # fmt: skip
    path.write_text(text)
    truth = []
    for place, a in zip(places * unit, angles, strict=True):
        turn = [
            Rotation.from_euler(root, a[0], degrees=True),
            *(Rotation.from_euler(child, b, degrees=True) for b in a[1:]),
        ]
        spine = place + turn[0].apply([0, 0.3, 0])
        top = spine + (turn[0] * turn[1]).apply(head * unit)
        foot = place + turn[0].apply([0, -0.9, 0])
        ends = top + (turn[0] * turn[1] * turn[2]).apply([0, 0.15, 0]), foot + (turn[0] * turn[3]).apply([0, 0, 0.15])
        truth.append([place, spine, top, ends[0], foot, ends[1]])
    return np.array(truth) @ Y_TO_Z.T


@pytest.mark.parametrize("unit", [1.0, 0.01, 0.001, 0.0254, 0.0254 / 0.45])
@pytest.mark.parametrize("orders", [("ZYX", "ZXY"), ("XYZ", "YXZ")])
def test_bvh(tmp_path: Path, unit: float, orders: tuple[str, str]) -> None:
    truth = write_bvh(tmp_path / "walk.bvh", unit, *orders)
    motion = read_bvh(tmp_path / "walk.bvh")
    assert motion.joint_names == ["Hips", "Spine", "Head", "Head_end", "LeftFoot", "LeftFoot_end"]
    assert (motion.parents, motion.fps, motion.name, motion.kind) == ([-1, 0, 1, 2, 0, 4], 30.0, "walk", "bvh")
    np.testing.assert_allclose(motion.world()[0], truth, atol=1e-6)
    assert [line.partition(":")[0] for line in motion.assumed] == ["up axis", "units", "frame rate"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("HIERARCHY", "HIERARCHIE", "the first line is not HIERARCHY"),
        ("MOTION", "MOVE", "no line MOTION"),
        ("Frames: 5", "Frames: 6", "are not 90 numbers"),
        ("Frame Time: 0.033333", "Frame Time: 0", "a frame time of 0 s"),
        ("Zrotation", "Wrotation", "channel 'Wrotation'"),
        ("End Site", "ROOT", "there is one ROOT"),
        ("OFFSET 0 -", "OFFSET 0 -3", "legs of"),
        ("JOINT LeftFoot", "} JOINT LeftFoot", "inside it"),
    ],
)
def test_bad_bvh(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_bvh(tmp_path / "walk.bvh")
    file = tmp_path / "walk.bvh"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match=message) as error:
        read_bvh(file)
    assert "\n" not in str(error.value)


def smpl_truth(poses: np.ndarray, trans: np.ndarray) -> np.ndarray:
    """Positions ``[T, 24, 3]`` in the file's world."""
    world = []
    for row, place in zip(poses, trans, strict=True):
        turns: list[Any] = []
        points: list[Any] = []
        for joint, parent in enumerate(PARENTS):
            own = Rotation.from_rotvec(row[3 * joint : 3 * joint + 3] if joint < 22 or len(row) == 72 else np.zeros(3))
            turns.append(own if parent < 0 else turns[parent] * own)
            points.append(place if parent < 0 else points[parent] + turns[parent].apply(OFFSETS[joint]))
        world.append(points)
    return np.array(world)


@pytest.mark.parametrize(("width", "up"), [(72, 2), (66, 2), (156, 2), (165, 1)])
def test_amass(tmp_path: Path, width: int, up: int) -> None:
    rng = np.random.default_rng(1)
    poses = rng.uniform(-0.2, 0.2, (6, width))
    trans = rng.uniform(-0.05, 0.05, (6, 3)) + np.eye(3)[up] * 0.95
    if up == 2:
        poses[:, :3] += [np.pi / 2, 0, 0]
    fields: dict[str, Any] = {"poses": poses, "trans": trans, "betas": np.zeros(16), "gender": np.array("male")}
    np.savez(tmp_path / "a.npz", **fields, mocap_framerate=120.0)
    motion = read_amass(tmp_path / "a.npz")
    truth = smpl_truth(poses, trans)
    np.testing.assert_allclose(motion.world()[0], truth if up == 2 else truth @ Y_TO_Z.T, atol=1e-6)
    assert (motion.joint_names, motion.fps, motion.kind) == (list(JOINTS), 120.0, "smpl")
    # Newer files keep the root and the body apart.
    np.savez(tmp_path / "b.npz", root_orient=poses[:, :3], pose_body=poses[:, 3:66], trans=trans, mocap_frame_rate=120)
    np.testing.assert_array_equal(read_amass(tmp_path / "b.npz").rotations[:, :22], motion.rotations[:, :22])


def test_bad_amass(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    fields: dict[str, Any] = {"poses": np.zeros((6, 72)), "trans": np.zeros((6, 3)), "fps": 30.0}
    for change, message in (
        ({"trans": np.zeros((5, 3))}, r"poses \(6, 72\) and trans \(5, 3\)"),
        ({"fps": np.zeros(2)}, "fps is no number"),
        ({"poses": np.full((6, 72), np.nan)}, "poses of frame 0 is not a pose"),
        ({"poses": np.array(["x"])}, "poses is no table of numbers"),
    ):
        np.savez(file, **{**fields, **change})
        with pytest.raises(UserError, match=message) as error:
            read_amass(file)
        assert "\n" not in str(error.value)
    np.savez(file, poses=np.zeros((6, 72)), trans=np.zeros((6, 3)))
    with pytest.raises(UserError, match="says no frame rate"):
        read_amass(file)
