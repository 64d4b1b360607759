"""The panel beside the scene: what steers the show, and the numbers of the moment."""

from __future__ import annotations

import html
from collections import deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.view.browser.frame import REFERENCE, Frame
from mimickit_hydra.view.browser.show import Show
from mimickit_hydra.view.browser.stage import Stage

SPEEDS = ("0.1", "0.25", "0.5", "1", "2", "4")
WRITTEN = 5  # times a second that numbers and curves are renewed
SECONDS = 4.0  # of the curves
LINES = 8  # of a plot, those that move most
BESIDE = np.array([0.0, 1.5, 0.0])  # m, where the ghost stands then
HEIGHT = 190  # pixels of a plot
COLORS = ("#3b6fd4", "#d9822b", "#3a9d5d", "#c23b3b", "#8a5cc2", "#8c6d46", "#d26ab0", "#5f6b7a")

Command = Callable[[], None]


class Panel:
    """The controls of a show. What is clicked waits in ``commands`` for the viewer's thread."""

    def __init__(self, server: Any, show: Show, stage: Stage) -> None:
        self.gui, self.show, self._stage, self._server = server.gui, show, stage, server
        self.commands: SimpleQueue[Command] = SimpleQueue()
        self.playing, self.speed = True, 1.0
        self._moving = False  # the slider, by us
        self._history: dict[str, deque[np.ndarray]] = {}
        self._plots: dict[str, Any] = {}
        gui = self.gui
        self.title = gui.add_markdown("")
        with gui.add_folder("play"):
            self._add_play()
        with gui.add_folder("show"):
            self._add_switches()
        show.add_controls(self)
        with gui.add_folder("numbers"):
            self._bars = gui.add_html("")
        with gui.add_folder("curves", expand_by_default=False):
            self._plot_all = gui.add_checkbox("draw curves", False)
            self._curves = gui.add_folder("over the last seconds")

    # -------------------------------------------------------------------------------------------------------- controls

    def _add_play(self) -> None:
        gui, show = self.gui, self.show
        self.pause = gui.add_button("pause", icon="player-pause")
        self.on_click(self.pause, self.toggle)
        if show.steered:
            more = gui.add_button_group("", ("step", "restart"))

            def clicked(word: str) -> None:
                if word == "step":
                    self.toggle(False)
                    show.step()
                else:
                    self.restart(show.clip, 0.0)

            self.on_value(more, clicked)
        speed = gui.add_dropdown("speed", SPEEDS, "1")
        self.on_value(speed, lambda text: setattr(self, "speed", float(text)))
        if len(show.clips) > 1 and show.steered:
            self.chooser = gui.add_dropdown("clip", tuple(show.clips), show.clips[show.clip])
            self.on_value(self.chooser, lambda name: self.restart(show.clips.index(name), 0.0))
        if show.length > 0:
            self.slider = gui.add_slider("time (s)", 0.0, round(show.length, 3), 0.001, 0.0)
            self.on_value(self.slider, self._slid)

    def _add_switches(self) -> None:
        gui, stage = self.gui, self._stage
        follow = gui.add_checkbox("camera follows", stage.follow)
        self.on_value(follow, lambda on: setattr(stage, "follow", on))
        names = {REFERENCE: self.show.other, "forces": "contact forces", "points": "key bodies"}
        for name, label in names.items():
            if name != REFERENCE or REFERENCE in self.show.actors:
                switch = gui.add_checkbox(label, stage.shown[name])
                self.on_value(switch, lambda on, name=name: stage.shown.update({name: on}))  # type: ignore[misc]
        if REFERENCE in self.show.actors:
            beside = gui.add_checkbox("beside each other", self.show.beside)
            self.on_value(beside, lambda on: setattr(stage, "offset", BESIDE * on))
            stage.offset = BESIDE * self.show.beside

    def on_value(self, handle: Any, act: Callable[[Any], None]) -> None:
        """Call ``act(value)`` in the viewer's thread when somebody changes a control."""

        def changed(event: Any) -> None:
            if event.client is not None:  # not by us
                value = handle.value
                self.commands.put(lambda: act(value))

        handle.on_click(changed) if hasattr(handle, "on_click") else handle.on_update(changed)

    def on_click(self, handle: Any, act: Command) -> None:
        """Call ``act`` in the viewer's thread when somebody clicks."""
        handle.on_click(lambda _: self.commands.put(act))

    def on_ground(self, act: Callable[[np.ndarray], None]) -> None:
        """Call ``act([2])`` in the viewer's thread with each place on the ground, m, that is clicked."""

        @self._server.scene.on_click()
        def _(event: Any) -> None:
            start, ahead = np.array(event.ray_origin), np.array(event.ray_direction)
            if ahead[2] < -1e-3:
                place = (start - ahead * (start[2] / ahead[2]))[:2] - self._stage.origin[:2]
                self.commands.put(lambda: act(place))

    def toggle(self, playing: bool | None = None) -> None:
        """Go on, or pause."""
        self.playing = not self.playing if playing is None else playing
        self.pause.label = "pause" if self.playing else "play"
        self.pause.icon = "player-pause" if self.playing else "player-play"

    def restart(self, clip: int, time: float) -> None:
        """Begin a clip at a time (s)."""
        self.show.restart(clip, time)
        self.refit(time)

    def refit(self, time: float = 0.0) -> None:
        """Fit the slider to the length of what is shown now."""
        self._history.clear()
        if self.show.length > 0:
            self.slider.max = round(self.show.length, 3)
            self.slider.value = round(min(time, self.show.length), 3)

    def _slid(self, time: float) -> None:
        self.toggle(False)
        self.show.seek(min(time, self.show.length))

    def work(self) -> None:
        """Do what has been clicked since."""
        while not self.commands.empty():
            try:
                self.commands.get()()
            except UserError as error:
                for client in self._server.get_clients().values():
                    client.add_notification("this cannot be done", str(error), with_close_button=True, color="red")

    # --------------------------------------------------------------------------------------------------------- numbers

    def record(self, frame: Frame) -> None:
        """Remember the curves of a frame."""
        if self._plot_all.value:
            size = max(2, round(SECONDS / self.show.dt))
            for name, values in frame.curves.items():
                self._history.setdefault(name, deque(maxlen=size)).append(values)

    def write(self, frame: Frame) -> None:
        """Show the numbers of a frame."""
        self.title.content = f"**{frame.title or self.show.title}** &nbsp; {frame.time:.2f} s"
        self._bars.content = bars(frame.bars())
        if self.show.length > 0 and self.playing:
            self.slider.value = float(np.clip(round(frame.time, 3), 0.0, self.show.length))
        if self._plot_all.value:
            for name, past in self._history.items():
                if len(past) > 1:
                    self._plot(name, np.array(past))

    def _plot(self, name: str, rows: np.ndarray) -> None:
        """Draw ``rows [T, D]`` over the time until now: those of the DoFs that move most."""
        columns = np.sort(np.argsort(-np.ptp(rows, axis=0))[:LINES])
        times = (np.arange(len(rows)) - len(rows) + 1) * self.show.dt
        data = (times, *(np.ascontiguousarray(rows[:, column], dtype=np.float64) for column in columns))
        labels = self.show.dof_names
        lines = [
            {"label": labels[column] if column < len(labels) else str(column), "stroke": color, "width": 1.5}
            for column, color in zip(columns, COLORS, strict=False)
        ]
        series = ({"label": "s"}, *lines)
        if (plot := self._plots.get(name)) is None:
            with self._curves:
                self._plots[name] = self.gui.add_uplot(data, series, title=name, height=HEIGHT)
        else:
            plot.series, plot.data = series, data


def bars(values: Mapping[str, float]) -> str:
    """Numbers as bars from 0 to 1, in HTML; what is larger is a full bar and its number."""
    row = (
        '<div style="display:flex;align-items:center;font:12px sans-serif;margin:2px 12px">'
        '<span style="width:44%;overflow:hidden">{name}</span><span style="flex:1;background:#e4e7eb;height:9px">'
        '<span style="display:block;height:9px;width:{part:.0f}%;background:#4c7bd9"></span></span>'
        '<span style="width:20%;text-align:right">{value:.3g}</span></div>'
    )
    rows = [
        row.format(name=html.escape(name), part=100 * float(np.clip(np.nan_to_num(value), 0.0, 1.0)), value=value)
        for name, value in values.items()
    ]
    return "".join(rows)
