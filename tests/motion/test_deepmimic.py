"""The importer of DeepMimic text clips, and the bundled clips that it made."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.check import check_clip
from mimickit_hydra.motion.clip import LoopMode, frame_rate, load_clip, save_clip
from mimickit_hydra.motion.importers import import_clip

IDENTITY = [1.0, 0.0, 0.0, 0.0]
BUNDLED = sorted((bundled_data() / "motions" / "humanoid").glob("*.npz"))


def source_frame(duration: float = 0.1, pos: tuple[float, ...] = (0, 0.9, 0), **joints: Any) -> list[float]:
    """A source frame at rest except for ``joints``."""
    names = ("root", "abdomen", "neck", "right_hip", "right_knee", "right_ankle", "right_shoulder", "right_elbow",
             "left_hip", "left_knee", "left_ankle", "left_shoulder", "left_elbow")  # fmt: skip
    row = [duration, *pos]
    for name in names:
        value = joints.get(name, 0.0 if name.endswith(("knee", "elbow")) else IDENTITY)
        row += value if isinstance(value, list) else [value]
    return row


def write(tmp_path: Path, frames: Any, **fields: Any) -> Path:
    path = tmp_path / "humanoid3d_test.txt"
    path.write_text(json.dumps({"Loop": "wrap", "Frames": frames, **fields}))
    return path


@pytest.fixture(scope="module")
def bundled_humanoid() -> CharacterModel:
    return CharacterModel.from_file(bundled_data() / "assets" / "humanoid" / "humanoid.xml")


def bodies(character: CharacterModel, frames: np.ndarray) -> torch.Tensor:
    f = torch.from_numpy(frames)
    return character.forward_kinematics(f[:, :3], rot.exp_map_to_quat(f[:, 3:6]), character.dof_to_rot(f[:, 6:]))[0]


def test_rest_pose_and_axes(tmp_path: Path, bundled_humanoid: CharacterModel) -> None:
    clip = import_clip(write(tmp_path, [source_frame(), source_frame(pos=(1.0, 0.8, 0.5))]))
    assert (clip.name, clip.fps, clip.loop_mode) == ("humanoid_test", 10.0, LoopMode.WRAP)
    np.testing.assert_allclose(clip.frames[:, :3], [[0, 0, 0.9], [1.0, -0.5, 0.8]], atol=1e-6)
    pos = bodies(bundled_humanoid, clip.frames)[0]
    for side, sign in (("right", -1.0), ("left", 1.0)):
        shoulder, hand = (pos[bundled_humanoid.body_names.index(f"{side}_{part}")] for part in ("upper_arm", "hand"))
        # At rest the source's arms hang.
        torch.testing.assert_close(hand - shoulder, torch.tensor([0.0, 0.0, -0.533735]), atol=1e-5, rtol=0)
        assert float(shoulder[1]) * sign > 0


def test_limbs_bend_forward(tmp_path: Path, bundled_humanoid: CharacterModel) -> None:
    """The source's positive elbow and negative knee bend the way limbs do, on both sides."""
    bent = source_frame(right_elbow=1.0, left_elbow=1.0, right_knee=-1.0, left_knee=-1.0)
    pos = bodies(bundled_humanoid, import_clip(write(tmp_path, [bent, bent])).frames)[0]
    for side in ("right", "left"):
        elbow, hand, knee, foot = (
            pos[bundled_humanoid.body_names.index(f"{side}_{part}")] for part in ("lower_arm", "hand", "shin", "foot")
        )
        assert float((hand - elbow)[0]) > 0.2  # the hand moves forward
        assert float((foot - knee)[0]) < -0.3  # the foot moves backward
        assert abs(float((hand - elbow)[1])) < 1e-5


def test_uneven_frames_are_resampled(tmp_path: Path) -> None:
    quarter = [np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0]  # about the source's y, our z
    frames = [source_frame(0.1), source_frame(0.2, root=quarter), source_frame(0.1, root=quarter), source_frame(0.0)]
    clip = import_clip(write(tmp_path, frames, Loop="none"))
    assert clip.loop_mode is LoopMode.CLAMP
    assert clip.frames.shape == (5, 34)
    np.testing.assert_allclose(clip.frames[:, 5], [0, np.pi / 2, np.pi / 2, np.pi / 2, 0], atol=1e-6)


@pytest.mark.parametrize(
    "steps",
    [[0.8] * 5, [0.021] * 7, [2.5, 2.5, 2.5], [0.03333] * 40, [1 / 29.97] * 40, [1e-3] * 9, [0.0333, 0.0334] * 20,
     [0.03, 0.0306] * 20, [0.030] * 30 + [0.0306] * 30, [0.1, 2.5, 0.3], [0.7, 0.01, 0.01], [300.0]],
)  # fmt: skip
def test_a_clip_is_as_long_as_its_frames_say(tmp_path: Path, steps: list[float]) -> None:
    """Frame rates need not be whole numbers, in the reader and in what is written."""
    clip = import_clip(write(tmp_path, [source_frame(step) for step in [*steps, 0.0]], Loop="none"))
    assert clip.length == pytest.approx(sum(steps), rel=1e-3)
    save_clip(tmp_path / "again.npz", clip)
    (tmp_path / "again.pkl").write_bytes(
        pickle.dumps({"fps": clip.fps, "loop_mode": 0, "frames": clip.frames.tolist()})
    )
    for again in (load_clip(tmp_path / "again.npz"), load_clip(tmp_path / "again.pkl")):
        assert (again.fps, again.length) == (clip.fps, clip.length)


def test_rates_that_files_round() -> None:
    rates = {0.03333: 30.0, 0.033332: 30.0, 0.01667: 60.0, 1 / 29.97: 29.97, 1 / 23.976: 23.976, 0.021: 1 / 0.021}
    for step, rate in rates.items():
        assert frame_rate(1, step) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("frames", "fields", "message"),
    [
        ([source_frame()[:-1]] * 2, {}, "rows of 43 numbers, a humanoid3d clip has 44"),
        ([source_frame()], {}, "expected at least 2 rows"),
        ([source_frame(), [1.0]], {}, "rows of one width"),
        ([source_frame(), source_frame(pos=(0, float("nan"), 0))], {}, "frame 1 is not finite"),
        ([source_frame(0.0), source_frame()], {}, "duration that is not above 0"),
        ([source_frame()] * 2, {"Loop": "forever"}, "'Loop' is 'forever', allowed are wrap, none, clamp"),
    ],
)
def test_bad_clips(tmp_path: Path, frames: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        import_clip(write(tmp_path, frames, **fields))
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path: Path) -> None:
    broken = tmp_path / "a.txt"
    broken.write_text('{"Frames": [')
    with pytest.raises(UserError, match="not valid JSON"):
        import_clip(broken)
    with pytest.raises(UserError, match="no such file"):
        import_clip(tmp_path / "none.txt")
    with pytest.raises(UserError, match=r"cannot import \.fbx; known are \.npz"):
        import_clip(tmp_path / "a.fbx")


def test_all_clips_are_bundled() -> None:
    names = {path.stem.removeprefix("humanoid_") for path in BUNDLED}
    assert names == {
        "backflip", "cartwheel", "crawl", "dance_a", "dance_b", "getup_facedown", "getup_faceup", "jump", "kick",
        "punch", "roll", "run", "spin", "spinkick", "walk",
    }  # fmt: skip
    assert (bundled_data() / "motions" / "NOTICE").is_file()


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_bundled_clips_are_sane(path: Path, bundled_humanoid: CharacterModel) -> None:
    clip = load_clip(path)
    assert clip.name == path.stem
    assert "Zlib" in clip.meta["licence"]
    findings = {finding.check: finding for finding in check_clip(clip, bundled_humanoid).findings}
    serious = {name for name, finding in findings.items() if finding.status == "serious"}
    # The crawl ends with a knee 11 cm below the ground; so it does in the source.
    assert serious == ({"ground"} if path.stem == "humanoid_crawl" else set())
    assert -0.12 < findings["ground"].value < 0.02
