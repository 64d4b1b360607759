"""Exported clips are read back as they were, and mjlab's bodies move as MuJoCo says."""

from __future__ import annotations

import pickle
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mimickit_hydra.cli.main import main
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode, MotionClip, load_clip, save_clip
from mimickit_hydra.motion.export import write_csv, write_mimickit, write_mjlab
from mimickit_hydra.motion.importers import import_clip, import_clips
from mimickit_hydra.motion.importers.recording import Wishes

G1 = bundled_data() / "assets" / "g1_mjlab" / "g1_mjlab.xml"


@pytest.fixture(scope="module")
def g1() -> CharacterModel:
    return CharacterModel.from_file(G1)


@pytest.fixture(scope="module")
def clip() -> MotionClip:
    t = np.arange(50)[:, None] / 50.0
    joints = 0.5 * np.sin(t * np.arange(1, 30) * 0.3 + np.arange(29))
    root = np.hstack([0.4 * t, 0.0 * t, 0.8 + 0.02 * np.sin(6 * t), 0.1 * np.sin(3 * t), 0.1 * np.cos(3 * t), 1.2 * t])
    return MotionClip(np.hstack([root, joints]).astype(np.float32), 50.0, LoopMode.CLAMP, "walk")


def test_round_trips(tmp_path: Path, g1: CharacterModel, clip: MotionClip) -> None:
    assert write_csv(tmp_path / "a.csv", clip, g1) == "say when it is imported: its rate, --fps 50"
    assert write_mjlab(tmp_path / "a.npz", clip, g1) == write_mimickit(tmp_path / "a.pkl", clip, g1) == ""
    for name in ("a.csv", "a.npz", "a.pkl"):
        ((again, _),) = import_clips(tmp_path / name, "", g1, Wishes(50.0 if name == "a.csv" else None))
        assert (again.fps, again.loop_mode) == (50.0, LoopMode.CLAMP)
        np.testing.assert_array_equal(again.frames[:, 6:], clip.frames[:, 6:])
        np.testing.assert_array_equal(again.frames[:, :3], clip.frames[:, :3])
        np.testing.assert_allclose(again.frames[:, 3:6], clip.frames[:, 3:6], atol=0 if name == "a.pkl" else 1e-6)


def test_mjlab_without_names_is_told_by_its_bodies(tmp_path: Path, g1: CharacterModel, clip: MotionClip) -> None:
    write_mjlab(tmp_path / "a.npz", clip, g1)
    with np.load(tmp_path / "a.npz") as archive:
        fields = {key: archive[key] for key in archive.files if not key.endswith("_names")}
    np.savez(tmp_path / "a.npz", **fields)
    np.testing.assert_array_equal(import_clip(tmp_path / "a.npz", character=g1).frames[:, 6:], clip.frames[:, 6:])


def test_mjlab_holds_the_velocities_of_the_bodies(tmp_path: Path, g1: CharacterModel, clip: MotionClip) -> None:
    write_mjlab(tmp_path / "a.npz", clip, g1)
    model = mujoco.MjModel.from_xml_path(str(G1))
    data, velocity = mujoco.MjData(model), np.zeros(6)
    with np.load(tmp_path / "a.npz") as z:
        for t in (0, 7, 49):
            root_quat = z["body_quat_w"][t, 0].astype(float)
            data.qpos[:] = [*z["body_pos_w"][t, 0], *root_quat, *z["joint_pos"][t]]
            local, back = np.zeros(3), np.zeros(4)
            mujoco.mju_negQuat(back, root_quat)
            mujoco.mju_rotVecQuat(local, z["body_ang_vel_w"][t, 0].astype(float), back)
            data.qvel[:] = [*z["body_lin_vel_w"][t, 0], *local, *z["joint_vel"][t]]
            mujoco.mj_forward(model, data)
            np.testing.assert_allclose(z["body_pos_w"][t], data.xpos[1:], atol=1e-5)
            for body in range(1, model.nbody):
                mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
                np.testing.assert_allclose(z["body_ang_vel_w"][t, body - 1], velocity[:3], atol=1e-4)
                np.testing.assert_allclose(z["body_lin_vel_w"][t, body - 1], velocity[3:], atol=1e-4)
        moved = (clip.frames[2:, 6:] - clip.frames[:-2, 6:]) * 25.0
        np.testing.assert_allclose(z["joint_vel"][1:-1], moved, atol=1e-4)


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, humanoid: CharacterModel) -> None:
    walk = load_clip(bundled_data() / "motions" / "humanoid" / "humanoid_walk.npz")
    for write in (write_csv, write_mjlab):
        with pytest.raises(UserError, match="has joints of three DoFs; --to mimickit_pkl"):
            write(tmp_path / "a", walk, humanoid)


def test_the_commands(
    tmp_path: Path, clip: MotionClip, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_clip(tmp_path / "walk.npz", clip)
    robot = ["--character", str(G1)]
    assert main(["motion", "export", "walk.npz", "--to", "csv", *robot]) == 0
    assert "--fps 50" in capsys.readouterr().out
    assert main(["motion", "import", "walk.csv", "--fps", "50", "-o", "again.npz", *robot]) == 0
    told = capsys.readouterr().out
    assert "quaternions: xyzw, by a mean tilt" in told
    assert "frame rate: 50 Hz, as you say" in told
    np.testing.assert_allclose(load_clip("again.npz").frames, clip.frames, atol=1e-6)
    assert main(["motion", "export", "walk", "--to", "mimickit_pkl", "-o", "w.pkl"]) == 0  # the bundled humanoid's
    assert pickle.loads((tmp_path / "w.pkl").read_bytes())["loop_mode"] == 1
    assert main(["motion", "import", "walk.csv", "-o", "no.npz"]) == 2
    assert "of which robot?" in capsys.readouterr().err
    assert main(["motion", "export", "walk.npz", "--to", "cvs", *robot]) == 2
    assert "--to: found 'cvs', must be one of csv" in capsys.readouterr().err
    assert main(["motion", "export", "walk.npz", "--to", "mjlab_npz", *robot]) == 2
    assert "is the clip itself" in capsys.readouterr().err
