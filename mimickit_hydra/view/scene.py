"""The content of a picture, for any renderer: the poses and colours of the characters, and the path of the camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHARACTER_COLOR = (0.5, 0.65, 0.95)
REFERENCE_COLOR = (0.5, 0.9, 0.1)
FIELD_OF_VIEW = 36.0  # degrees, vertical
CAMERA_OFFSET = np.array([-3.5, -3.5, 1.0])  # m, from the target to the camera
TARGET_HEIGHT = 0.9  # m
ROOM = 3.0  # m between two actors that the camera sees at its usual distance
SMOOTHING = 0.3  # s, so that the picture does not bob with every step


@dataclass(frozen=True)
class Actor:
    """One character over ``T`` frames: ``body_pos [T, B, 3]`` m, ``body_rot [T, B, 4]`` xyzw, world frame."""

    body_pos: np.ndarray
    body_rot: np.ndarray
    color: tuple[float, float, float]
    label: str


@dataclass(frozen=True)
class Camera:
    """A moving camera: it looks from ``position [T, 3]`` m at ``target [T, 3]`` m, the middle of the picture."""

    target: np.ndarray
    position: np.ndarray

    @property
    def distance(self) -> np.ndarray:
        """From camera to target, ``[T]`` m."""
        return np.linalg.norm(self.target - self.position, axis=-1)

    @property
    def azimuth(self) -> float:
        """Direction of view about z, degrees from x."""
        forward = -CAMERA_OFFSET
        return float(np.degrees(np.arctan2(forward[1], forward[0])))

    @property
    def elevation(self) -> float:
        """Direction of view above the horizon, degrees."""
        forward = -CAMERA_OFFSET
        return float(np.degrees(np.arctan2(forward[2], np.hypot(forward[0], forward[1]))))


def follow(actors: Sequence[Actor], fps: float) -> Camera:
    """A camera that follows the middle of the actors in x and y at constant height and backs off when they part."""
    roots = np.stack([actor.body_pos[:, 0, :2] for actor in actors])  # [actors, T, 2]
    middle = _smooth(roots.mean(axis=0), fps)
    spread = np.linalg.norm(roots - roots.mean(axis=0), axis=-1).max(axis=0)
    scale = _smooth(np.clip(2.0 * spread / ROOM, 1.0, 2.5)[:, None], fps)
    target = np.concatenate([middle, np.full((len(middle), 1), TARGET_HEIGHT)], axis=1)
    return Camera(target, target + scale * CAMERA_OFFSET)


def still(actors: Sequence[Actor], fps: float) -> Camera:
    """A camera that stays where :func:`follow` would begin, far enough away to keep all that moves in the picture."""
    begin = follow(actors, fps)
    roots = np.stack([actor.body_pos[:, 0, :2] for actor in actors])
    away = float(np.linalg.norm(roots - begin.target[0, :2], axis=-1).max())
    target = np.broadcast_to(begin.target[:1], begin.target.shape)
    offset = begin.position[0] - begin.target[0]
    return Camera(target, target + max(1.0, away / ROOM) * offset)


def _smooth(values: np.ndarray, fps: float) -> np.ndarray:
    """Gaussian mean over time of ``values [T, k]``; the ends repeat, and nothing lags behind."""
    sigma = SMOOTHING * fps
    radius = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-6)) ** 2)
    weights /= weights.sum()
    padded = np.pad(values, ((radius, radius), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, weights, mode="valid") for column in padded.T], axis=1)


def rotate(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Turn vectors ``[..., 3]`` by quaternions ``[..., 4]`` xyzw."""
    xyz, w = quat[..., :3], quat[..., 3:]
    turn = np.cross(xyz, vector) * 2.0
    return vector + w * turn + np.cross(xyz, turn)
