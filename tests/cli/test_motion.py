"""``mimickit motion`` through the real command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mimickit_hydra.cli.main import main
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.motion.clip import LoopMode, MotionClip, load_clip, save_clip

WALK = bundled_data() / "motions" / "humanoid" / "humanoid_walk.npz"


def text_clip(path: Path) -> Path:
    pose = [1.0, 0.0, 0.0, 0.0]
    row = [0.1, 0.0, 0.9, 0.0, *pose * 4, 0.0, *pose * 2, 0.0, *pose, 0.0, *pose * 2, 0.0]
    path.write_text(json.dumps({"Loop": "none", "Frames": [row, row, row]}))
    return path


def test_import_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "stand.npz"
    source = text_clip(tmp_path / "humanoid3d_stand.txt")
    assert main(["motion", "import", str(source), "-o", str(out), "--loop", "wrap", "--licence", "CC0"]) == 0
    assert "3 frames at 10 Hz, 0.20 s, wrap" in capsys.readouterr().out
    clip = load_clip(out)
    assert (clip.name, clip.loop_mode, clip.meta["licence"]) == ("stand", LoopMode.WRAP, "CC0")


def test_import_to_directory(tmp_path: Path) -> None:
    sources = [text_clip(tmp_path / f"humanoid3d_{name}.txt") for name in ("a", "b")]
    assert main(["motion", "import", *map(str, sources), "-o", str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["humanoid_a.npz", "humanoid_b.npz"]


def test_many_files_into_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["motion", "import", "a.txt", "b.txt", "-o", str(tmp_path / "x.npz")]) == 2
    assert "2 clips cannot go into one file" in capsys.readouterr().err


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["motion", "info", "walk", "data/motions/humanoid/humanoid_walk.pkl"]) == 0
    out = capsys.readouterr().out
    assert out.count("humanoid_walk\n") == 2
    assert "39 frames at 30 Hz, 1.27 s, wrap" in out
    assert "Zlib" in out


def test_check_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["motion", "check", str(WALK)]) == 0
    out = capsys.readouterr().out
    for check in ("jumps", "left/right swaps", "loop seam", "ground", "joint limits", "foot skate"):
        assert check in out


def test_check_json_and_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = load_clip(WALK)
    frames = clip.frames.copy()
    frames[20:, 0] += 1.0
    save_clip(tmp_path / "bad.npz", MotionClip(frames, clip.fps, clip.loop_mode, "bad"))
    assert main(["motion", "check", "--json", str(WALK), str(tmp_path / "bad.npz")]) == 1
    good, bad = json.loads(capsys.readouterr().out)
    assert (good["serious"], bad["serious"]) == (False, True)
    assert good["frames"] == 39
    (tmp_path / "set.yaml").write_text("motions: [{file: bad.npz, weight: 1}, {file: bad.npz, weight: 1}]")
    assert main(["motion", "check", "--json", str(tmp_path / "set.yaml")]) == 1
    assert len(json.loads(capsys.readouterr().out)) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wlak", "nearest: .*humanoid_walk"),
        ("none.npz", "no such file"),
        ("dog.npz", "this is a motion of another character"),
        ("nan.npz", "the root is not finite in 4 of 4 frames"),
        ("cut.npz", "truncated or not an archive"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_clip("dog.npz", MotionClip(np.zeros((4, 18), np.float32), 30.0, LoopMode.CLAMP, "dog"))
    save_clip("nan.npz", MotionClip(np.full((4, 34), np.nan, np.float32), 30.0, LoopMode.CLAMP, "nan"))
    Path("cut.npz").write_bytes(WALK.read_bytes()[:500])
    assert main(["motion", "check", name]) == 2
    err = capsys.readouterr().err.strip()
    assert "\n" not in err
    assert re.search(message, err)


def test_view_refuses_other_containers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["motion", "view", "walk", "-o", str(tmp_path / "x.gif")]) == 2
    assert "the video is an .mp4 file" in capsys.readouterr().err


def test_view(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "walk.mp4"
    assert main(["motion", "view", "walk", "-o", str(out), "--seconds", "0.2", "--fps", "10"]) == 0
    assert "3 frames of humanoid_walk" in capsys.readouterr().out
    assert out.stat().st_size > 1000


@pytest.mark.parametrize("options", [["--fps", "inf"], ["--seconds", "inf"], ["--fps", "nan"], ["--fps", "1e9"]])
def test_view_refuses_endless_videos(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["motion", "view", "walk", "-o", str(tmp_path / "x.mp4"), *options]) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("--fps ")
    assert "\n" not in err
    assert not (tmp_path / "x.mp4").exists()


def test_every_bundled_character_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(tmp_path / "stand.npz")
    for name, columns in (("humanoid", 34), ("humanoid_sword_shield", 37), ("smpl", 75)):
        frames = np.zeros((4, columns), np.float32)
        frames[:, 2] = 1.0
        save_clip(clip, MotionClip(frames, 30.0, LoopMode.CLAMP, "stand"))
        assert main(["motion", "check", "--json", "--character", name, clip]) in (0, 1)
        assert json.loads(capsys.readouterr().out)[0]["frames"] == 4
        assert main(["motion", "info", "--character", name, clip]) == 0
        assert f"{columns} = 6 + {columns - 6} joint coordinates" in capsys.readouterr().out


def test_a_character_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["check", str(WALK)], ["info", "walk"]):
        assert main(["motion", *command, "--character", "humanoid_sword_sheild"]) == 2
        err = capsys.readouterr().err.strip()
        assert "--character humanoid_sword_sheild: no such character; nearest: humanoid_sword_shield; allowed: " in err


def test_a_character_to_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MIMICKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["motion", "check", "--character", "g1", str(WALK)]) == 2
    assert capsys.readouterr().err.strip().endswith("; mimickit assets fetch g1")


def test_a_clip_that_conf_names_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["motion", "info", "--character", "humanoid_sword_shield", "combo"]) == 2
    assert "data/motions/reallusion/RL_Avatar_Atk_2xCombo01_Motion.pkl: no such file" in capsys.readouterr().err
    assert main(["motion", "info", "locomotion"]) == 2
    assert "humanoid_locomotion: a dataset (data/datasets/dataset_humanoid_loco" in capsys.readouterr().err
