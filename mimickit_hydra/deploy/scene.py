"""The scene of an env as text: the engine's own MJCF, with what six digits of it lose beside it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.engines.mujoco.engine import MujocoEngine
from mimickit_hydra.engines.mujoco.model import GROUND, ObjectLayout
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_bytes
from mimickit_hydra.mj import mujoco
from mimickit_hydra.runs.files import files_of


def scene_of(engine: MujocoEngine, run: RunConfig) -> tuple[str, dict[str, Any]]:
    """The MJCF of the engine's scene, drives and contact sensors included, and the facts to play it by.

    These are the names of the character's parts in it; ``numbers``, the float arrays of the compiled model that differ
    from what the text alone gives; ``files``, the meshes in base64.
    """
    model, layout = engine.scene.model, engine.scene.layouts[0]
    text, files = _with_files(engine.scene.spec.to_xml(), run)
    numbers = {}
    again = mujoco.MjModel.from_xml_string(text, assets={name: base64.b64decode(data) for name, data in files.items()})
    for name in (name for name in dir(model) if not name.startswith("_")):
        value = getattr(model, name)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            if value.shape != getattr(again, name).shape:
                raise UserError(
                    f"{run.env.char_file}: MuJoCo writes another model of it ({name}), so it cannot be played"
                )
            if not np.array_equal(value, getattr(again, name)):
                numbers[name] = value.astype(float).ravel().tolist()
    return text, {**_names(model, layout), "numbers": numbers, "files": files}


def _with_files(text: str, run: RunConfig) -> tuple[str, dict[str, str]]:
    """The text with its files under plain names, and these files."""
    root, files = ET.fromstring(text), dict[str, str]()
    found = {file.path: file.found for file in files_of(run) if file.found is not None}
    for element in root.iter():
        name = element.get("file")
        if name is None:
            continue
        path = found.get(name)
        if path is None:
            raise UserError(f"{run.env.char_file}: {name}, which it names, is not there")
        plain = f"{len(files)}{Path(name).suffix.lower()}"
        files[plain] = base64.b64encode(read_bytes(path)).decode()
        element.set("file", plain)
    return ET.tostring(root, encoding="unicode"), files


def _names(model: Any, layout: ObjectLayout) -> dict[str, Any]:
    joints = [(int(model.body_jntadr[b]), int(d)) for b, d in zip(layout.body_ids, layout.model.dof_dims, strict=True)]
    bodies = [model.body(b).name for b in layout.body_ids]
    return {
        "root": model.joint(joints[0][0]).name,
        "joints": [[model.joint(j).name, dim] for j, dim in joints if dim],
        "bodies": bodies,
        "actuators": [model.actuator(i).name for i in range(layout.ctrl.start, layout.ctrl.stop)],
        "sensors": [
            [int(k), f"{bodies[k]}#total", f"{bodies[k]}#{GROUND}"] for k in layout.contact_bodies
        ],
    }  # fmt: skip
