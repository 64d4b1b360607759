"""Trajectories, the camera, both ways of drawing, the film and every way back when something is missing."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.trajectory import Trajectory, body_poses
from mimickit_hydra.view import render, skeleton, video
from mimickit_hydra.view.scene import CHARACTER_COLOR, FIELD_OF_VIEW, REFERENCE_COLOR, Actor, Camera, follow, still
from mimickit_hydra.view.video import render_video

CHAR_FILE = bundled_data() / "assets" / "humanoid" / "humanoid.xml"
STANDING = 0.882416  # m
SIZE = (320, 180)
PROBE = render.probe


@pytest.fixture(scope="module")
def character() -> CharacterModel:
    return CharacterModel.from_file(CHAR_FILE)


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    PROBE.cache_clear()
    yield
    PROBE.cache_clear()


def standing(frames: int = 5, speed: float = 0.0) -> Trajectory:
    """Arms stretched out, moving along x with ``speed`` m/s at 30 Hz."""
    root = np.zeros((frames, 3))
    root[:, 0], root[:, 2] = np.arange(frames) / 30 * speed, STANDING
    return Trajectory(root, np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1)), np.zeros((frames, 28)))


def actors(character: CharacterModel, frames: int = 2) -> list[Actor]:
    return [
        Actor(*body_poses(character, standing(frames)), CHARACTER_COLOR, "policy"),
        Actor(*body_poses(character, standing(frames).shifted((2.0, 0.0, 0.0))), REFERENCE_COLOR, "reference"),
    ]


# ----------------------------------------------------------------------------------------------------------- trajectory


def test_body_poses_by_value(character: CharacterModel) -> None:
    pos, rot = body_poses(character, standing(2).shifted((1.0, -2.0, 0.0)))
    assert pos.shape == (2, 15, 3)
    assert rot.shape == (2, 15, 4)
    head = character.body_names.index("head")
    np.testing.assert_allclose(pos[1, head], [1.0, -2.0, STANDING + 0.236151 + 0.223894], atol=1e-6)
    np.testing.assert_allclose(rot[0, head], [0, 0, 0, 1], atol=1e-7)


def test_frames_that_are_not_finite_repeat_the_last_good_one(character: CharacterModel) -> None:
    motion = standing(4, speed=30.0)
    motion.dof_pos[0, 3] = math.nan
    motion.root_pos[2] = math.inf
    pos, _ = body_poses(character, motion)
    assert pos[:, 0, 0].tolist() == pytest.approx([1.0, 1.0, 1.0, 3.0])
    motion.root_pos[:] = math.nan
    with pytest.raises(UserError, match="no frame with finite numbers"):
        body_poses(character, motion)


def test_trajectories_that_do_not_fit(character: CharacterModel) -> None:
    with pytest.raises(UserError, match=r"\(2, 3\), \(3, 4\)"):
        Trajectory(np.zeros((2, 3)), np.zeros((3, 4)), np.zeros((2, 28)))
    with pytest.raises(UserError, match="has 5 DoFs, character 'humanoid' has 28"):
        body_poses(character, Trajectory(np.zeros((2, 3)), np.ones((2, 4)), np.zeros((2, 5))))


# --------------------------------------------------------------------------------------------------------------- camera


def test_camera_follows_the_middle_at_constant_height(character: CharacterModel) -> None:
    motion = standing(60, speed=1.0)
    pair = [
        Actor(*body_poses(character, motion), CHARACTER_COLOR, "a"),
        Actor(*body_poses(character, motion.shifted((2.0, 0.0, 0.0))), REFERENCE_COLOR, "b"),
    ]
    camera = follow(pair, 30)
    assert camera.target.shape == (60, 3)
    np.testing.assert_allclose(camera.target[30], [1.0 + 30 / 30, 0.0, 0.9], atol=1e-6)
    assert np.ptp(camera.target[:, 2]) == 0.0
    assert np.ptp(camera.distance) < 1e-9
    far = follow([pair[0], Actor(pair[1].body_pos + np.array([6.0, 0, 0]), pair[1].body_rot, (0, 0, 0), "b")], 30)
    assert far.distance[30] > 2 * camera.distance[30]


def test_a_still_camera_sees_where_the_actors_go(character: CharacterModel) -> None:
    walker = Actor(*body_poses(character, standing(60, speed=3.0)), CHARACTER_COLOR, "a")
    camera, moving = still([walker], 30), follow([walker], 30)
    assert np.ptp(camera.target, axis=0).tolist() == np.ptp(camera.position, axis=0).tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(camera.target[0], moving.target[0])
    gone = np.linalg.norm(walker.body_pos[-1, 0, :2] - camera.target[0, :2])
    assert gone > 5.0
    np.testing.assert_allclose(camera.distance[0], moving.distance[0] * gone / 3.0)
    here = Actor(*body_poses(character, standing(60)), CHARACTER_COLOR, "a")
    np.testing.assert_allclose(still([here], 30).position, follow([here], 30).position)


def test_follow_a_single_frame(character: CharacterModel) -> None:
    assert follow(actors(character, 1), 30).position.shape == (1, 3)


def test_projection_by_value() -> None:
    view = skeleton._View(np.array([0.0, -5.0, 1.0]), np.array([0.0, 0.0, 1.0]), (200, 100))
    focal = 50 / math.tan(math.radians(FIELD_OF_VIEW) / 2)
    pixels = view.pixels(view.local(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 2.0], [1.0, 5.0, 1.0]])))
    expected = [[100, 50], [100 + focal / 5, 50], [100, 50 - focal / 5], [100 + focal / 10, 50]]
    np.testing.assert_allclose(pixels, expected, atol=1e-9)
    assert view.horizon == pytest.approx(50)


# -------------------------------------------------------------------------------------------------------------- drawing


def blue(picture: np.ndarray) -> np.ndarray:
    r, g, b = (picture[..., i].astype(int) for i in range(3))
    return (b - r > 60) & (b - g > 25)


def green(picture: np.ndarray) -> np.ndarray:
    r, g, b = (picture[..., i].astype(int) for i in range(3))
    return (g - b > 60) & (g - r > 20)


def check_picture(picture: np.ndarray, character: CharacterModel, camera: Camera, pair: list[Actor]) -> None:
    """Both characters are where the camera's geometry says they are."""
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    assert picture.dtype == np.uint8
    view = skeleton._View(camera.position[0], camera.target[0], SIZE)
    for actor, seen in zip(pair, (blue(picture), green(picture)), strict=True):
        assert seen.sum() > 100
        for name in ("head", "right_hand", "left_shin"):
            middle = actor.body_pos[0, character.body_names.index(name)] + np.array(
                [0, 0, 0.175 if name == "head" else 0]
            )
            x, y = view.pixels(view.local(middle)).round().astype(int)
            assert seen[y - 2 : y + 3, x - 2 : x + 3].any(), name
        rows = np.nonzero(seen)[0]
        sole = view.pixels(view.local(np.array([*actor.body_pos[0, 0, :2], 0.0])))[1]
        assert abs(rows.max() - sole) < 10  # feet stand on the ground
    assert not (blue(picture) | green(picture))[:10].any()  # sky


def test_skeleton_picture(character: CharacterModel) -> None:
    pair = actors(character)
    camera = follow(pair, 30)
    pictures = list(skeleton.frames(pair, camera, character, SIZE))
    assert len(pictures) == 2
    check_picture(pictures[0], character, camera, pair)


def test_skeleton_without_geoms_and_with_bodies_behind_the_camera(character: CharacterModel) -> None:
    bare = CharacterModel(
        "bare", character.body_names, character.parents, character.local_pos.numpy(), character.local_rot.numpy(),
        character.joint_types, character.joint_axes.numpy(),
    )  # fmt: skip
    pair = actors(character, 1)
    position = pair[1].body_pos[:, 0] + np.array([0.1, 0.1, 0.0])
    pictures = list(skeleton.frames(pair, Camera(pair[0].body_pos[:, 0], position), bare, SIZE))
    assert np.isfinite(pictures[0]).all()
    assert blue(pictures[0]).any()


def need(backend: str) -> str:
    if render.probe(backend) is None:
        pytest.skip(f"{backend} does not work here")
    return backend


@pytest.mark.parametrize("backend", ["egl", "osmesa"])
@pytest.mark.parametrize("quality", [{}, {"shadow_size": 512, "samples": 4}, {"shadow_size": 0, "samples": 0}])
def test_mujoco_picture(character: CharacterModel, backend: str, quality: dict[str, int]) -> None:
    need(backend)
    pair = actors(character)
    camera = follow(pair, 30)
    pictures = list(render.frames(pair, camera, CHAR_FILE, character.body_names, SIZE, backend, **quality))
    assert len(pictures) == 2
    check_picture(pictures[0], character, camera, pair)


def test_smoothing_leaves_flat_parts_alone() -> None:
    picture = np.full((8, 8, 3), 100, np.uint8)
    assert (render._smooth_edges(picture) == picture).all()
    picture[:, 4:] = 200
    smooth = render._smooth_edges(picture)
    assert smooth[4, :, 0].tolist() == [100, 100, 100, 125, 175, 200, 200, 200]


# ----------------------------------------------------------------------------------------------------------------- film


def read(path: Path) -> tuple[dict, list[np.ndarray]]:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    reader = ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, [np.frombuffer(data, np.uint8).reshape(height, width, 3) for data in reader]


def test_skeleton_film(tmp_path: Path) -> None:
    report = render_video(
        tmp_path / "sub" / "video.mp4", CHAR_FILE, standing(5), standing(7), 30, size=(319, 179), renderer="skeleton"
    )
    assert (report.renderer, report.num_frames, report.warnings) == ("skeleton", 5, [])
    meta, pictures = read(report.path)
    assert meta["size"] == (320, 180)
    assert meta["fps"] == 30
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"].startswith("yuv420p")
    assert len(pictures) == 5
    assert blue(pictures[2]).any()
    assert green(pictures[2]).any()
    assert [path.name for path in report.path.parent.iterdir()] == ["video.mp4"]


@pytest.mark.parametrize("backend", ["egl", "osmesa"])
def test_mujoco_film(tmp_path: Path, backend: str) -> None:
    report = render_video(
        tmp_path / "video.mp4", CHAR_FILE, standing(5), None, 30, size=SIZE, renderer=need(backend),
        captions=["one", "two"],
    )  # fmt: skip
    assert (report.renderer, report.num_frames, report.warnings) == (backend, 5, [])
    _, pictures = read(report.path)
    assert len(pictures) == 5
    assert blue(pictures[0]).any()
    assert not green(pictures[0]).any()


def test_broken_egl_ends_in_a_skeleton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose EGL finds no driver at all."""
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_DIRS", str(tmp_path))
    monkeypatch.delenv("__EGL_VENDOR_LIBRARY_FILENAMES", raising=False)
    if render.probe("egl") is not None:
        pytest.skip("this EGL does not ask for vendors")
    report = render_video(tmp_path / "video.mp4", CHAR_FILE, standing(2), None, 30, size=SIZE)
    assert report.renderer == "skeleton"
    assert "tried egl" in report.warnings[0]
    assert len(read(report.path)[1]) == 2


def test_back_ends_and_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert render.backends() == ("egl", "osmesa")
    monkeypatch.setattr(render, "probe", lambda backend: "llvmpipe (LLVM 15)" if backend == "osmesa" else None)
    assert render.choose_backend() == "osmesa"
    assert render.is_software("osmesa")
    monkeypatch.setattr(render, "probe", lambda backend: "NVIDIA H100/PCIe/SSE2")
    assert render.choose_backend() == "egl"
    assert not render.is_software("egl")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert render.backends() == ("osmesa", "egl")  # for another tool, perhaps
    monkeypatch.setenv("MUJOCO_GL", "glx")
    assert render.backends() == ("egl", "osmesa")
    monkeypatch.setenv("MUJOCO_GL", "off")
    assert render.choose_backend() is None


def test_the_probe_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def command(argument: str) -> list[str]:
        calls.append(argument)
        return [sys.executable, "-c", "print('a GPU')"]

    monkeypatch.setattr(render, "_command", command)
    assert render.probe("egl") == "a GPU"
    assert render.probe("egl") == "a GPU"
    assert calls == ["--probe"]


@pytest.mark.parametrize("size", [0, SIZE[0] * SIZE[1] * 3])
def test_a_worker_that_dies_ends_in_a_skeleton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    script = f"import sys; sys.stdout.buffer.write(bytes({size})); sys.exit('driver fell over')"
    monkeypatch.setattr(render, "probe", lambda backend: "llvmpipe")
    monkeypatch.setattr(render, "_command", lambda argument: [sys.executable, "-c", script])
    report = render_video(tmp_path / "video.mp4", CHAR_FILE, standing(3), None, 30, size=SIZE, renderer="egl")
    assert report.renderer == "skeleton"
    assert report.warnings == ["MuJoCo's egl renderer stopped: driver fell over; drawing a skeleton instead"]
    assert len(read(report.path)[1]) == 3


def test_gif_where_ffmpeg_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setattr(video, "_ffmpeg", lambda: None)
    report = render_video(tmp_path / "video.mp4", CHAR_FILE, standing(6, 9.0), None, 30, size=SIZE, renderer="skeleton")
    assert report.path.name == "video.gif"
    assert "imageio-ffmpeg is missing" in report.warnings[0]
    with Image.open(report.path) as image:
        assert image.n_frames == 3  # every second picture
        assert image.info["duration"] in (60, 70)


def test_a_film_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the video") as error:
        render_video(tmp_path / "file" / "v.mp4", CHAR_FILE, standing(2), None, 30, size=SIZE, renderer="skeleton")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_whole_film_of_ten_seconds(tmp_path: Path) -> None:
    report = render_video(tmp_path / "video.mp4", CHAR_FILE, standing(300, 1.0), standing(300, 1.0), 30)
    assert report.num_frames == 300
    assert report.seconds < 60
