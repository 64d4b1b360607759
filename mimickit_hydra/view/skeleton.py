"""Draws pictures without OpenGL: the character's capsules as thick lines, by matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.view.scene import FIELD_OF_VIEW, Actor, Camera, rotate

DPI = 100
SKY, GROUND, GRID, SHADOW = "#dfe7f0", "#c3cad3", "#d6dbe2", "#98a1ac"
BONE_RADIUS = 0.035  # m, of characters whose file has no geoms
SUN_SLOPE = np.array([2.0, 4.5]) / 7.0  # metres the shadow moves in x and y for a metre of height
NEAR = 0.2  # m in front of the camera; nothing nearer is drawn
GRID_REACH = 14  # m around the target


def frames(
    actors: Sequence[Actor], camera: Camera, character: CharacterModel, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Yield pictures ``[height, width, 3]`` uint8 of the same scene as the OpenGL renderer's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI, facecolor=SKY)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    axes.axis("off")
    ground = axes.axhspan(0, size[1], facecolor=GROUND, linewidth=0)
    lines = LineCollection([], capstyle="round")
    axes.add_collection(lines, autolim=False)
    segments = [_segments(character, actor) for actor in actors]
    for index in range(len(camera.target)):
        view = _View(camera.position[index], camera.target[index], size)
        ground.set_y(view.horizon)
        ground.set_height(size[1] - view.horizon)
        _fill(lines, view, [(start[index], end[index], radius) for start, end, radius in segments], actors)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


class _View:
    """A pinhole camera: world points to pixels, x to the right and y down."""

    def __init__(self, position: np.ndarray, target: np.ndarray, size: tuple[int, int]) -> None:
        forward = (target - position) / np.linalg.norm(target - position)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        self.axes = np.stack([right, np.cross(forward, right), forward])
        self.position, self.target = position, target
        self.focal = 0.5 * size[1] / np.tan(np.radians(FIELD_OF_VIEW) / 2)  # pixels
        self.center = 0.5 * np.array(size)
        level = self.axes @ np.array([forward[0], forward[1], 0.0])
        self.horizon = float(np.clip(self.pixels(level)[1], 0, size[1]))  # height of the picture of what is far away

    def local(self, points: np.ndarray) -> np.ndarray:
        """Points ``[..., 3]`` in the camera's axes: right, down, forward; m."""
        return (points - self.position) @ self.axes.T

    def pixels(self, local: np.ndarray) -> np.ndarray:
        """Pixels ``[..., 2]`` of points in the camera's axes."""
        return self.center + self.focal * local[..., :2] / local[..., 2:]


def _fill(
    lines: Any, view: _View, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], actors: Sequence[Actor]
) -> None:
    """Put grid, shadows and bodies into the collection, the far ones first."""
    start, end = _grid(view.target)
    flat = [(_project(view, start, end, np.full(len(start), 0.006)), GRID)]
    flat += [(_project(view, _on_ground(a), _on_ground(b), radius), SHADOW) for a, b, radius in parts]
    segments: list[np.ndarray] = []
    widths: list[float] = []
    colors: list[Any] = []
    for (pixels, width, _), paint in flat:
        segments += list(pixels)
        widths += list(width)
        colors += [paint] * len(pixels)
    drawn = []
    for (a, b, radius), actor in zip(parts, actors, strict=True):
        pixels, width, depth = _project(view, a, b, radius)
        drawn += [(z, line, w, actor.color) for line, w, z in zip(pixels, width, depth, strict=True)]
    for _, line, width, color in sorted(drawn, key=lambda item: -item[0]):
        segments += [line, line]  # an outline tells the limbs apart
        widths += [width + 1.6, width]
        colors += [tuple(0.55 * channel for channel in color), color]
    lines.set_segments(segments)
    lines.set_linewidths(widths)
    lines.set_colors(colors)


def _project(
    view: _View, start: np.ndarray, end: np.ndarray, radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lines ``[n, 2, 2]`` in pixels, widths ``[n]`` in points, depths ``[n]`` m of what is in front of the camera."""
    a, b = view.local(start), view.local(end)
    seen = np.maximum(a[:, 2], b[:, 2]) > NEAR
    a, b, radius = a[seen], b[seen], radius[seen]
    a, b = _clip(a, b), _clip(b, a)
    depth = 0.5 * (a[:, 2] + b[:, 2])
    pixels = np.stack([view.pixels(a), view.pixels(b)], axis=1)
    pixels[:, 1] += 1e-3  # a sphere is a line of no length, and that would not be drawn
    return pixels, 2.0 * radius * view.focal / depth * 72.0 / DPI, depth


def _clip(point: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Move points that are behind the camera along their line to just in front of it."""
    behind = point[:, 2] < NEAR
    if not behind.any():
        return point
    span = np.where(behind, other[:, 2] - point[:, 2], 1.0)
    share = np.where(behind, (NEAR - point[:, 2]) / span, 0.0)
    return point + share[:, None] * (other - point)


def _grid(target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the ground's lines, one each metre in both directions, ``[n, 3]``."""
    x0, y0 = np.round(target[:2])
    steps = np.arange(-GRID_REACH, GRID_REACH + 1, dtype=float)
    reach, zero = np.full_like(steps, GRID_REACH), np.zeros_like(steps)
    start = np.concatenate([np.stack([x0 + steps, y0 - reach, zero], 1), np.stack([x0 - reach, y0 + steps, zero], 1)])
    end = np.concatenate([np.stack([x0 + steps, y0 + reach, zero], 1), np.stack([x0 + reach, y0 + steps, zero], 1)])
    return start, end


def _on_ground(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points[:, :2] + points[:, 2:] * SUN_SLOPE, np.zeros_like(points[:, 2:])], axis=1)


def _segments(character: CharacterModel, actor: Actor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends ``[T, n, 3]`` m of the lines that stand for the geoms, and their radii ``[n]`` m."""
    if not character.geoms:
        parents = np.array(character.parents[1:])
        radius = np.full(len(parents), BONE_RADIUS)
        return actor.body_pos[:, parents], actor.body_pos[:, 1:], radius
    bodies = np.array([geom.body for geom in character.geoms])
    lines = [_axis(geom.kind, np.asarray(geom.size, dtype=float)) for geom in character.geoms]
    half = np.stack(
        [rotate(np.asarray(geom.rot), axis) for geom, (axis, _) in zip(character.geoms, lines, strict=True)]
    )
    center = np.stack([np.asarray(geom.pos) for geom in character.geoms])
    position, rotation = actor.body_pos[:, bodies], actor.body_rot[:, bodies]
    ends = [position + rotate(rotation, center + sign * half) for sign in (-1.0, 1.0)]
    return ends[0], ends[1], np.array([radius for _, radius in lines])


def _axis(kind: str, size: np.ndarray) -> tuple[np.ndarray, float]:
    """Half axis ``[3]`` in the geom's frame and radius of the line for a geom; sizes as MuJoCo's."""
    if kind == "sphere":
        return np.zeros(3), float(size[0])
    if kind == "capsule":
        return np.array([0.0, 0.0, size[1]]), float(size[0])
    axis = np.zeros(3)
    longest = int(size.argmax())
    radius = float(np.delete(size, longest).mean())
    axis[longest] = max(size[longest] - radius, 0.0)
    return axis, radius
