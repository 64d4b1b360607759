"""Renders pictures with MuJoCo's offscreen renderer: the GL back end, the scene, the frames."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.view.scene import FIELD_OF_VIEW, Actor, Camera

PROBE_TIMEOUT = 60.0  # s; the first start of a driver on a slow disk takes a while
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader", "offscreen", "software")  # in the name of a GL renderer
WORKER = "mimickit_hydra.view.render_worker"

EDGE = 14  # steps of green between neighbours that count as an edge
BLUR = ((-1, 0, 2), (1, 0, 2), (0, -1, 2), (0, 1, 2), (-1, -1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, 1))
# The sun is the last light: the worker moves it with the camera.
STAGE = Path(__file__).with_name("stage.xml")


class RenderError(UserError):
    """Pictures that cannot be drawn this way; the message is one line."""


def backends() -> tuple[str, ...]:
    """MuJoCo's headless GL back ends of this platform, the preferred one first; MUJOCO_GL may name it, or forbid all.

    That variable may be there for another program: what draws nothing without a display is passed over.
    """
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked in ("disable", "disabled", "off", "false", "0"):
        return ()
    ours = ("egl", "osmesa") if sys.platform.startswith("linux") else ("cgl" if sys.platform == "darwin" else "wgl",)
    return tuple(sorted(ours, key=lambda name: name != asked))


@functools.lru_cache(maxsize=8)
def probe(backend: str) -> str | None:
    """Draw one small picture with ``backend`` in a process of its own; remembered for the life of this process.

    Returns the name of the GL renderer, or None when nothing was drawn.
    """
    try:
        done = subprocess.run(
            _command("--probe"), env=_environment(backend), capture_output=True, timeout=PROBE_TIMEOUT, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout.decode("utf-8", "replace").strip() or "unknown") if done.returncode == 0 else None


def choose_backend() -> str | None:
    """The first back end that works here, or None."""
    return next((backend for backend in backends() if probe(backend) is not None), None)


def is_software(backend: str) -> bool:
    """Whether pictures are drawn by the CPU."""
    name = (probe(backend) or "").lower()
    return backend == "osmesa" or any(mark in name for mark in SOFTWARE)


def frames(
    actors: Sequence[Actor],
    camera: Camera,
    char_file: Path,
    body_names: Sequence[str],
    size: tuple[int, int],
    backend: str,
    *,
    shadow_size: int | None = None,
    samples: int | None = None,
) -> Iterator[np.ndarray]:
    """Yield pictures ``[height, width, 3]`` uint8 as the worker draws them; RenderError when it fails.

    ``size``: width, height; ``shadow_size``: pixels of the shadow map, 0 for flat shadows without one; ``samples``:
    anti-aliasing. What is not given follows from what draws: on the CPU a shadow map and multisampling take nine tenths
    of the time of a frame, so shadows are flat there and edges are smoothed afterwards.
    """
    width, height = size
    if shadow_size is None:
        shadow_size = 0 if is_software(backend) else 4096
    if samples is None:
        samples = 0 if is_software(backend) else 4
    finish = _smooth_edges if samples == 0 else np.copy
    with tempfile.TemporaryDirectory(prefix="mimickit_render_") as name:
        folder = Path(name)
        model = _build(actors, char_file, size, shadow_size, samples)
        _save_model(model, folder / "scene.mjb")
        job = _job(model, actors, camera, body_names, (height, width))
        np.savez(folder / "job.npz", flat_shadows=np.array(shadow_size == 0), **job)
        with open(folder / "errors.txt", "w+b") as errors:
            worker = subprocess.Popen(
                _command(str(folder)), env=_environment(backend), stdout=subprocess.PIPE, stderr=errors
            )
            assert worker.stdout is not None
            try:
                for _ in range(len(camera.target)):
                    data = worker.stdout.read(height * width * 3)
                    if len(data) < height * width * 3:
                        worker.wait()
                        errors.seek(0)
                        raise RenderError(f"MuJoCo's {backend} renderer stopped: {_last_line(errors.read())}")
                    yield finish(np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3))
            finally:
                worker.kill()
                worker.stdout.close()
                worker.wait()


def _smooth_edges(frame: np.ndarray) -> np.ndarray:
    """Blur a picture a little, but only along its edges."""
    green = frame[..., 1].astype(np.int16)
    edge = np.zeros(green.shape, dtype=bool)
    down, right = np.abs(np.diff(green, axis=0)) > EDGE, np.abs(np.diff(green, axis=1)) > EDGE
    edge[:-1] |= down
    edge[1:] |= down
    edge[:, :-1] |= right
    edge[:, 1:] |= right
    edge[[0, -1]] = edge[:, [0, -1]] = False
    rows, columns = np.nonzero(edge)
    total = 4 * frame[rows, columns].astype(np.uint16)
    for dy, dx, weight in BLUR:
        total += weight * frame[rows + dy, columns + dx].astype(np.uint16)
    result = frame.copy()
    result[rows, columns] = (total // 16).astype(np.uint8)
    return result


def _build(actors: Sequence[Actor], char_file: Path, size: tuple[int, int], shadow_size: int, samples: int) -> Any:
    from mimickit_hydra.mj import mujoco
    from mimickit_hydra.motion.mjcf import load, take_options

    width, height = size
    stage = STAGE.read_text(encoding="utf-8").format(
        fovy=FIELD_OF_VIEW, width=width, height=height, shadow=max(shadow_size, 1), samples=samples
    )
    try:
        spec = mujoco.MjSpec.from_string(stage)
        if shadow_size == 0:
            for light in spec.lights:
                light.castshadow = False
        for index, actor in enumerate(actors):
            source = load(char_file, drawn=True)
            take_options(source, spec.option)
            character = source.spec
            for actuator in list(character.actuators):
                character.delete(actuator)
            for geom in character.geoms:
                geom.material = ""
                geom.rgba = (*actor.color, 1.0)
            spec.attach(character, prefix=f"{index}/", frame=spec.worldbody.add_frame())
        return spec.compile()
    except (ValueError, UserError) as error:
        raise RenderError(f"{char_file} cannot be drawn: {' '.join(str(error).split())}") from None


def _job(
    model: Any, actors: Sequence[Actor], camera: Camera, body_names: Sequence[str], size: tuple[int, int]
) -> dict[str, Any]:
    """Arrays for the worker: which geoms hang on which body, the poses of all bodies of all actors, the camera."""
    rows = {f"{index}/{name}": index * len(body_names) + row for index, _ in enumerate(actors)
            for row, name in enumerate(body_names)}  # fmt: skip
    owners = [rows.get(model.body(int(model.geom_bodyid[geom])).name, -1) for geom in range(model.ngeom)]
    geoms = np.array([geom for geom, owner in enumerate(owners) if owner >= 0])
    xyzw = np.concatenate([actor.body_rot for actor in actors], axis=1)
    return {
        "geoms": geoms,
        "geom_bodies": np.array(owners)[geoms],
        "body_pos": np.concatenate([actor.body_pos for actor in actors], axis=1),
        "body_rot": xyzw[..., [3, 0, 1, 2]],
        "target": camera.target,
        "distance": camera.distance,
        "azimuth": camera.azimuth,
        "elevation": camera.elevation,
        "size": np.array(size),
    }


def _save_model(model: Any, path: Path) -> None:
    from mimickit_hydra.mj import mujoco

    mujoco.mj_saveModel(model, str(path), None)


def _command(argument: str) -> list[str]:
    return [sys.executable, "-m", WORKER, argument]


def _environment(backend: str) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "MUJOCO_GL": backend, "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("PYOPENGL_PLATFORM", None)  # MuJoCo refuses one that differs from MUJOCO_GL
    return environment


def _last_line(errors: bytes) -> str:
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "no message"
