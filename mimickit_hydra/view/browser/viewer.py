"""Runs a show in a browser: what is clicked, then a step of it, then a picture of it, thirty times a second."""

from __future__ import annotations

import threading
import time
import webbrowser
from collections.abc import Callable, Mapping
from typing import Any

from mimickit_hydra.view.browser.frame import Frame
from mimickit_hydra.view.browser.panel import WRITTEN, Panel
from mimickit_hydra.view.browser.server import Server
from mimickit_hydra.view.browser.show import Show
from mimickit_hydra.view.browser.stage import Stage

RATE = 30  # pictures a second, at most
MOST = 0.2  # s of a show that a picture may go on by, where it is slower than time is
TIDY = 1.0  # s between two looks at whether something has changed
IDLE = 0.1  # s between two looks at whether somebody looks


Menu = Mapping[str, Callable[[], Show]]


class Viewer:
    """A show on a server, in the thread that calls :meth:`run`. Nothing of it moves while no window is open."""

    def __init__(self, show: Show, server: Server, menu: Menu | None = None) -> None:
        """``menu``: what else there is to see, by name, and the making of it; ``show`` is its first."""
        self.server = server
        self.pictures = 0
        self._menu = menu or {}
        self._put_on(show, next(iter(self._menu), ""))

    def _put_on(self, show: Show, name: str) -> None:
        """Show another thing, in the windows that are open."""
        server = self.server.viser
        server.scene.reset()
        server.gui.reset()
        server.gui.configure_theme(control_layout="fixed", control_width="medium", show_share_button=False)
        self.show = show
        self._stage = Stage(server, show.actors)
        if name:
            chooser = server.gui.add_dropdown("policy", tuple(self._menu), name)
        self._panel = panel = Panel(server, show, self._stage)
        self._stage.on_grab(lambda body, place: panel.commands.put(lambda: show.grab(body, place)))
        if name:
            panel.on_value(chooser, self._choose)
        self._drawn: Frame | None = None
        self._written, self._tidied = 0.0, 0.0
        self._draw()  # whoever opens a window sees it at once

    def _choose(self, name: str) -> None:
        following = self._menu[name]()
        self.show.close()
        self._put_on(following, name)

    def close(self) -> None:
        """Let go of what is shown."""
        self.show.close()

    def run(self, stop: threading.Event | None = None) -> None:
        """Show until ``stop`` is set, or for ever."""
        stop = stop or threading.Event()
        last = due = time.monotonic()
        while not stop.is_set():
            if not self.server.watched():
                self._panel.work()
                self.show.rest()
                stop.wait(IDLE)
                last = time.monotonic()
                continue
            began = time.monotonic()
            self._panel.work()
            if began - self._tidied > TIDY:
                self.show.tidy()
                self._tidied = began
            if self._panel.playing:
                self.show.advance(min(began - last, MOST) * self._panel.speed)
            last = began
            self._draw()
            due = max(due, began - 1.0 / RATE) + 1.0 / RATE  # what a wait took too long is made up for, once
            stop.wait(max(0.0, due - time.monotonic()))

    def _draw(self) -> None:
        frame = self.show.frame()
        if frame is None or frame is self._drawn:
            return
        self._drawn = frame
        self._stage.draw(frame)
        self._panel.record(frame)
        self.pictures += 1
        if time.monotonic() - self._written > 1.0 / WRITTEN:
            self._panel.write(frame)
            self._written = time.monotonic()


def open_viewer(show: Show, menu: Menu | None = None, *, browser: bool = False, **options: Any) -> None:
    """Show it at an address that is printed, until Ctrl-C. ``options`` are those of :class:`.server.Server`.

    With ``browser`` the page is opened too, where there is a browser.
    """
    with Server(**options) as server:
        viewer = Viewer(show, server, menu)
        print(server.hint(), flush=True)
        if browser:
            webbrowser.open(server.url)
        try:
            viewer.run()
        finally:
            viewer.close()
