"""Draws a picture of a character in one pose, with the names of some of its bodies."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from mimickit_hydra.files import write_atomic
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.view import render, skeleton
from mimickit_hydra.view.scene import CAMERA_OFFSET, CHARACTER_COLOR, FIELD_OF_VIEW, Actor, Camera

SIZE = (960, 720)


def draw(
    out: Path, char_file: Path, character: CharacterModel, pose: np.ndarray, names: Sequence[str], extent: float
) -> str:
    """Write the picture of ``pose [6 + D]`` to ``out`` (.png); returns what drew it. RenderError where nothing can."""
    from PIL import Image, ImageDraw

    values = torch.tensor(pose, dtype=torch.float32)[None]
    root = rot.exp_map_to_quat(values[:, 3:6])
    body_pos, body_rot = character.forward_kinematics(values[:, :3], root, character.dof_to_rot(values[:, 6:]))
    actor = Actor(body_pos.numpy(), body_rot.numpy(), CHARACTER_COLOR, character.name)
    middle = 0.5 * (actor.body_pos[0].min(axis=0) + actor.body_pos[0].max(axis=0))
    camera = Camera(middle[None], middle[None] + 0.5 * max(extent, 0.2) * CAMERA_OFFSET)
    backend = render.choose_backend()
    if backend is not None:
        frames = render.frames([actor], camera, char_file, character.body_names, SIZE, backend)
    else:
        frames = skeleton.frames([actor], camera, character, SIZE)
    picture = Image.fromarray(next(iter(frames)))
    pen = ImageDraw.Draw(picture)
    for name in names:
        x, y = _project(camera, actor.body_pos[0, character.body_names.index(name)])
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(200, 30, 30))
        pen.text((x + 6, y - 6), name, fill=(20, 20, 20))
    data = io.BytesIO()
    picture.save(data, format="PNG")

    def write(file: BinaryIO) -> None:
        file.write(data.getvalue())

    write_atomic(out, write)
    return f"MuJoCo, {backend}" if backend else "without OpenGL, as a skeleton"


def _project(camera: Camera, point: np.ndarray) -> tuple[float, float]:
    """Where a point of the world is in the picture, in pixels."""
    ahead = (camera.target[0] - camera.position[0]) / camera.distance[0]
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, ahead)
    seen = point - camera.position[0]
    scale = 0.5 * SIZE[1] / np.tan(np.radians(0.5 * FIELD_OF_VIEW)) / float(seen @ ahead)
    return SIZE[0] / 2 + scale * float(seen @ right), SIZE[1] / 2 - scale * float(seen @ up)
