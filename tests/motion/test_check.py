"""Each check finds the defect that was put into a clean clip, and only that one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.check import check_clip
from mimickit_hydra.motion.clip import LoopMode, MotionClip
from mimickit_hydra.motion.geometry import SupportPoints

FPS = 30.0
STANDING = 0.882416 - 0.001  # m, soles on the ground


@pytest.fixture(scope="module")
def character() -> CharacterModel:
    return CharacterModel.from_file(bundled_data() / "assets" / "humanoid" / "humanoid.xml")


def column(character: CharacterModel, name: str) -> int:
    return 6 + character.dof_columns().index(name)


def clean(character: CharacterModel) -> np.ndarray:
    """Two seconds on the spot with swinging arms, one side forward and the other back."""
    t = np.arange(60) / FPS
    frames = np.zeros((60, 34), np.float32)
    frames[:, 2] = STANDING
    for side, sign in (("right", 1.0), ("left", -1.0)):
        frames[:, column(character, f"{side}_shoulder_z")] = 0.5 * np.sin(2 * np.pi * t) * sign + 0.5 * sign
        frames[:, column(character, f"{side}_elbow")] = sign * 0.6
    return frames


def statuses(character: CharacterModel, frames: np.ndarray, loop_mode: LoopMode = LoopMode.CLAMP) -> dict[str, str]:
    report = check_clip(MotionClip(frames, FPS, loop_mode, "x"), character)
    assert report.serious == any(finding.status == "serious" for finding in report.findings)
    return {finding.check: finding.status for finding in report.findings if finding.status != "ok"}


def test_clean_clip(character: CharacterModel) -> None:
    assert statuses(character, clean(character)) == {}


def test_jump_of_a_joint(character: CharacterModel) -> None:
    frames = clean(character)
    frames[30:, column(character, "abdomen_x")] += 0.6
    assert statuses(character, frames) == {"jumps": "warning"}
    frames[30:, column(character, "abdomen_y")] += 1.2
    assert statuses(character, frames) == {"jumps": "serious"}


def test_jump_of_the_root(character: CharacterModel) -> None:
    frames = clean(character)
    frames[20:, 0] += 0.4
    report = check_clip(MotionClip(frames, FPS, LoopMode.CLAMP, "x"), character)
    jump = next(finding for finding in report.findings if finding.check == "jumps")
    assert (jump.status, jump.frames) == ("serious", [19])
    assert "root 0.40 m" in jump.detail


def test_swapped_sides(character: CharacterModel) -> None:
    frames = clean(character)
    right, left = (column(character, f"{side}_shoulder_x") for side in ("right", "left"))
    arms = np.r_[right : right + 4], np.r_[left : left + 4]
    frames[45:, arms[0]], frames[45:, arms[1]] = frames[45:, arms[1]].copy(), frames[45:, arms[0]].copy()
    report = check_clip(MotionClip(frames, FPS, LoopMode.CLAMP, "x"), character)
    swap = next(finding for finding in report.findings if finding.check == "left/right swaps")
    assert (swap.status, swap.frames) == ("serious", [44])
    assert "shoulder" in swap.detail


def test_penetration_and_floating(character: CharacterModel) -> None:
    for height, status in ((-0.05, "warning"), (-0.2, "serious"), (0.3, "warning")):
        frames = clean(character)
        frames[:, 2] += height
        assert statuses(character, frames) == {"ground": status}


def test_joint_limits(character: CharacterModel) -> None:
    frames = clean(character)
    frames[:, column(character, "right_elbow")] = -0.2
    assert statuses(character, frames) == {"joint limits": "warning"}
    frames[:, column(character, "right_elbow")] = -0.7
    assert statuses(character, frames) == {"joint limits": "serious"}


def test_foot_skate(character: CharacterModel) -> None:
    frames = clean(character)
    frames[:, 0] = np.arange(60) / FPS  # slides at 1 m/s
    report = check_clip(MotionClip(frames, FPS, LoopMode.CLAMP, "x"), character)
    skate = next(finding for finding in report.findings if finding.check == "foot skate")
    assert skate.status == "warning"
    assert skate.value == pytest.approx(1.0, abs=1e-3)
    assert statuses(character, frames) == {"foot skate": "warning"}


def test_loop_seam(character: CharacterModel) -> None:
    frames = clean(character)
    frames[:, column(character, "abdomen_z")] = np.linspace(0, 1.0, 60)
    assert statuses(character, frames, LoopMode.WRAP) == {"loop seam": "warning"}
    assert statuses(character, frames, LoopMode.CLAMP) == {}


def test_missing_joint(character: CharacterModel) -> None:
    frames = clean(character)
    frames[:, column(character, "neck_x") : column(character, "neck_z") + 1] = np.nan
    assert statuses(character, frames) == {"missing values": "warning"}


def test_foot_skate_does_not_hang_on_a_few_frames(character: CharacterModel) -> None:
    frames = clean(character)
    frames[:20, 0] = np.arange(-20, 0) / FPS  # a third of the time it slides
    frames[:, 2] += 0.05  # and floats a little
    report = check_clip(MotionClip(frames, FPS, LoopMode.CLAMP, "x"), character)
    skate = next(finding for finding in report.findings if finding.check == "foot skate")
    assert (skate.status, skate.value) == ("ok", pytest.approx(0.0, abs=1e-4))
    assert "34% of the contact frames" in skate.detail


def test_support_points_of_the_rest_pose(character: CharacterModel) -> None:
    points = SupportPoints(character)
    identity = torch.tensor([0.0, 0.0, 0.0, 1.0])
    pos, quat = character.forward_kinematics(
        torch.tensor([[0.0, 0.0, 0.882416]]), identity.expand(1, 4), identity.expand(1, 14, 4)
    )
    lowest = points.lowest(pos, quat)[0]
    assert float(lowest[:, 2].min()) == pytest.approx(0.001, abs=1e-4)  # the soles
    (top,) = lowest[points.body == character.body_names.index("head"), 2]
    assert float(top) == pytest.approx(float(pos[0, 2, 2]) + 0.175 - 0.095, abs=1e-5)


LEGS = """<mujoco><compiler angle="radian"/><asset><mesh name="sole" vertex="{corners}"/></asset><worldbody>
<body name="trunk"><freejoint/><geom type="box" size=".1 .1 .1" mass="5"/>
<body name="shin" pos="0 0 -.3"><joint name="hip" axis="0 1 0" range="-1 1"/>{geom}
</body></body></worldbody></mujoco>"""
CORNERS = " ".join(f"{x} {y} {z}" for x in (-0.08, 0.08) for y in (-0.04, 0.04) for z in (-0.03, 0.03))
SHAPES = {  # the shape, and how far it reaches below the trunk when the hip is at 0 and at 0.5 rad
    "sphere": ('size=".04"', 0.04, 0.04),
    "capsule": ('size=".03 .1"', 0.13, 0.03 + 0.1 * np.cos(0.5)),
    "box": ('size=".08 .04 .03"', 0.03, 0.08 * np.sin(0.5) + 0.03 * np.cos(0.5)),
    "cylinder": ('size=".04 .02"', 0.02, 0.04 * np.sin(0.5) + 0.02 * np.cos(0.5)),
    "ellipsoid": ('size=".08 .04 .03"', 0.03, np.hypot(0.08 * np.sin(0.5), 0.03 * np.cos(0.5))),
    "mesh": ('mesh="sole"', 0.03, 0.08 * np.sin(0.5) + 0.03 * np.cos(0.5)),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_every_shape_that_collides_stands_on_the_ground(kind: str, tmp_path: Path) -> None:
    values, straight, bent = SHAPES[kind]
    marker = '<geom type="sphere" size=".02" pos="0 0 -.5" contype="0" conaffinity="0"/>'  # shown, and deep below
    geom = f'<geom type="{kind}" {values} pos="0 0 -.3" mass="1"/>{marker}'
    (tmp_path / "legs.xml").write_text(LEGS.format(corners=CORNERS, geom=geom))
    legs = CharacterModel.from_file(tmp_path / "legs.xml")
    for angle, reach in ((0.0, straight), (0.5, bent)):
        frames = np.zeros((10, 7), np.float32)
        frames[:, 6] = angle
        frames[:, 2] = 0.3 + 0.3 * np.cos(angle) + reach
        ground = next(f for f in check_clip(MotionClip(frames, FPS, LoopMode.CLAMP, "x"), legs).findings
                      if f.check == "ground")  # fmt: skip
        assert (ground.status, ground.value) == ("ok", pytest.approx(0.0, abs=1e-5))
    frames[:, 0] = np.arange(10) / FPS  # a foot without a foot's name slides too
    skate = next(f for f in check_clip(MotionClip(frames, FPS, LoopMode.CLAMP, "x"), legs).findings
                 if f.check == "foot skate")  # fmt: skip
    assert skate.value == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("extra", "detail"),
    [
        ('<geom size=".1" contype="0" conaffinity="0"/>', "nothing of the character can touch it"),
        ('<geom size=".1" contype="0" conaffinity="2"/>', "nothing of the character can touch it"),
        ('<geom size=".1" contype="0" conaffinity="1"/>', "lowest trunk at +0.000 m"),
    ],
)
def test_what_the_ground_does_not_meet_is_not_looked_at(extra: str, detail: str, tmp_path: Path) -> None:
    body = (
        f'<body name="trunk"><freejoint/>{extra}<body name="arm"><joint name="a" axis="1 0 0" range="-1 1"/>{{}}</body>'
    )
    inertia = '<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>'
    (tmp_path / "bot.xml").write_text(f"<mujoco><worldbody>{body.format(inertia)}</body></worldbody></mujoco>")
    frames = np.zeros((4, 7), np.float32)
    frames[:, 2] = 0.1
    report = check_clip(MotionClip(frames, FPS, LoopMode.CLAMP, "x"), CharacterModel.from_file(tmp_path / "bot.xml"))
    assert next(finding.detail for finding in report.findings if finding.check == "ground") == detail
