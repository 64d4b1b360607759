"""What a viewer can show: a clip, a policy in its environment, a run while it trains."""

from __future__ import annotations

import abc
from typing import Any

from mimickit_hydra.view.browser.frame import Frame
from mimickit_hydra.view.browser.look import Look


class Show(abc.ABC):
    """A thing in motion. All of it is called from the viewer's own thread.

    Attributes: ``actors`` (their looks by name), ``title``, ``clips`` (names to choose from, may be empty), ``clip``
    (the number of the present one), ``length`` s of it (0: there is nothing to move to), ``dt`` s of a step,
    ``steered`` (whether it can be paused and restarted, or goes its own way), ``dof_names`` (of the curves), ``other``
    (what the ghost is called) and ``beside`` (whether it stands beside the character at first).
    """

    actors: dict[str, Look]
    title: str = ""
    clips: list[str] = []  # noqa: RUF012
    clip: int = 0
    length: float = 0.0
    dt: float = 1.0 / 30.0
    steered: bool = True
    dof_names: list[str] = []  # noqa: RUF012
    other: str = "reference"
    beside: bool = False

    @abc.abstractmethod
    def frame(self) -> Frame | None:
        """The present moment, None while there is none yet."""

    def advance(self, seconds: float) -> None:  # noqa: B027
        """Go on by about so much time."""

    def step(self) -> None:
        """Go on by one step."""
        self.advance(self.dt)

    def restart(self, clip: int, time: float) -> None:  # noqa: B027
        """Begin anew, with that clip at that time (s)."""

    def seek(self, time: float) -> None:  # noqa: B027
        """Go to that time (s) of the clip, where that can be done without beginning anew."""

    def grab(self, body: str, place: Any) -> None:  # noqa: B027
        """The mouse drags ``body`` to ``place [3]`` m, or has let go of it (None)."""

    def add_controls(self, panel: Any) -> None:  # noqa: B027
        """Add controls of its own to the :class:`.panel.Panel`."""

    def tidy(self) -> None:  # noqa: B027
        """Look whether something has changed: called about once a second, while somebody looks."""

    def rest(self) -> None:  # noqa: B027
        """Nobody looks."""

    def close(self) -> None:  # noqa: B027
        """Let go of what it holds."""
