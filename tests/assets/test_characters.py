"""Our characters beside MimicKit's of the same name: places of bodies, masses, ranges, gains, torque limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimickit_hydra.assets.fetch import ADDED, DRIVES
from mimickit_hydra.config.paths import bundled_data, cached_data
from mimickit_hydra.motion.mjcf import read_robot

# By character: bodies [x, y, z (m, in the parent), mass (kg)], joints [low, high (rad), kp, kd, torque limit, armature]
THEIRS: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "mimickit_characters.json").read_text())
BUNDLED = {
    "humanoid": "humanoid/humanoid.xml",
    "smpl": "smpl/smpl.xml",
    "sword_shield": "sword_shield/humanoid_sword_shield.xml",
}
# What comes from elsewhere is a later G1, whose waist and torso were built anew, and has lighter feet.
OTHER_PLACE = {"waist_roll_link", "torso_link", "left_shoulder_pitch_link", "right_shoulder_pitch_link"}
OTHER_MASS = {"waist_yaw_link", "waist_roll_link", "torso_link", "head_link"} | {
    f"{x}_foot" for x in ("FL", "FR", "RL", "RR")
}


def compare(name: str, file: Path) -> None:
    ours, bodies, joints = read_robot(file), THEIRS[name]["bodies"], THEIRS[name]["joints"]
    assert ours.body_names == list(bodies)
    assert ours.dof_names == list(joints)
    fetched = name not in BUNDLED
    for body, place, mass in zip(ours.body_names[1:], ours.local_pos[1:], ours.masses[1:], strict=True):
        if not (fetched and body in OTHER_PLACE):
            np.testing.assert_allclose(place, bodies[body][:3], atol=1e-4, err_msg=body)
        if not (fetched and body in OTHER_MASS):
            assert mass == pytest.approx(bodies[body][3], rel=1e-3), body
    found = np.stack([ours.dof_low, ours.dof_high, ours.kp, ours.kd, ours.torque_high, ours.armature], axis=1)
    np.testing.assert_allclose(found, list(joints.values()), atol=1e-3, rtol=1e-3)
    np.testing.assert_allclose(ours.torque_low, -ours.torque_high)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_characters_are_mimickits(name: str) -> None:
    compare(name, bundled_data() / "assets" / BUNDLED[name])


@pytest.mark.parametrize("name", ["g1", "go2"])
def test_fetched_characters_are_mimickits(name: str) -> None:
    file = cached_data() / "assets" / name / f"{name}.xml"
    if not file.is_file():
        pytest.skip(f"mimickit assets fetch {name}")
    compare(name, file)


@pytest.mark.parametrize("name", ["g1", "go2"])
def test_what_fetching_changes_are_mimickits_values(name: str) -> None:
    for joint, (_, _, *wanted) in THEIRS[name]["joints"].items():
        drive = next(drive for part, drive in DRIVES[name].items() if part in joint)
        found = [drive.stiffness, drive.damping, drive.torque, drive.armature]
        np.testing.assert_allclose(found, wanted, rtol=1e-3, err_msg=joint)
    for body, _, _, place in ADDED[name]:
        np.testing.assert_allclose([float(x) for x in place.split()], THEIRS[name]["bodies"][body][:3], err_msg=body)
