"""The unit shapes that primitives are stretched from: vertices ``[V, 3]``, and faces ``[F, 3]`` that turn outwards."""

from __future__ import annotations

import numpy as np

Shape = tuple[np.ndarray, np.ndarray]


def sphere(rings: int = 12, sections: int = 24) -> Shape:
    """A sphere of radius 1."""
    angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, rings + 1)
    return revolved(np.stack([np.cos(angles), np.sin(angles)], axis=-1), sections)


def cylinder(sections: int = 24) -> Shape:
    """A cylinder of radius 1 about z from -1 to 1. Its rims are there twice, so that shading does not round them."""
    return revolved(np.array([[0, -1], [1, -1], [1, -1], [1, 1], [1, 1], [0, 1]], float), sections)


def box() -> Shape:
    """A cube from -1 to 1."""
    corners = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    sides = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    return corners, np.array([[a, b, c] for a, b, c, _ in sides] + [[a, c, d] for a, _, c, d in sides])


def revolved(profile: np.ndarray, sections: int) -> Shape:
    """The surface that ``profile`` ``[P, 2]``, radius and height from the bottom up, sweeps about z."""
    turns = np.linspace(0.0, 2.0 * np.pi, sections, endpoint=False)
    radius, height = profile[:, :1], np.broadcast_to(profile[:, 1:], (len(profile), sections))
    vertices = np.stack([radius * np.cos(turns), radius * np.sin(turns), height], axis=-1).reshape(-1, 3)
    ring, turn = (
        index.reshape(-1) for index in np.meshgrid(np.arange(len(profile) - 1), np.arange(sections), indexing="ij")
    )
    low, after = ring * sections, (turn + 1) % sections
    a, b, c, d = low + turn, low + after, low + sections + after, low + sections + turn
    faces = np.concatenate([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)])
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    return vertices, faces[area > 1e-9]  # what is a line at a pole or a doubled rim is no face
