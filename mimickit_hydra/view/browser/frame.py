"""What the viewer shows of one moment, as plain arrays: whoever makes it needs no viewer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

CHARACTER, REFERENCE = "character", "reference"


@dataclass
class Frame:
    """One moment: world frame, m, rad, N, quaternions xyzw.

    ``poses`` are those of the bodies of each actor, by its name: ``[B, 3]`` and ``[B, 4]``; an actor without one is not
    drawn. ``forces [B, 3]`` are what each body of the character is pushed with by what it touches. ``bars()`` are
    numbers to show by name, computed when they are, ``curves`` arrays over the DoFs to plot, ``points`` places to mark,
    ``arrows`` their starts and ends ``[2, 3]``, by name.
    """

    time: float  # s, of the clip or of the episode
    poses: dict[str, tuple[np.ndarray, np.ndarray]]
    title: str = ""
    forces: np.ndarray | None = None
    bars: Callable[[], dict[str, float]] = dict
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    points: dict[str, np.ndarray] = field(default_factory=dict)
    arrows: dict[str, np.ndarray] = field(default_factory=dict)
