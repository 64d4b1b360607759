"""Lists of clips: training, checking, recording and the bridge find an entry in the same place."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mimickit_hydra.checks.check import validate
from mimickit_hydra.checks.reading import named_files
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import sha256_of
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode, MotionClip, save_clip
from mimickit_hydra.motion.dataset import clips_of, read_dataset, run_clips, split_of
from mimickit_hydra.motion.importers import import_clip
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.runs.files import files_of

MOTIONS = bundled_data() / "motions/humanoid"
CHARACTER = CharacterModel.from_file(bundled_data() / "assets/humanoid/humanoid.xml")


def put(path: Path, clip: str = "walk") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(MOTIONS / f"humanoid_{clip}.npz", path)
    return path


@pytest.mark.parametrize(
    ("root", "file", "place"),
    [
        (None, "clip.npz", "lists/clip.npz"),
        (None, "clip.pkl", "lists/clip.npz"),  # MimicKit's name of it
        (None, "sub/clip.npz", "lists/sub/clip.npz"),
        (None, "../clip.npz", "clip.npz"),
        (".", "clip.npz", "lists/clip.npz"),
        ("sub", "clip.npz", "lists/sub/clip.npz"),
        ("{tmp}/far", "clip.npz", "far/clip.npz"),
        ("data/far", "clip.npz", "root/far/clip.npz"),  # as configs name files
        ("/gone/from/here", "clip.npz", "lists/clip.npz"),  # the author's machine
        (None, "{tmp}/far/clip.npz", "far/clip.npz"),
        (None, "data/far/clip.npz", "root/far/clip.npz"),
        (None, "clip.npz", "cwd/clip.npz"),
    ],
)
def test_where_the_clips_of_a_list_are(
    root: str | None, file: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("cwd", "root", "lists"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    wanted = put(tmp_path / place)
    text = f"root_path: {root.format(tmp=tmp_path)}\n" if root else ""
    file = file.format(tmp=tmp_path)
    (tmp_path / "lists/set.yaml").write_text(f"{text}motions:\n- {{file: {file}, weight: 2, description: slow}}\n")
    run = to_run(compose([f"env.motion_file={tmp_path}/lists/set.yaml", f"data_root=[{tmp_path}/root]"]))
    validate(run, machine=False)
    assert [f.found for f in files_of(run) if f.key == "set.yaml"] == [wanted]
    library = MotionLibrary.from_file(run.env.motion_file, CHARACTER, data_root=run.data_root)
    assert library.num_motions == 1


def test_root_path_comes_first_then_the_list_s_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/set.yaml").write_text("root_path: sub\nmotions: [{file: clip.npz, weight: 1}]\n")
    dataset = read_dataset(tmp_path / "lists/set.yaml")
    for place in ("clip.npz", "lists/clip.npz", "lists/sub/clip.npz"):
        wanted = put(tmp_path / place)
        assert dataset.find("clip.npz") == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("root: .\nmotions: [{file: a.npz, weight: 1}]", "unknown key 'root'; nearest: root_path"),
        ("root_path: 3\nmotions: [{file: a.npz, weight: 1}]", "root_path is 3, expected a folder"),
        ("motions: [{file: a.npz, weight: 0}]", "at least one must be above 0"),
        ("motions: [{file: a.npz, weight: .nan}]", "expected a number >= 0"),
    ],
)
def test_a_bad_list_is_refused_before_training(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "set.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"^env.motion_file: .*{message}"):
        validate(to_run(compose([f"env.motion_file={tmp_path}/set.yaml"])), machine=False)


def test_a_hint_names_only_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIMICKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "set.yaml").write_text("motions: [{file: /somewhere/else/run.pkl, weight: 1}]")
    with pytest.raises(UserError, match=r"1 of its 1 clips are missing, the first is /somewhere") as error:
        validate(to_run(compose([f"env.motion_file={tmp_path}/set.yaml"])), machine=False)
    assert "absolute: write it relative to the list, or to a root_path" in str(error.value)
    assert "MimicKit" not in str(error.value)
    with pytest.raises(UserError) as error:
        validate(to_run(compose(["env.motion_file=/somewhere/run.pkl"])), machine=False)
    assert str(error.value) == "env.motion_file: /somewhere/run.pkl: no such file"
    hints = {
        name: next(file.hint for file in named_files(to_run(compose(["character=go2", f"motion={name}"])))
                   if file.key == "env.motion_file")
        for name in ("go2_pace", "go2_run")
    }  # fmt: skip
    assert hints["go2_pace"] == "mimickit assets fetch go2"
    assert "MIMICKIT_DATA" in hints["go2_run"]  # that clip does not come with the robot


# ------------------------------------------------------------------------------------ folders, patterns, splits, faults


def put_set(tmp_path: Path) -> Path:
    """A folder with five clips, two of which lie deeper, and what else lies in such folders."""
    folder = tmp_path / "clips"
    for place, clip in (("a.npz", "walk"), ("b.npz", "run"), ("sub/c.npz", "kick"), ("sub/d.npz", "punch")):
        put(folder / place, clip)
    put(folder / ".hidden/x.npz")
    (folder / "README.txt").write_text("notes\n")
    (folder / "list.yaml").write_text("motions: []\n")
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clips", ["a", "b", "c", "d"]),
        ("clips/*.npz", ["a", "b"]),
        ("clips/**/*.npz", ["a", "b", "c", "d"]),
        ("clips/sub", ["c", "d"]),
        ("data/clips", ["a", "b", "c", "d"]),  # as configs name files
        ("data/clips/[ab].npz", ["a", "b"]),
    ],
)
def test_a_folder_or_a_pattern_is_a_set(
    name: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_set(tmp_path)
    monkeypatch.setenv("MIMICKIT_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run = to_run(compose([f"env.motion_file='{name}'"]))
    validate(run, machine=False)
    assert MotionLibrary.from_file(run.env.motion_file, CHARACTER).names == expected
    recorded = [file for file in files_of(run) if file.owner == "env.motion_file"]
    assert len(recorded) == len(expected)
    assert all(file.found is not None for file in recorded)


def test_held_out_clips_are_left_out_of_training_and_played_in_tests(tmp_path: Path) -> None:
    put_set(tmp_path)
    (tmp_path / "set.yaml").write_text(
        "motions:\n- {file: clips/a.npz, weight: 1}\n- {file: clips/b.npz, weight: 1, split: held_out}\n"
        "- {file: clips/sub/c.npz, weight: 3, split: train, licence: free, facts: {seconds: 1.5}}\n"
    )

    def chosen(*words: str) -> list[str]:
        run = to_run(compose([f"env.motion_file={tmp_path}/set.yaml", *words]))
        validate(run, machine=False)
        return [clip.file.stem for clip in run_clips(run)]

    assert chosen() == ["a", "c"]
    assert chosen("mode=test") == ["a", "b", "c"]
    assert chosen("env.motion_split=held_out") == ["b"]
    assert chosen("env.motion_split=all") == ["a", "b", "c"]


def test_the_split_by_hash_is_that_of_the_content_alone(tmp_path: Path) -> None:
    folder = put_set(tmp_path)
    before = {clip.file.name: clip.split for clip in clips_of(str(folder), held_out=0.5)}
    assert set(before.values()) == {"train", "held_out"}
    shutil.copytree(folder, tmp_path / "other")
    put(tmp_path / "other/new.npz", "spin")
    after = {clip.file.name: clip.split for clip in clips_of(str(tmp_path / "other"), held_out=0.5)}
    assert before.items() <= after.items()
    assert {clip.split for clip in clips_of(str(folder), held_out=0.0)} == {"train"}
    shares = [split_of(f"{number:064x}"[::-1], 0.2) for number in range(4096)]
    assert shares.count("held_out") == pytest.approx(0.2 * 4096, rel=0.05)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["env.motion_file={tmp}/set.yaml", "env.motion_split=held_out"],
            "env.motion_split: found held_out, but all 1",
        ),
        (["env.motion_file={tmp}/clips", "env.held_out=1"], "env.motion_split: found train, but all 4 clips of"),
        (["env.motion_file={tmp}/empty"], "no clip in this folder; clips end in .npz"),
        (["env.motion_file='{tmp}/clips/*.csv'"], "no clip matches this pattern"),
        (["env.motion_file={tmp}/gone"], "must be a file ending in"),
        (["env.motion_file={tmp}/bad.yaml"], "split is 'test', expected train or held_out"),
        (["env.motion_file={tmp}/sum.yaml"], "sha256 is 'abc', expected 64 hexadecimal digits"),
    ],
)
def test_a_set_without_clips_is_refused_before_training(words: list[str], message: str, tmp_path: Path) -> None:
    put_set(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "set.yaml").write_text("motions: [{file: clips/a.npz, weight: 1}]")
    (tmp_path / "bad.yaml").write_text("motions: [{file: clips/a.npz, weight: 1, split: test}]")
    (tmp_path / "sum.yaml").write_text("motions: [{file: clips/a.npz, weight: 1, sha256: abc}]")
    with pytest.raises(UserError, match=r"^env.motion[^\n]*$") as error:
        validate(to_run(compose([word.format(tmp=tmp_path) for word in words])), machine=False)
    assert message in str(error.value)


def test_what_is_broken_is_named_and_what_is_whole_is_listed(tmp_path: Path) -> None:
    for number in range(40):
        put(tmp_path / f"clips/clip{number:02d}.npz", "walk")
    (tmp_path / "clips/clip07.npz").write_bytes(b"PK\x03\x04 no archive")
    save_clip(
        tmp_path / "clips/clip21.npz",
        MotionClip(np.zeros((5, 35), dtype=np.float32), 30.0, LoopMode.CLAMP, "of another robot"),
    )
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        MotionLibrary.from_file(tmp_path / "clips", CHARACTER)
    text = str(error.value)
    assert "2 of its 40 clips cannot be used: " in text
    assert "clip07.npz: " in text
    assert "clip21.npz: its rows have 35 numbers and character" in text
    assert "the other 38 can: clip00, clip01, " in text


def test_a_file_that_has_changed_since_the_set_was_made_is_refused(tmp_path: Path) -> None:
    clip = put(tmp_path / "a.npz")
    (tmp_path / "set.yaml").write_text(f"motions: [{{file: a.npz, weight: 1, sha256: {sha256_of(clip)}}}]")
    assert MotionLibrary.from_file(tmp_path / "set.yaml", CHARACTER).num_motions == 1
    put(tmp_path / "a.npz", "run")
    with pytest.raises(UserError, match=r"a.npz: is not the file of which the set states the sha256"):
        MotionLibrary.from_file(tmp_path / "set.yaml", CHARACTER)


def test_rates_may_differ_and_pieces_of_the_table_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [MOTIONS / f"humanoid_{name}.npz" for name in ("walk", "spin", "roll", "backflip")]
    clips = [import_clip(file) for file in files]
    whole = MotionLibrary(clips, [1.0] * 4, CHARACTER)
    assert whole.fps.tolist() == [30.0, 24.0, 60.0, 16.0]
    monkeypatch.setattr("mimickit_hydra.motion.library.FRAMES_AT_ONCE", 37)
    assert torch.equal(MotionLibrary(clips, [1.0] * 4, CHARACTER)._table, whole._table)
