"""Pictures by MuJoCo's offscreen renderer: choice of the GL back end, the scene, the frames."""

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

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.runtime.scene import FIELD_OF_VIEW, Actor, Camera

PROBE_TIMEOUT = 60.0  # s; the first start of a driver on a slow disk takes a while
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader", "offscreen", "software")  # in the name of a GL renderer
WORKER = "mimickit_hydra.runtime.render_worker"

EDGE = 14  # steps of green between neighbours that count as an edge
BLUR = ((-1, 0, 2), (1, 0, 2), (0, -1, 2), (0, 1, 2), (-1, -1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, 1))
# The sun is the last light: the worker moves it with the camera.
STAGE = """
<mujoco>
  <compiler angle="degree"/>
  <statistic extent="3" center="0 0 1"/>
  <visual>
    <global fovy="{fovy}" offwidth="{width}" offheight="{height}"/>
    <quality shadowsize="{shadow}" offsamples="{samples}"/>
    <map znear="0.05" zfar="40" shadowclip="1.15" fogstart="4" fogend="12"/>
    <headlight ambient="0.32 0.33 0.36" diffuse="0.18 0.18 0.2" specular="0.05 0.05 0.05"/>
    <rgba fog="0.83 0.88 0.94 1" haze="0.83 0.88 0.94 1"/>
  </visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.62 0.74 0.88" rgb2="0.9 0.93 0.96" width="128"
             height="768"/>
    <texture name="floor" type="2d" builtin="checker" rgb1="0.72 0.76 0.8" rgb2="0.62 0.67 0.72" width="256"
             height="256" mark="edge" markrgb="0.82 0.85 0.88"/>
    <material name="floor" texture="floor" texrepeat="1 1" texuniform="true" specular="0.1" shininess="0.1"/>
  </asset>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 0.05" material="floor"/>
    <light name="fill" type="directional" dir="1 0.3 -0.6" diffuse="0.18 0.19 0.22" specular="0 0 0"
           castshadow="false"/>
    <light name="sun" type="directional" dir="2 4.5 -7" diffuse="0.62 0.6 0.56" specular="0.25 0.25 0.25"/>
  </worldbody>
</mujoco>
"""


class RenderError(UserError):
    """Pictures cannot be drawn this way; the message is one line."""


def backends() -> tuple[str, ...]:
    """MuJoCo's headless GL back ends of this platform, the preferred one first; MUJOCO_GL overrules."""
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked in ("disable", "disabled", "off", "false", "0"):
        return ()
    if asked in ("egl", "osmesa", "cgl", "wgl"):
        return (asked,)
    if sys.platform == "darwin":
        return ("cgl",)
    return ("egl", "osmesa") if sys.platform.startswith("linux") else ("wgl",)


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
    import mujoco

    width, height = size
    stage = STAGE.format(fovy=FIELD_OF_VIEW, width=width, height=height, shadow=max(shadow_size, 1), samples=samples)
    try:
        spec = mujoco.MjSpec.from_string(stage)
        if shadow_size == 0:
            for light in spec.lights:
                light.castshadow = False
        for index, actor in enumerate(actors):
            character = mujoco.MjSpec.from_file(str(char_file))
            _strip(character)
            for geom in character.geoms:
                geom.material = ""
                geom.rgba = (*actor.color, 1.0)
            spec.attach(character, prefix=f"{index}/", frame=spec.worldbody.add_frame())
        return spec.compile()
    except (ValueError, OSError) as error:
        raise RenderError(f"{char_file} cannot be drawn: {' '.join(str(error).split())}") from None


def _strip(character: Any) -> None:
    """Leave bodies and geoms; a file's own lights, cameras and ground would be in the picture twice."""
    for elements in (character.actuators, character.sensors, character.keys, character.lights, character.cameras):
        for element in list(elements):
            character.delete(element)
    for geom in list(character.worldbody.geoms):
        character.delete(geom)


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
    import mujoco

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


__all__ = ["RenderError", "backends", "choose_backend", "frames", "is_software", "probe"]
