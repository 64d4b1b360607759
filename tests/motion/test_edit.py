"""Operations on clips: what has to change does, exactly or to rounding, and everything else stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mimickit_hydra.cli.main import main
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import edit
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode, MotionClip, load_clip
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.motion.symmetry import Mirror, other_side

MOTIONS = bundled_data() / "motions/humanoid"
CHARACTER = CharacterModel.from_file(bundled_data() / "assets/humanoid/humanoid.xml")
NAMES = ["walk", "kick", "spin", "getup_faceup", "cartwheel"]

HINGES = """<mujoco><compiler angle="radian"/><worldbody><body name="trunk" pos="0 0 0.5"><freejoint/>
<geom type="box" size="0.2 0.1 0.05" mass="5"/>{legs}</body></worldbody></mujoco>"""
LEG = """<body name="{n}_hip" pos="{x} {y} 0"><joint name="{n}_hx" axis="{s} 0 0" range="-1 1"/>
<geom type="sphere" size="0.02" mass="1"/><body name="{n}_leg" pos="0 {d} 0" euler="{s2} 0.3 0"><joint name="{n}_hy"
axis="0 1 0" range="-1 1"/><geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.02" mass="1"/></body></body>"""


def clip_of(name: str) -> MotionClip:
    return load_clip(MOTIONS / f"humanoid_{name}.npz")


def quadruped(tmp_path: Path, sign: int = -1, shift: float = 0.0) -> CharacterModel:
    """A dog whose right hips turn the other way round, and whose legs are rolled outwards at rest."""
    legs = ""
    for n, x, y in (("FL", 0.2, 0.1), ("FR", 0.2, -0.1), ("RL", -0.2, 0.1), ("RR", -0.2, -0.1 - shift)):
        left = y > 0
        legs += LEG.format(n=n, x=x, y=y, s=1 if left else sign, d=0.05 if left else -0.05, s2=0.2 if left else -0.2)
    path = tmp_path / "dog.xml"
    path.write_text(HINGES.format(legs=legs))
    return CharacterModel.from_file(path)


def bodies(frames: np.ndarray, character: CharacterModel) -> torch.Tensor:
    rows = torch.from_numpy(frames)
    return character.forward_kinematics(
        rows[:, :3], rot.exp_map_to_quat(rows[:, 3:6]), character.dof_to_rot(rows[:, 6:])
    )[0]


def same(a: MotionClip, b: MotionClip) -> bool:
    return a.frames.tobytes() == b.frames.tobytes() and (a.fps, a.loop_mode) == (b.fps, b.loop_mode)


# ------------------------------------------------------------------------------------------------------------- lossless


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_has_to_change_nothing_does(name: str) -> None:
    clip = clip_of(name)
    before = clip.frames.copy()
    stands = edit.ground(clip, CHARACTER)
    unchanged = [
        (edit.cut(clip), clip),
        (edit.resample(clip, CHARACTER, clip.fps), clip),
        (edit.mirror(edit.mirror(clip, CHARACTER), CHARACTER), clip),
        (edit.smooth(clip, CHARACTER, clip.fps), clip),
        (edit.ground(stands, CHARACTER), stands),
        (edit.loop(edit.loop(clip, CHARACTER, 0.2), CHARACTER, 0.2), edit.loop(clip, CHARACTER, 0.2)),
    ]
    for after, expected in unchanged:
        np.testing.assert_array_equal(after.frames, expected.frames)
        assert (after.fps, after.loop_mode) == (expected.fps, expected.loop_mode)
    assert clip.frames.tobytes() == before.tobytes()


def test_parts_that_are_joined_are_the_whole() -> None:
    clip = clip_of("getup_faceup")
    parts = [edit.cut(clip, 0.0, 1.0), edit.cut(clip, 1.0, 2.5), edit.cut(clip, 2.5)]
    assert [part.num_frames for part in parts] == [61, 91, 77]
    assert same(edit.join(parts, CHARACTER), clip)


@pytest.mark.parametrize(("rate", "every"), [(120.0, 2), (240.0, 4)])
def test_frames_on_frames_are_those(rate: float, every: int) -> None:
    clip = clip_of("cartwheel")
    fine = edit.resample(clip, CHARACTER, rate)
    assert fine.frames[::every].tobytes() == clip.frames.tobytes()
    assert same(edit.resample(fine, CHARACTER, clip.fps), clip)


# ------------------------------------------------------------------------------------------------------------ what does


@pytest.mark.parametrize("rate", [24.0, 29.97, 50.0, 100.0])
@pytest.mark.parametrize("name", NAMES)
def test_resampled_clips_are_what_the_library_shows(name: str, rate: float) -> None:
    clip = clip_of(name)
    made = edit.resample(clip, CHARACTER, rate)
    if clip.loop_mode is LoopMode.WRAP:
        assert made.length == pytest.approx(clip.length, rel=1e-6)
        assert made.fps == pytest.approx(rate, rel=0.5 / (rate * clip.length))
    else:
        assert made.fps == rate
        assert clip.length - 1 / rate < made.length <= clip.length + 1e-6
    times = torch.arange(made.num_frames - 1) / made.fps
    shown = MotionLibrary([clip], [1.0], CHARACTER).query(torch.zeros(len(times), dtype=torch.long), times)
    expected = CHARACTER.forward_kinematics(shown.root_pos, shown.root_rot, shown.joint_rot)[0]
    torch.testing.assert_close(bodies(made.frames[:-1], CHARACTER), expected, atol=1e-4, rtol=0)


def test_rotations_are_interpolated_on_the_sphere() -> None:
    frames = np.zeros((2, 6 + CHARACTER.num_dofs), dtype=np.float32)
    frames[:, 3:6] = [[0.0, 0.0, 3.0], [0.0, 0.0, -3.0]]  # 0.28 rad apart, not 6
    made = edit.resample(MotionClip(frames, 10.0, LoopMode.CLAMP, "turn"), CHARACTER, 20.0)
    assert abs(made.frames[1, 5]) == pytest.approx(np.pi, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_mirror_image_has_every_body_on_the_other_side(name: str) -> None:
    clip = clip_of(name)
    partner = Mirror(CHARACTER).partner
    assert sum(b != p for b, p in enumerate(partner)) == 12
    expected = bodies(clip.frames, CHARACTER)[:, partner] * torch.tensor([1.0, -1.0, 1.0])
    torch.testing.assert_close(bodies(edit.mirror(clip, CHARACTER).frames, CHARACTER), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("sign", [-1, 1])
def test_hinges_that_turn_the_other_way_and_frames_that_lean_are_mirrored(sign: int, tmp_path: Path) -> None:
    dog = quadruped(tmp_path, sign)
    rng = np.random.default_rng(0)
    frames = rng.uniform(-0.8, 0.8, (20, 6 + dog.num_dofs)).astype(np.float32)
    clip = MotionClip(frames, 30.0, LoopMode.CLAMP, "random")
    partner = Mirror(dog).partner
    assert [dog.body_names[partner[dog.body_names.index(n)]] for n in ("FL_hip", "RR_leg")] == ["FR_hip", "RL_leg"]
    made = edit.mirror(clip, dog)
    expected = bodies(frames, dog)[:, partner] * torch.tensor([1.0, -1.0, 1.0])
    torch.testing.assert_close(bodies(made.frames, dog), expected, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(edit.mirror(made, dog).frames, frames)


def test_a_character_whose_sides_differ_has_no_mirror_image(tmp_path: Path) -> None:
    dog = quadruped(tmp_path, shift=0.1)
    frames = np.zeros((5, 6 + dog.num_dofs), dtype=np.float32)
    with pytest.raises(UserError, match=r"^.*R[LR]_hip is 0.100 m from the mirror image of R[LR]_hip: its two sides"):
        edit.mirror(MotionClip(frames, 30.0, LoopMode.CLAMP, "still"), dog)


@pytest.mark.parametrize(
    ("left", "right"),
    [("left_hand", "right_hand"), ("LeftArm", "RightArm"), ("L_Hip", "R_Hip"), ("hip_l", "hip_r"),
     ("FL_thigh", "FR_thigh"),
     ("LF_HAA", "RF_HAA"), ("LH_KFE", "RH_KFE"), ("rl_calf", "rr_calf"), ("l_knee_link", "r_knee_link"),
     ("torso", ""), ("pelvis", ""), ("right_elbow", ""), ("FR_thigh", ""), ("tail_link", "")],
)  # fmt: skip
def test_names_of_the_other_side(left: str, right: str) -> None:
    assert other_side(left) == right


@pytest.mark.parametrize("name", ["kick", "getup_facedown", "cartwheel", "roll"])
def test_a_loop_ends_in_its_first_pose_and_only_its_end_has_changed(name: str) -> None:
    clip = clip_of(name)
    made = edit.loop(clip, CHARACTER, 0.3)
    assert made.loop_mode is LoopMode.WRAP
    np.testing.assert_array_equal(made.frames[-1, 2:], made.frames[0, 2:])
    np.testing.assert_array_equal(made.frames[:, :2], clip.frames[:, :2])
    kept = clip.num_frames - round(0.3 * clip.fps)
    assert made.frames[:kept].tobytes() == clip.frames[:kept].tobytes()
    before, after = (rot.exp_map_to_quat(torch.from_numpy(c.frames[:, 3:6])) for c in (clip, made))
    steps = [rot.quat_diff_angle(q[:-1], q[1:]).max() for q in (before, after)]
    seam = rot.quat_diff_angle(before[-1], before[0])
    assert float(steps[1]) < float(steps[0] + 2.0 * seam / (0.3 * clip.fps)) + 1e-3  # spread, not jumped


def test_joined_clips_go_on_where_and_as_the_one_before_ended() -> None:
    walk, kick = clip_of("walk"), clip_of("kick")
    made = edit.join([walk, kick, walk], CHARACTER, 0.2)
    assert made.fps == 30.0
    assert made.num_frames == 39 + 47 + 39 - 2 * 6
    assert made.frames[:33].tobytes() == walk.frames[:33].tobytes()
    speed = np.abs(np.diff(made.frames[:, :2], axis=0)).max() * 30.0
    alone = max(np.abs(np.diff(clip.frames[:, :2], axis=0)).max() * 30.0 for clip in (walk, kick))
    assert speed < 1.5 * alone
    turns = rot.exp_map_to_quat(torch.from_numpy(made.frames[:, 3:6]))
    own = rot.exp_map_to_quat(torch.from_numpy(kick.frames[:, 3:6]))
    fastest = float(rot.quat_diff_angle(own[:-1], own[1:]).max())
    assert float(rot.quat_diff_angle(turns[:-1], turns[1:]).max()) < fastest + 0.1
    # The heights and the poses of what follows are its own.
    np.testing.assert_array_equal(made.frames[-33:, 2], walk.frames[-33:, 2])
    np.testing.assert_array_equal(made.frames[-33:, 6:], walk.frames[-33:, 6:])
    assert edit.join([walk, clip_of("roll")], CHARACTER).fps == 30.0  # 60 before


@pytest.mark.parametrize("off", [0.2, -0.13])
def test_a_clip_is_put_on_the_ground(off: float) -> None:
    clip = clip_of("walk")
    stands = edit.ground(clip, CHARACTER)
    assert edit.ground_height(stands, CHARACTER) == pytest.approx(0.0, abs=1e-6)
    moved = MotionClip(stands.frames.copy(), 30.0, LoopMode.WRAP, "moved")
    moved.frames[:, 2] += np.float32(off)
    made = edit.ground(moved, CHARACTER)
    np.testing.assert_allclose(made.frames, stands.frames, atol=1e-6)
    np.testing.assert_array_equal(made.frames[:, [0, 1, *range(3, 34)]], clip.frames[:, [0, 1, *range(3, 34)]])
    moved.frames[7, 2] -= 0.5  # one frame deep in the ground does not lift all others
    made = edit.ground(moved, CHARACTER, below=0.05)
    assert abs(float(np.median(made.frames[:, 2] - stands.frames[:, 2]))) < 0.02


def test_smoothing_takes_out_noise_and_no_motion() -> None:
    clip = edit.resample(clip_of("walk"), CHARACTER, 60.0)
    rng = np.random.default_rng(0)
    noisy = MotionClip(clip.frames + rng.normal(0, 0.02, clip.frames.shape).astype(np.float32), clip.fps,
                       LoopMode.WRAP, "noisy")  # fmt: skip
    noisy.frames[-1, 2:] = noisy.frames[0, 2:]
    made = edit.smooth(noisy, CHARACTER, 6.0)
    before, after = (float((bodies(c.frames, CHARACTER) - bodies(clip.frames, CHARACTER)).norm(dim=-1).mean())
                     for c in (noisy, made))  # fmt: skip
    assert after < 0.6 * before
    np.testing.assert_array_equal(made.frames[-1, 2:], made.frames[0, 2:])
    clean = edit.smooth(clip, CHARACTER, 12.0)
    assert float((bodies(clean.frames, CHARACTER) - bodies(clip.frames, CHARACTER)).norm(dim=-1).max()) < 0.02


def test_joints_that_were_not_captured_stay_so() -> None:
    clip = clip_of("kick")
    clip.frames[:, 6:9] = np.nan
    clip.frames[10, 9:12] = np.nan
    for made in (
        edit.resample(clip, CHARACTER, 50.0), edit.smooth(clip, CHARACTER, 5.0), edit.cut(clip, 0.2, 1.0),
        edit.join([clip, clip], CHARACTER, 0.1), edit.loop(clip, CHARACTER, 0.1),
    ):  # fmt: skip
        assert np.isnan(made.frames[:, 6:9]).all()
        assert np.isfinite(made.frames[:, 12:]).all()
        assert np.isnan(made.frames[:, 9:12]).any()


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda clip: edit.cut(clip, 1.0, 0.5), "cut from 1 to 0.5 s; must be 0 <= start < end"),
        (lambda clip: edit.cut(clip, 5.0), "no two frames from 5 to inf s"),
        (lambda clip: edit.resample(clip, CHARACTER, 0.0), "0 frames per second; must be a number above 0"),
        (lambda clip: edit.resample(clip, CHARACTER, float("nan")), "must be a number above 0"),
        (lambda clip: edit.resample(clip, CHARACTER, 0.1), "less than a frame at 0.1 Hz"),
        (lambda clip: edit.loop(clip, CHARACTER, 9.0), "a blend of 9 s; must be less than its 1.53333 s"),
        (lambda clip: edit.join([clip, clip], CHARACTER, 3.0), "a blend of 3 s; must be less than the length of both"),
        (lambda clip: edit.smooth(clip, CHARACTER, -1.0), "a cutoff of -1 Hz; must be above 0"),
    ],
)
def test_what_cannot_be_done_is_one_line(operation: object, message: str) -> None:
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        operation(clip_of("kick"))  # type: ignore[operator]
    assert message in str(error.value)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.npz"
    for words in (
        ["cut", "walk", "--end", "0.5"], ["resample", "walk", "--fps", "50"], ["mirror", "walk"], ["loop", "kick"],
        ["join", "walk", "kick"], ["ground", "walk"], ["smooth", "walk"],
    ):  # fmt: skip
        assert main(["motion", *words, "-o", str(out)]) == 0
        assert load_clip(out).name == "out"
    assert main(["motion", "mirror", "walk", "run", "-o", str(tmp_path)]) == 0
    assert same(load_clip(tmp_path / "humanoid_run.npz"), edit.mirror(clip_of("run"), CHARACTER))
    capsys.readouterr()
    assert main(["motion", "resample", "walk", "--fps", "30", "-o", str(out)]) == 0
    assert "39 frames at 30 Hz, 1.27 s, wrap, every number as it was" in capsys.readouterr().out
    assert main(["motion", "join", "walk", "-o", str(out)]) == 2
    assert main(["motion", "mirror", "walk", "run", "-o", str(out)]) == 2
