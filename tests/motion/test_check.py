"""Each check finds the defect that was put into a clean clip, and only that one."""

from __future__ import annotations

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


def test_support_points_of_the_rest_pose(character: CharacterModel) -> None:
    points = SupportPoints(character)
    identity = torch.tensor([0.0, 0.0, 0.0, 1.0])
    pos, quat = character.forward_kinematics(
        torch.tensor([[0.0, 0.0, 0.882416]]), identity.expand(1, 4), identity.expand(1, 14, 4)
    )
    lowest = points.lowest(pos, quat)[0]
    assert float(lowest[:, 2].min()) == pytest.approx(0.001, abs=1e-4)  # the soles
    tip = lowest[points.body == character.body_index("head"), 2]
    assert float(tip[0]) == pytest.approx(float(pos[0, 2, 2]) + 0.175 - 0.095, abs=1e-5)
