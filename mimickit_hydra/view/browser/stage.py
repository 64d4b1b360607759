"""Draws frames into a viser scene, with few messages for each: they are what a moment of training pays for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mimickit_hydra.view.browser import shapes
from mimickit_hydra.view.browser.frame import CHARACTER, REFERENCE, Frame
from mimickit_hydra.view.browser.look import Look, Mesh, placed
from mimickit_hydra.view.scene import CAMERA_OFFSET, CHARACTER_COLOR, FIELD_OF_VIEW, REFERENCE_COLOR, TARGET_HEIGHT

WORLD = "/world"
GROUND = {"cell_color": (176, 184, 192), "section_color": (150, 158, 168), "plane_color": (205, 211, 218)}
PUSH, FORCE, GOAL = (230, 90, 20), (220, 40, 40), (240, 170, 0)
FORCE_SCALE = 1.0 / 1500.0  # m per N: the weight of a person is half a metre
LEAST_FORCE = 5.0  # N
SMOOTHING = 0.2  # s that the camera is behind the character
LOST = 1.5  # m: a character this far away has been put there
GHOST = 0.4
AXIS = 0.17  # m, of the axes at a place that is marked

Grabbed = Callable[[str, np.ndarray | None], None]  # (a body's name, where it is dragged to, None once let go)


class Stage:
    """The scene of one server: its ground, its actors, and what is marked in it."""

    def __init__(self, server: Any, actors: Mapping[str, Look]) -> None:
        self._server, self._scene = server, server.scene
        self._middle, self._looked = np.zeros(2), 0.0
        self.follow = True
        self.shown = dict.fromkeys((REFERENCE, "forces", "points"), True)
        self.offset = np.zeros(3)  # m, of the reference
        position, target = CAMERA_OFFSET * (1, 1, 1) + (0, 0, TARGET_HEIGHT), np.array([0.0, 0.0, TARGET_HEIGHT])
        server.initial_camera.position = tuple(float(x) for x in position)
        server.initial_camera.look_at = tuple(float(x) for x in target)
        server.initial_camera.fov = float(np.radians(FIELD_OF_VIEW))
        self._scene.set_up_direction("+z")
        self._scene.configure_default_lights(True, True)
        self._world = self._scene.add_frame(WORLD, show_axes=False)
        self._scene.add_grid(
            f"{WORLD}/ground", infinite_grid=True, plane_opacity=1.0, shadow_opacity=0.35, cell_size=0.5,
            fade_distance=25.0, **GROUND,
        )  # fmt: skip
        self._actors = {name: _Actor(self._scene, name, look) for name, look in actors.items()}
        self._points: dict[str, Any] = {}
        self._arrows: dict[str, Any] = {}

    def on_grab(self, grabbed: Grabbed) -> None:
        """Tell ``grabbed`` of every drag of the character's shapes with the mouse."""
        for handle, bodies in self._actors[CHARACTER].handles():

            def dragged(event: Any, bodies: list[str] = bodies) -> None:
                name = bodies[event.instance_index or 0]
                end = None if event.phase == "end" else np.array(event.end_position) - self.origin
                grabbed(name, end)

            handle.on_drag("left")(dragged)

    @property
    def origin(self) -> np.ndarray:
        """Where the world's origin is drawn, ``[3]`` m."""
        return np.array([-self._middle[0], -self._middle[1], 0.0])

    def draw(self, frame: Frame) -> None:
        """Show a frame in all windows."""
        with self._server.atomic():
            if self.follow and CHARACTER in frame.poses:
                self._look_at(frame.poses[CHARACTER][0][0, :2])
            for name, actor in self._actors.items():
                pose = frame.poses.get(name)
                actor.show(pose is not None and self.shown.get(name, True))
                if pose is not None and actor.shown:
                    actor.draw(pose[0] + (self.offset if name == REFERENCE else 0.0), pose[1])
            self._draw_points(frame.points if self.shown["points"] else {})
            arrows = dict(frame.arrows)
            if self.shown["forces"] and frame.forces is not None:
                arrows["forces"] = _forces(frame.poses[CHARACTER][0], frame.forces)
            self._draw_arrows(arrows)

    def _look_at(self, place: np.ndarray) -> None:
        """Move the world under the camera, so that whoever turns it goes on doing so."""
        now = time.monotonic()
        share = 1.0 - math.exp((self._looked - now) / SMOOTHING)
        away, self._looked = place - self._middle, now
        self._middle = place.copy() if np.linalg.norm(away) > LOST else self._middle + share * away
        self._world.position = self.origin

    def _draw_points(self, points: Mapping[str, np.ndarray]) -> None:
        """Mark places by axes, which stick out of a body."""
        for name in {*self._points, *points}:
            places = np.atleast_2d(points[name]) if name in points else np.zeros((0, 3))
            handle = self._points.get(name)
            if handle is None and len(places):
                self._points[name] = self._scene.add_batched_axes(
                    f"{WORLD}/points/{name}", np.tile([1.0, 0.0, 0.0, 0.0], (len(places), 1)), places,
                    axes_length=AXIS, axes_radius=0.05 * AXIS,
                )  # fmt: skip
            elif handle is not None:
                handle.visible = len(places) > 0
                if len(places):
                    handle.batched_positions = places.astype(np.float32)

    def _draw_arrows(self, arrows: Mapping[str, np.ndarray]) -> None:
        for name in {*self._arrows, *arrows}:
            ends = arrows[name].reshape(-1, 2, 3) if name in arrows else np.zeros((0, 2, 3))
            handle = self._arrows.get(name)
            if handle is None and len(ends):
                color = {"forces": FORCE, "push": PUSH}.get(name, GOAL)
                self._arrows[name] = self._scene.add_arrows(
                    f"{WORLD}/arrows/{name}", ends, color, shaft_radius=0.012, head_radius=0.03, head_length=0.06
                )
            elif handle is not None:
                handle.visible = len(ends) > 0
                if len(ends):
                    handle.points = ends.astype(np.float32)


def _forces(body_pos: np.ndarray, forces: np.ndarray) -> np.ndarray:
    """Arrows ``[n, 2, 3]`` of the forces that can be seen."""
    felt = np.linalg.norm(forces, axis=-1) > LEAST_FORCE
    return np.stack([body_pos[felt], body_pos[felt] + FORCE_SCALE * forces[felt]], axis=1)


class _Actor:
    """The handles of one character."""

    def __init__(self, scene: Any, name: str, look: Look) -> None:
        self.shown = True
        self._look = look
        ghost = name == REFERENCE
        units: dict[str, Callable[[], shapes.Shape]] = {
            "sphere": shapes.sphere, "cylinder": shapes.cylinder, "box": shapes.box,
        }  # fmt: skip
        plain = None if look.colored and not ghost else REFERENCE_COLOR if ghost else CHARACTER_COLOR
        options = {"opacity": GHOST, "cast_shadow": False, "receive_shadow": False} if ghost else {}
        self._batches = {}
        for kind, batch in look.batches.items():
            (vertices, faces), count = units[kind](), len(batch.body)
            colors = batch.color if plain is None else np.broadcast_to(np.round(255 * np.array(plain)), (count, 3))
            self._batches[kind] = scene.add_batched_meshes_simple(
                f"{WORLD}/{name}/{kind}", vertices, faces, np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
                np.zeros((count, 3)), batched_scales=batch.scale, batched_colors=colors.astype(np.uint8), lod="off",
                flat_shading=kind == "box", **options,
            )  # fmt: skip
        self._meshes = [
            scene.add_mesh_simple(
                f"{WORLD}/{name}/mesh_{number}", mesh.vertices, mesh.faces, flat_shading=True,
                color=tuple(mesh.color) if plain is None else plain, **options,
            )
            for number, mesh in enumerate(look.meshes)
        ]  # fmt: skip

    def handles(self) -> list[tuple[Any, list[str]]]:
        """What can be grabbed, each with the names of the bodies of its instances."""
        names, meshes = self._look.bodies, zip(self._meshes, self._look.meshes, strict=True)
        batches = self._look.batches
        found = [(self._batches[kind], [names[body] for body in batch.body]) for kind, batch in batches.items()]
        return found + [(handle, [names[mesh.body]]) for handle, mesh in meshes]

    def show(self, shown: bool) -> None:
        if shown != self.shown:
            self.shown = shown
            for handle in [*self._batches.values(), *self._meshes]:
                handle.visible = shown

    def draw(self, body_pos: np.ndarray, body_rot: np.ndarray) -> None:
        for kind, handle in self._batches.items():
            pos, rot = placed(body_pos, body_rot, self._look.batches[kind])
            handle.batched_positions = pos.astype(np.float32)
            handle.batched_wxyzs = rot[:, [3, 0, 1, 2]].astype(np.float32)
        for handle, mesh in zip(self._meshes, self._look.meshes, strict=True):
            self._move(handle, mesh, body_pos, body_rot)

    @staticmethod
    def _move(handle: Any, mesh: Mesh, body_pos: np.ndarray, body_rot: np.ndarray) -> None:
        handle.position = body_pos[mesh.body]
        handle.wxyz = body_rot[mesh.body, [3, 0, 1, 2]]
