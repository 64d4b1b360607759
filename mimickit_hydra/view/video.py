"""Films a motion without a display: the character, and the reference beside it."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.trajectory import Trajectory, body_poses
from mimickit_hydra.view import render, skeleton
from mimickit_hydra.view.scene import CHARACTER_COLOR, REFERENCE_COLOR, Actor, follow, still

SIZE = (854, 480)
GIF_FPS = 15  # a GIF has no compression between frames to speak of
GIF_WIDTH = 480


@dataclass(frozen=True)
class VideoReport:
    """The film that was written, by which renderer, and how long it took."""

    path: Path  # the film; its suffix is .gif where ffmpeg is missing
    renderer: str  # "egl", "osmesa" ... or "skeleton"
    num_frames: int
    seconds: float  # spent
    warnings: list[str] = field(default_factory=list)  # one line each


def render_video(
    out: Path | str,
    char_file: Path | str,
    character: Trajectory,
    reference: Trajectory | None,
    fps: float,
    offset: tuple[float, float, float] = (2.0, 0.0, 0.0),
    size: tuple[int, int] = SIZE,
    *,
    captions: Sequence[str] | None = None,
    labels: tuple[str, str] = ("policy", "reference"),
    camera_mode: str = "track",
    renderer: str = "auto",
) -> VideoReport:
    """Film ``character`` with ``reference`` shifted by ``offset`` (m) beside it.

    ``camera_mode`` is ``track`` or ``still``. ``captions`` has a line for each frame (the time, without it).
    ``renderer``: ``auto`` draws with MuJoCo where EGL or OSMesa works and as a skeleton elsewhere; ``skeleton`` or the
    name of a back end asks for one. Raises a UserError with one line when the trajectories do not fit the character or
    the film cannot be written.
    """
    began = time.monotonic()
    model = CharacterModel.from_file(char_file)
    count = min(len(character), len(reference)) if reference is not None else len(character)
    actors = [_actor(model, character, count, CHARACTER_COLOR, labels[0])]
    if reference is not None:
        actors.append(_actor(model, reference.shifted(offset), count, REFERENCE_COLOR, labels[1]))
    camera = (still if camera_mode == "still" else follow)(actors, fps)
    size = (size[0] + size[0] % 2, size[1] + size[1] % 2)  # H.264 in yuv420p has no odd sizes
    annotate = _Annotator(actors, captions, fps, size)
    warnings: list[str] = []

    def write(pictures: Iterable[np.ndarray]) -> Path:
        return write_video(Path(out), (annotate(i, p) for i, p in enumerate(pictures)), fps, size, warnings.append)

    backend = render.choose_backend() if renderer == "auto" else renderer
    if backend not in (None, "skeleton"):
        try:
            path = write(render.frames(actors, camera, Path(char_file), model.body_names, size, backend))
            return VideoReport(path, backend, count, time.monotonic() - began, warnings)
        except render.RenderError as error:
            warnings.append(f"{error}; drawing a skeleton instead")
    elif renderer == "auto":
        tried = ", ".join(render.backends()) or "none allowed by MUJOCO_GL"
        warnings.append(f"no OpenGL for MuJoCo's renderer here (tried {tried}); drawing a skeleton instead")
    path = write(skeleton.frames(actors, camera, model, size))
    return VideoReport(path, "skeleton", count, time.monotonic() - began, warnings)


def write_video(
    out: Path, pictures: Iterable[np.ndarray], fps: float, size: tuple[int, int], warn: Callable[[str], object]
) -> Path:
    """Write pictures ``[height, width, 3]`` uint8 as H.264 (yuv420p) mp4, or as GIF where ffmpeg is missing.

    The file appears whole or not at all. Returns its path.
    """
    pictures = iter(pictures)
    pictures = itertools.chain([next(pictures)], pictures)  # no writer is opened when nothing can be drawn
    ffmpeg = _ffmpeg()
    if ffmpeg is None and out.suffix != ".gif":
        warn("imageio-ffmpeg is missing (pip install imageio-ffmpeg); writing a GIF instead of mp4")
    path = out if ffmpeg is not None and out.suffix != ".gif" else out.with_suffix(".gif")
    tmp = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gif":
            _write_gif(tmp, pictures, fps)
        else:
            _write_mp4(tmp, pictures, fps, size)
        os.replace(tmp, path)
    except OSError as error:
        raise UserError(f"cannot write the video {path}: {' '.join(str(error).split())[-300:]}") from None
    finally:
        with contextlib.suppress(OSError):
            tmp.unlink()
    return path


def _ffmpeg() -> str | None:
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def _write_mp4(path: Path, pictures: Iterable[np.ndarray], fps: float, size: tuple[int, int]) -> None:
    import imageio_ffmpeg

    writer = imageio_ffmpeg.write_frames(
        str(path), size, fps=fps, codec="libx264", quality=None, macro_block_size=2, ffmpeg_log_level="error",
        pix_fmt_in="rgb24", pix_fmt_out="yuv420p",
        output_params=["-preset", "veryfast", "-crf", "20", "-movflags", "+faststart"],
    )  # fmt: skip
    writer.send(None)
    try:
        for picture in pictures:
            writer.send(np.ascontiguousarray(picture))
    finally:
        writer.close()


def _write_gif(path: Path, pictures: Iterable[np.ndarray], fps: float) -> None:
    from PIL import Image

    step = max(1, round(fps / GIF_FPS))

    def images() -> Iterator[Image.Image]:
        for index, picture in enumerate(pictures):
            if index % step == 0:
                image = Image.fromarray(picture)
                image.thumbnail((GIF_WIDTH, GIF_WIDTH))
                yield image.quantize(128)

    stream = images()
    first = next(stream)
    first.save(path, format="GIF", save_all=True, append_images=stream, duration=round(1000 * step / fps), loop=0)


def _actor(
    model: CharacterModel, trajectory: Trajectory, count: int, color: tuple[float, float, float], label: str
) -> Actor:
    body_pos, body_rot = body_poses(model, trajectory)
    return Actor(body_pos[:count], body_rot[:count], color, label)


class _Annotator:
    """Writes the caption below and, with two actors, says which is which."""

    def __init__(
        self, actors: Sequence[Actor], captions: Sequence[str] | None, fps: float, size: tuple[int, int]
    ) -> None:
        from matplotlib import get_data_path
        from PIL import ImageFont

        font = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # comes with matplotlib everywhere
        self._points = max(11, size[1] // 30)
        self._font = ImageFont.truetype(str(font), self._points)
        self._actors = actors if len(actors) > 1 else ()
        self._captions, self._fps, self._size = captions, fps, size

    def __call__(self, index: int, picture: np.ndarray) -> np.ndarray:
        from PIL import Image, ImageDraw

        image = Image.fromarray(picture)
        draw = ImageDraw.Draw(image)
        margin, unit = self._points, self._points
        ink = (40, 48, 60)
        has_caption = self._captions is not None and index < len(self._captions)
        caption = self._captions[index] if has_caption and self._captions else f"{index / self._fps:.1f} s"
        draw.text((margin, self._size[1] - margin), caption, font=self._font, fill=ink, anchor="ls")
        x = float(margin)
        for actor in self._actors:
            color = tuple(round(255 * channel) for channel in actor.color)
            draw.ellipse((x, margin, x + unit, margin + unit), fill=color, outline=ink)
            draw.text((x + 1.4 * unit, margin + unit / 2), actor.label, font=self._font, fill=ink, anchor="lm")
            x += 2.6 * unit + draw.textlength(actor.label, font=self._font)
        return np.asarray(image)
