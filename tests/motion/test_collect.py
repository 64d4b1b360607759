"""``mimickit motion set``: what is in a set, what is left out and why, and that the set trains."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from mimickit_hydra.checks.check import validate
from mimickit_hydra.cli.main import main
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.foreign import sha256_of
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode, MotionClip, load_clip, save_clip
from mimickit_hydra.motion.dataset import clips_of, run_clips
from mimickit_hydra.motion.edit import mirror, resample
from mimickit_hydra.motion.library import MotionLibrary

MOTIONS = bundled_data() / "motions/humanoid"
CHARACTER = CharacterModel.from_file(bundled_data() / "assets/humanoid/humanoid.xml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good clips, and one of each kind that does not belong into a set."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("walk", "run", "spin"):
        shutil.copy(MOTIONS / f"humanoid_{name}.npz", folder / f"{name}.npz")
    shutil.copy(folder / "walk.npz", folder / "walk_again.npz")
    walk = load_clip(folder / "walk.npz")
    save_clip(folder / "walk_fast.npz", resample(walk, CHARACTER, 60.0))
    moved = MotionClip(walk.frames.copy(), walk.fps, LoopMode.CLAMP, "moved")
    moved.frames[:, :2] += [3.0, -4.0]
    save_clip(folder / "walk_moved.npz", moved)
    save_clip(folder / "walk_mirrored.npz", mirror(walk, CHARACTER))  # another motion
    torn = MotionClip(load_clip(MOTIONS / "humanoid_jump.npz").frames.copy(), 60.0, LoopMode.CLAMP, "torn")
    torn.frames[50:, :3] += 2.0
    save_clip(folder / "torn.npz", torn)
    save_clip(folder / "robot.npz", MotionClip(np.zeros((9, 35), dtype=np.float32), 30.0, LoopMode.CLAMP, "robot"))
    (folder / "broken.npz").write_bytes(b"nothing")
    return folder


def make(folder: Path, *words: str) -> dict[str, dict[str, object]]:
    out = folder.parent / "set.yaml"
    assert main(["motion", "set", str(folder), "-o", str(out), *words]) == 0
    return {Path(row["file"]).stem: row for row in yaml.safe_load(out.read_text())["motions"]}


def test_a_set_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = make(folder, "--licence", "CC0")
    said = capsys.readouterr().out
    assert list(rows) == ["run", "spin", "walk", "walk_mirrored"]
    text = (folder.parent / "set.yaml").read_text()
    for name, reason in (
        ("walk_again", "the same file as"), ("walk_fast", "nearly the same motion as"),
        ("walk_moved", "nearly the same motion as"), ("torn", "jumps: "), ("robot", "its rows have 35 numbers"),
        ("broken", "not a"),
    ):  # fmt: skip
        line = next(line for line in text.splitlines() if line.startswith("# ") and f"{name}.npz: " in line)
        assert reason in line
        assert f"left out: {folder / name}.npz: " in said
    assert "4 of 10 clips" in said
    walk = rows["walk"]
    assert walk["file"] == "clips/walk.npz"
    assert walk["sha256"] == sha256_of(folder / "walk.npz")
    assert walk["weight"] == pytest.approx(38 / 30, abs=1e-3)
    assert walk["licence"] == "Zlib (Bullet Physics); see NOTICE"
    assert walk["facts"]["frames"] == 39  # type: ignore[index]
    run = to_run(compose([f"env.motion_file={folder.parent}/set.yaml"]))
    validate(run, machine=False)
    library = MotionLibrary.of_set("set", run_clips(run), CHARACTER)
    assert library.names == list(rows)
    expected = np.array([row["weight"] for row in rows.values()], dtype=float)
    np.testing.assert_allclose(library.weights.numpy(), expected / expected.sum(), rtol=1e-5)


def test_what_is_held_out_and_what_counts_alike(folder: Path) -> None:
    rows = make(folder, "--weights", "equal", "--held-out", "0.5", "--keep-near", "--keep-serious")
    assert {row["weight"] for row in rows.values()} == {1.0}
    assert {"torn", "walk_fast", "walk_moved"} < set(rows)
    assert "walk_again" not in rows
    clips = {clip.file.stem: clip.split for clip in clips_of(str(folder.parent / "set.yaml"))}
    assert clips == {name: row["split"] for name, row in rows.items()}
    assert set(clips.values()) == {"train", "held_out"}
    again = make(folder, "--held-out", "0.5")  # of fewer clips: the same ones are held out
    assert all(row["split"] == clips[name] for name, row in again.items())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-o", "set.json"], "--out set.json: must end in .yaml"),
        (["-o", "set.yaml", "--held-out", "1"], "--held-out 1: must be from 0 to less than 1"),
        (["-o", "{tmp}/set.yaml", "--character", "smpl"], "none of 10 clips can be used; the first is"),
    ],
)
def test_what_makes_no_set_is_one_line(
    words: list[str], line: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["motion", "set", str(folder), *[word.format(tmp=tmp_path) for word in words]]) == 2
    error = capsys.readouterr().err.strip()
    assert line in error
    assert "\n" not in error
    assert not (tmp_path / "set.yaml").exists()


def test_a_set_of_lists_folders_and_clips(folder: Path) -> None:
    make(folder)
    out = folder.parent / "deeper/second.yaml"
    words = [str(folder.parent / "set.yaml"), str(MOTIONS / "humanoid_kick.npz"), f"{folder}/r*.npz"]
    assert main(["motion", "set", *words, "-o", str(out)]) == 0
    found = [clip.file.stem for clip in clips_of(str(out))]
    assert found == ["run", "spin", "walk", "walk_mirrored", "humanoid_kick"]
