"""What a character looks like: its primitives, gathered by kind to be drawn together, and its meshes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.view.scene import rotate

Color = tuple[float, float, float]
PLAIN = (0.5, 0.5, 0.5)  # MuJoCo's colour of a geom that has none
HIDDEN = 3  # the first group of geoms that MuJoCo does not show
KINDS = ("sphere", "cylinder", "box")


@dataclass(frozen=True)
class Batch:
    """``n`` stretched shapes of one kind: unit spheres, cylinders of radius and half-length 1, cubes of half-size 1."""

    body: np.ndarray  # [n]
    pos: np.ndarray  # [n, 3] m, in the body's frame
    rot: np.ndarray  # [n, 4] xyzw
    scale: np.ndarray  # [n, 3] m
    color: np.ndarray  # [n, 3] 0 to 255, as the file has it


@dataclass(frozen=True)
class Mesh:
    """The meshes of one body in one colour, in its frame."""

    body: int
    vertices: np.ndarray  # [V, 3] m
    faces: np.ndarray  # [F, 3]
    color: np.ndarray  # [3] 0 to 255


@dataclass(frozen=True)
class Look:
    """The shapes of a character of ``bodies``, by kind, and its meshes."""

    bodies: list[str]
    batches: dict[str, Batch]
    meshes: list[Mesh]

    @property
    def colored(self) -> bool:
        """Whether the file gives its shapes colours of their own."""
        colors = [batch.color for batch in self.batches.values()] + [mesh.color[None] for mesh in self.meshes]
        return bool(colors) and len(np.unique(np.concatenate(colors), axis=0)) > 1


def read_look(char_file: Path | str) -> Look:
    """Read the shapes of an MJCF as MuJoCo shows them; without its meshes where their files are missing."""
    from mimickit_hydra.motion.mjcf import load

    try:
        source = load(char_file, drawn=True)
    except UserError:
        source = load(char_file)
    return look_of(source.model, {source.model.body(body.name).id: body.name for body in source.bodies})


def look_of(model: Any, bodies: Mapping[int, str]) -> Look:
    """The shapes of ``bodies`` of a compiled model, names by number, as MuJoCo shows them."""
    place = {body: row for row, body in enumerate(bodies)}
    geoms = [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) in place]
    shown = [geom for geom in geoms if model.geom_group[geom] < HIDDEN and model.geom_rgba[geom, 3] > 0]
    parts: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in KINDS}
    meshes: dict[tuple[int, tuple[int, ...]], list[tuple[np.ndarray, np.ndarray]]] = {}
    for geom in shown or geoms:
        body, color = place[int(model.geom_bodyid[geom])], _color(model, geom)
        if _kind(model, geom) == "mesh":
            meshes.setdefault((body, tuple(color)), []).append(_mesh(model, geom))
        else:
            for kind, *values in _primitives(model, geom):
                parts[kind].append((body, *values, color))
    batches = {kind: _batch(rows) for kind, rows in parts.items() if rows}
    joined = [Mesh(body, *_joined(pieces), np.array(color)) for (body, color), pieces in meshes.items()]
    return Look(list(bodies.values()), batches, joined)


def _kind(model: Any, geom: int) -> str:
    from mimickit_hydra.mj import mujoco

    return str(mujoco.mjtGeom(int(model.geom_type[geom])).name[len("mjGEOM_") :].lower())


def _color(model: Any, geom: int) -> np.ndarray:
    material = int(model.geom_matid[geom])
    rgba = model.mat_rgba[material] if material >= 0 else model.geom_rgba[geom]
    return np.round(255 * np.clip(rgba[:3], 0.0, 1.0)).astype(int)


def _primitives(model: Any, geom: int) -> list[tuple[Any, ...]]:
    """Kind, place, rotation and size of the shapes that make up a geom; a capsule is a cylinder with two balls."""
    kind, (a, b, c) = _kind(model, geom), model.geom_size[geom]
    pos, rot = model.geom_pos[geom].copy(), np.roll(model.geom_quat[geom], -1)
    if kind == "capsule":
        end = rotate(rot, np.array([0.0, 0.0, b]))
        return [
            ("cylinder", pos, rot, (a, a, b)),
            ("sphere", pos + end, rot, (a, a, a)),
            ("sphere", pos - end, rot, (a, a, a)),
        ]
    if kind == "cylinder":
        return [("cylinder", pos, rot, (a, a, b))]
    if kind in ("sphere", "ellipsoid"):
        return [("sphere", pos, rot, (a, a, a) if kind == "sphere" else (a, b, c))]
    return [("box", pos, rot, (a, b, c))]


def _batch(rows: list[tuple[Any, ...]]) -> Batch:
    body, pos, rot, scale, color = zip(*rows, strict=True)
    return Batch(np.array(body), np.array(pos), np.array(rot), np.array(scale), np.array(color))


def _mesh(model: Any, geom: int) -> tuple[np.ndarray, np.ndarray]:
    mesh = int(model.geom_dataid[geom])
    vertices = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
    faces = model.mesh_face[model.mesh_faceadr[mesh] :][: model.mesh_facenum[mesh]]
    rot = np.roll(model.geom_quat[geom], -1)
    return model.geom_pos[geom] + rotate(rot, vertices), faces.copy()


def _joined(pieces: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    first = np.cumsum([0, *(len(vertices) for vertices, _ in pieces[:-1])])
    faces = [piece + offset for (_, piece), offset in zip(pieces, first, strict=True)]
    return np.concatenate([vertices for vertices, _ in pieces]), np.concatenate(faces)


def placed(body_pos: np.ndarray, body_rot: np.ndarray, part: Batch) -> tuple[np.ndarray, np.ndarray]:
    """World places ``[n, 3]`` and rotations ``[n, 4]`` xyzw of a batch, from poses ``[B, 3]`` and ``[B, 4]``."""
    # By components: numpy's cross product takes longer than all of this.
    (x, y, z), (i, j, k, w), (a, b, c, d) = part.pos.T, body_rot[part.body].T, part.rot.T
    u, v, t = 2 * (j * z - k * y), 2 * (k * x - i * z), 2 * (i * y - j * x)
    moved = [x + w * u + j * t - k * v, y + w * v + k * u - i * t, z + w * t + i * v - j * u]
    turned = [
        w * a + d * i + j * c - k * b, w * b + d * j + k * a - i * c, w * c + d * k + i * b - j * a,
        w * d - i * a - j * b - k * c,
    ]  # fmt: skip
    return body_pos[part.body] + np.stack(moved, axis=-1), np.stack(turned, axis=-1)
