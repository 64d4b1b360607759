"""Draws a scene in a process of its own and writes raw frames to its standard output.

Its own process, because the GL back end is chosen by MUJOCO_GL before MuJoCo is imported, because a GL driver that
crashes must not take a training run with it, and because nothing of torch is needed here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

PROBE = "<mujoco><worldbody><light pos='0 0 3'/><geom type='sphere' size='1' rgba='1 1 1 1'/></worldbody></mujoco>"
SUN = np.array([-2.0, -4.5, 7.0])  # m, from the target to the light
FLATTEN = np.array([[1.0, 0.0, 2.0 / 7.0], [0.0, 1.0, 4.5 / 7.0], [0.0, 0.0, 1e-3]])  # on the ground, along the light
SHADOW_COLOR = np.array([0.36, 0.38, 0.42, 1.0], dtype=np.float32)
SHADOW_HEIGHT = 2e-3  # m, above the ground, which would show through otherwise


def main(arguments: list[str]) -> int:
    """``--probe``: draw one small picture and name the GL renderer, or fail. Else: draw the job in the folder given."""
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # drivers print to standard output as they please; frames must stay clean
    if arguments == ["--probe"]:
        name = _probe()
        frames.write(name.encode())
        frames.flush()
        return 0 if name else 1
    _draw(Path(arguments[0]), frames)
    return 0


def _probe() -> str:
    """Name of the GL renderer, empty when the picture is black."""
    from mimickit_hydra.mj import mujoco

    model = mujoco.MjModel.from_xml_string(PROBE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 48, 64) as renderer:
        renderer.update_scene(data)
        return _renderer_name() if float(renderer.render().mean()) > 1.0 else ""


def _renderer_name() -> str:
    try:
        from OpenGL import GL  # MuJoCo's EGL and OSMesa back ends need PyOpenGL themselves

        return str(GL.glGetString(GL.GL_RENDERER).decode())
    except Exception:
        return "unknown"


def _draw(folder: Path, frames: BinaryIO) -> None:
    from mimickit_hydra.mj import mujoco

    model = mujoco.MjModel.from_binary_path(str(folder / "scene.mjb"))
    job = np.load(folder / "job.npz", allow_pickle=False)
    height, width = (int(value) for value in job["size"])
    flat_shadows = bool(job["flat_shadows"])
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)  # poses of what does not move
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.azimuth, camera.elevation = float(job["azimuth"]), float(job["elevation"])
    # The character moves by its geoms alone, so that any kind of joint is drawn the same way.
    geoms, bodies = job["geoms"], job["geom_bodies"]
    local_pos, local_rot = model.geom_pos[geoms], _matrices(model.geom_quat[geoms])
    with mujoco.Renderer(model, height, width) as renderer:
        for body_pos, body_rot, target, distance in zip(
            job["body_pos"], _matrices(job["body_rot"]), job["target"], job["distance"], strict=True
        ):
            rotation = body_rot[bodies]
            data.geom_xpos[geoms] = body_pos[bodies] + np.einsum("gij,gj->gi", rotation, local_pos)
            data.geom_xmat[geoms] = (rotation @ local_rot).reshape(-1, 9)
            camera.lookat[:] = target
            camera.distance = float(distance)
            renderer.update_scene(data, camera)
            sun = renderer.scene.lights[renderer.scene.nlight - 1]
            sun.pos[:] = target + SUN  # its shadows cover a few metres around it
            if flat_shadows:
                _add_shadows(mujoco, renderer.scene)
            frames.write(renderer.render().tobytes())
    frames.flush()


def _add_shadows(mujoco: Any, scene: Any) -> None:
    """Draw every geom once more, pressed flat on the ground: on the CPU far cheaper than a shadow map."""
    plane = int(mujoco.mjtGeom.mjGEOM_PLANE)
    for geom in [geom for geom in scene.geoms[: scene.ngeom] if geom.type != plane]:
        pos = FLATTEN @ geom.pos
        pos[2] += SHADOW_HEIGHT
        shadow = scene.geoms[scene.ngeom]
        mat = (FLATTEN @ geom.mat).reshape(-1)
        mujoco.mjv_initGeom(shadow, geom.type, np.ones(3), pos, mat, SHADOW_COLOR)
        shadow.size[:] = geom.size  # a drawn capsule counts its sizes in another order than mjv_initGeom
        shadow.dataid, shadow.specular, shadow.emission = geom.dataid, 0.0, 0.0
        scene.ngeom += 1


def _matrices(quat: np.ndarray) -> np.ndarray:
    """Rotation matrices ``[..., 3, 3]`` of quaternions ``[..., 4]`` in MuJoCo's order wxyz."""
    w, x, y, z = np.moveaxis(quat, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
