"""Retargeting: answers that are known, feet that stay, limits that hold, inputs that are refused in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mimickit_hydra.cli.main import main
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode, MotionClip, load_clip, save_clip
from mimickit_hydra.motion.importers import read_motions
from mimickit_hydra.motion.retarget.skeletons import derive, read_skeleton, skeleton_for
from mimickit_hydra.motion.retarget.source import of_clip, of_human

HUMANOID = bundled_data() / "assets" / "humanoid" / "humanoid.xml"
G1 = bundled_data() / "assets" / "g1_mjlab" / "g1_mjlab.xml"
SMPL = bundled_data() / "assets" / "smpl" / "smpl.xml"
WALK = bundled_data() / "motions" / "humanoid" / "humanoid_walk.npz"


def run(source, character, **options):
    pytest.importorskip("mink")
    pytest.importorskip("daqp")
    from mimickit_hydra.motion.retarget.run import retarget

    return retarget(source, character, **options)


@pytest.fixture(scope="module")
def humanoid():
    return CharacterModel.from_file(HUMANOID)


@pytest.fixture(scope="module")
def g1():
    return CharacterModel.from_file(G1)


@pytest.fixture(scope="module")
def walk(humanoid):
    return of_clip(load_clip(WALK), humanoid)


def scaled_copy(tmp_path: Path, factor: float) -> CharacterModel:
    """The humanoid with every length multiplied."""
    import mujoco

    spec = mujoco.MjSpec.from_file(str(HUMANOID))
    for body in spec.bodies:
        body.pos = factor * np.array(body.pos)
        for geom in body.geoms:
            geom.pos, geom.size = factor * np.array(geom.pos), factor * np.array(geom.size)
            geom.fromto = factor * np.array(geom.fromto)
    path = tmp_path / "small.xml"
    path.write_text(spec.to_xml())
    return CharacterModel.from_file(path)


def test_a_robot_retargeted_to_itself_keeps_its_angles(humanoid, walk):
    done = run(walk, humanoid)
    assert np.abs(done.clip.frames[:, 3:] - walk.clip.frames[:, 3:]).max() < 1e-3
    assert np.abs(done.clip.frames[:, :2] - walk.clip.frames[:, :2]).max() < 1e-3
    assert done.scale == pytest.approx(1.0)


def test_the_g1_retargeted_to_itself_keeps_its_angles(g1):
    rows = np.zeros((20, 6 + g1.num_dofs), dtype=np.float32)
    time = np.linspace(0, 1, 20)
    rows[:, 2] = 0.8
    middle, half = 0.5 * (g1.dof_low + g1.dof_high), 0.3 * (g1.dof_high - g1.dof_low)
    rows[:, 6:] = middle + half * np.sin(3 * time[:, None] + np.arange(g1.num_dofs))
    clip = MotionClip(rows, 20.0, LoopMode.CLAMP, "wiggle")
    done = run(of_clip(clip, g1), g1)
    assert np.abs(done.clip.frames[:, 6:] - rows[:, 6:]).max() < 1e-3


def test_a_copy_of_half_the_size_moves_alike_half_as_far(tmp_path, walk):
    small = scaled_copy(tmp_path, 0.5)
    done = run(walk, small)
    assert done.scale == pytest.approx(0.5, abs=1e-3)
    assert np.abs(done.clip.frames[:, 3:] - walk.clip.frames[:, 3:]).max() < 1e-3
    assert np.abs(done.clip.frames[:, :2] - 0.5 * walk.clip.frames[:, :2]).max() < 1e-3


def test_another_robot_keeps_its_feet_where_they_stand_and_its_limits(g1, walk):
    done = run(walk, g1)
    quality = done.quality
    assert quality.skate < 0.02
    assert quality.penetration < 1e-3
    assert quality.limits == quality.speed == 0.0
    assert quality.tracking < 0.03
    dofs = done.clip.frames[:, 6:]
    assert (dofs >= g1.dof_low).all()
    assert (dofs <= g1.dof_high).all()
    assert done.clip.num_frames == walk.num_frames
    assert done.clip.fps == walk.fps


def test_no_joint_is_faster_than_asked(g1, walk):
    done = run(walk, g1, max_speed=4.0)
    assert np.abs(np.diff(done.clip.frames[:, 6:], axis=0)).max() * done.clip.fps <= 4.0 * (1 + 1e-3)
    assert done.quality.speed == 0.0
    assert done.quality.tracking > run(walk, g1).quality.tracking


def test_figures_see_what_is_bad(g1, walk):
    done = run(walk, g1)
    sunk = MotionClip(done.clip.frames.copy(), done.clip.fps, LoopMode.CLAMP, "sunk")
    sunk.frames[:, 2] -= 0.05
    sunk.frames[:, 0] += np.arange(len(sunk.frames)) / 30.0  # slides at 1 m/s
    sunk.frames[3, 9] += 9.0
    bad = done.measure(sunk)
    assert bad.penetration == pytest.approx(0.05 + done.quality.penetration, abs=2e-3)
    assert bad.skate == pytest.approx(1.0, abs=0.05)
    assert bad.limits > 0
    assert bad.speed > 0
    assert bad.deep == 1.0
    with pytest.raises(UserError, match="must have the"):
        done.measure(MotionClip(sunk.frames[:5], 30.0, LoopMode.CLAMP, "short"))


# ----------------------------------------------------------------------------------------------------------- skeletons

CMU = """HIERARCHY
ROOT Hips
{
 OFFSET 0 0 0
 CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
%s
 JOINT Spine1
 {
  OFFSET 0 4 0
  CHANNELS 3 Zrotation Yrotation Xrotation
  JOINT Head
  {
   OFFSET 0 6 0
   CHANNELS 3 Zrotation Yrotation Xrotation
   End Site
   {
    OFFSET 0 3 0
   }
  }
%s
 }
}
MOTION
Frames: %d
Frame Time: 0.0333333
"""
LEG = """ JOINT {side}UpLeg
 {{
  OFFSET {x} -1 0
  CHANNELS 3 Zrotation Yrotation Xrotation
  JOINT {side}Leg
  {{
   OFFSET 0 -8 0
   CHANNELS 3 Zrotation Yrotation Xrotation
   JOINT {side}Foot
   {{
    OFFSET 0 -8 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    JOINT {side}ToeBase
    {{
     OFFSET 0 -1 2.5
     CHANNELS 3 Zrotation Yrotation Xrotation
     End Site
     {{
      OFFSET 0 0 1
     }}
    }}
   }}
  }}
 }}"""
ARM = """  JOINT {side}Arm
  {{
   OFFSET {x} 4 0
   CHANNELS 3 Zrotation Yrotation Xrotation
   JOINT {side}ForeArm
   {{
    OFFSET {y} 0 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    JOINT {side}Hand
    {{
     OFFSET {z} 0 0
     CHANNELS 3 Zrotation Yrotation Xrotation
     End Site
     {{
      OFFSET {w} 0 0
     }}
    }}
   }}
  }}"""


def squat(path: Path, frames: int = 40) -> Path:
    """A person of the CMU database's units with y up, arms down, who bends the knees and comes up again."""
    legs = "\n".join(LEG.format(side=side, x=x) for side, x in (("Left", 1.6), ("Right", -1.6)))
    arms = "\n".join(
        ARM.format(side=side, x=2.5 * s, y=5 * s, z=4.5 * s, w=s) for side, s in (("Left", 1), ("Right", -1))
    )
    rows = []
    for frame in range(frames):
        bend = 50 * 0.5 * (1 - math.cos(2 * math.pi * frame / (frames - 1)))
        height = 1 + 1 + 16 * math.cos(math.radians(bend))
        leg = [0, 0, -bend, 0, 0, 2 * bend, 0, 0, -bend, 0, 0, 0]
        arm = {1: [-80, 0, 0], -1: [80, 0, 0]}
        rows.append([0, height, 0, 0, 0, 0, *leg, *leg, *[0] * 6, *arm[1], *[0] * 6, *arm[-1], *[0] * 6])
    path.write_text(CMU % (legs, arms, frames) + "\n".join(" ".join(f"{x:.5f}" for x in row) for row in rows) + "\n")
    return path


def test_a_persons_squat_becomes_the_g1s(tmp_path, g1):
    source = of_human(read_motions(squat(tmp_path / "squat.bvh"))[1][0])
    assert source.contact["left"].all()
    assert np.allclose(source.frames["pelvis"][0][:, 2], [0, 0, 1], atol=1e-6)  # upright
    done = run(source, g1)
    columns = g1.dof_columns()
    knees = [k for k, name in enumerate(columns) if "knee" in name]
    bend = done.clip.frames[:, 6:][:, knees]
    assert np.rad2deg(bend.max()) == pytest.approx(100, abs=12)
    assert np.abs(bend[:, 0] - bend[:, 1]).max() < 0.02  # both sides alike
    assert done.quality.skate < 5e-3
    assert done.quality.penetration < 1e-3
    hips = done.clip.frames[:, 2]
    # at its deepest as low, beside the length of its legs, as the person
    assert (hips[0] - hips.min()) / done.scale == pytest.approx(
        16 * 0.0564 * (1 - math.cos(math.radians(50))), abs=0.05
    )


def test_the_way_of_lafan1s_pelvis_is_known_by_its_preset(tmp_path):
    text = squat(tmp_path / "squat.bvh").read_text()
    for old, new in (("Spine1", "Spine2"), ("ToeBase", "Toe")):
        text = text.replace(old, new)
    (tmp_path / "lafan.bvh").write_text(text)
    (motion,) = read_motions(tmp_path / "lafan.bvh")[1]
    assert skeleton_for(motion.joint_names, motion.parents, "x").name == "lafan1"
    own = tmp_path / "own.yaml"
    known = read_skeleton(bundled_data() / "retarget" / "lafan1.yaml")
    points = "\n".join(f"  {role}: {name}" for role, (name, _) in known.points.items())
    own.write_text(f"up: [0, 1, 0]\npoints:\n{points}\n")
    assert np.allclose(of_human(motion, str(own)).frames["pelvis"][0][:, 2], [0, 0, 1], atol=1e-6)


@pytest.mark.parametrize("path", [HUMANOID, G1])
def test_the_points_of_an_unknown_robot_are_found_by_its_names(path):
    character = CharacterModel.from_file(path)
    known = skeleton_for(character.body_names, character.parents, character.name)
    found = derive(character.body_names, character.parents, character.name)
    same = [role for role in known.points if found.points.get(role) == known.points[role]]
    assert set(known.points) - set(same) <= {"left_hip", "right_hip", "left_shoulder", "right_shoulder"}
    assert {"pelvis", "chest", "left_knee", "right_ankle"} <= set(same)
    assert len(found.assumed) == len(found.points)


def test_four_legs_are_refused():
    names = ["base"] + [
        f"{leg}_{part}" for leg in ("FL", "FR", "RL", "RR") for part in ("hip", "thigh", "calf", "foot")
    ]
    parents = [-1] + [0 if k % 4 == 0 else k for k in range(16)]
    with pytest.raises(UserError, match="must have two legs"):
        derive(names, parents, "go2")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "has points"),
        ("points: {pelvis: a}", "points lack"),
        ("points: {pelvs: a}", "pelvis"),
        ("points: {pelvis: [a, 1]}", "three numbers"),
        ("point: {}\npoints: {}", "nearest|points"),
        ("points: {", "not valid YAML"),
    ],
)
def test_a_broken_skeleton_is_one_line(tmp_path, text, says):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as error:
        read_skeleton(path)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------------------- command


def test_the_command_writes_a_clip_and_its_figures(tmp_path, capsys):
    pytest.importorskip("daqp")
    out, report = tmp_path / "squat_g1.npz", tmp_path / "r.json"
    bvh = squat(tmp_path / "squat.bvh")
    line = ["motion", "retarget", str(bvh), "--to", "g1_mjlab", "-o", str(out)]
    assert main([*line, "--report", str(report)]) == 0
    clip = load_clip(out)
    assert clip.name == "squat_g1"
    assert "retargeted to" in clip.meta["source"]
    assert "standing feet move" in capsys.readouterr().out
    save_clip(tmp_path / "other.npz", clip)
    assert main([*line, "--compare", str(tmp_path / "other.npz"), "--report", str(report)]) == 0
    figures = json.loads(report.read_text())[str(out)]["quality"]
    assert figures["other.npz"] == figures["squat_g1.npz"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--to", "g7"], "--to g7: no such character"),
        (["--to", "g1_mjlab", "--skeleton", "lafan"], "lafan1"),
        (["--to", "g1_mjlab", "--skeleton", "smpl"], "has no"),
        (["--to", "g1_mjlab", "--scale", "0"], "above 0"),
        (["--to", "g1_mjlab", "--max-speed", "-1"], "above 0"),
        (["--to", "g1_mjlab", "--report", "/dev/null/figures.json"], "cannot be written"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, capsys, change, says):
    pytest.importorskip("daqp")
    bvh = squat(tmp_path / "squat.bvh", 5)
    assert main(["motion", "retarget", str(bvh), "-o", str(tmp_path / "x.npz"), *change]) == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert "\n" not in error
    assert (tmp_path / "x.npz").exists() == ("--report" in change)


def test_without_mink_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mink", None)
    assert main(["motion", "retarget", "walk", "--to", "g1_mjlab", "-o", str(tmp_path)]) == 2
    assert "mimickit-hydra[retarget]" in capsys.readouterr().err


@pytest.mark.slow
def test_a_hundred_frames_a_second_on_one_core(g1, humanoid):
    long = load_clip(WALK)
    clip = MotionClip(np.concatenate([long.frames] * 5), 30.0, LoopMode.CLAMP, "walks")
    done = run(of_clip(clip, humanoid), g1)
    assert done.clip.num_frames / done.seconds > 100
