"""Shows the progress of a run: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

REFRESH = 0.1  # s between two pictures of the live table
WIDTH = 92
BAR_WIDTH = 60
COLORS = {"physics": "blue", "env": "cyan", "policy": "green", "update": "yellow", "test": "magenta", "other": "grey50"}
SPARKS = "▁▂▃▄▅▆▇█"
MEASURES = (("return", "Return"), ("length", "Episode_Length"))  # label, end of the log keys
LOSSES = ("Critic_Loss", "Actor_Loss", "Clip_Frac", "Disc_Loss", "Adv_Std", "Exp_Prob")


class Progress:
    """Live table of a run, or one plain line per output where there is no terminal. Use it as a context manager.

    ``has_reward``: the env pays something. Where only a discriminator does, returns are 0 throughout, so episode
    lengths and the pose error are shown in their place.
    """

    def __init__(
        self,
        title: str = "training",
        *,
        max_samples: float = math.inf,
        has_reward: bool = True,
        file: IO[str] | None = None,
        live: bool | None = None,
    ) -> None:
        self.console = Console(file=file, highlight=False, force_terminal=True if live else None)
        drawable = self.console.is_terminal and not self.console.is_dumb_terminal and _has_blocks(self.console.encoding)
        self.live_mode = drawable if live is None else live
        self.title = title
        self.max_samples = max_samples
        self.best_return = -math.inf
        self.measures = MEASURES if has_reward else MEASURES[1:]
        self._pose_error = math.nan
        self._history: list[float] = []
        self._checkpoint: tuple[str, float] | None = None
        self._live: Live | None = None
        self._drawn = -math.inf

    def __enter__(self) -> Progress:
        if self.live_mode:
            self._live = Live(console=self.console, auto_refresh=False, transient=False)
            self._live.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the last table on the screen and give the terminal back. Safe to call twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def note(self, line: str) -> None:
        """One line for the user, above the table."""
        self.console.print(line, markup=False, soft_wrap=True)

    def checkpoint(self, path: Path | None) -> None:
        """Show which checkpoint is the newest."""
        if path is not None:
            self._checkpoint = (Path(path).name, time.monotonic())

    def update(
        self,
        row: Mapping[str, float],
        fractions: Mapping[str, float],
        samples_per_s: float,
        eta_s: float,
        *,
        output: bool = True,
    ) -> None:
        """Show one iteration.

        ``row``: log keys; ``fractions``: seconds (or any unit) per section since the last call; ``eta_s`` may be
        infinite. ``output``: a test has just been run; only such iterations make a line where there is no terminal.
        """
        tested = row.get(f"Test_{self.measures[0][1]}", math.nan)
        if output and math.isfinite(tested):
            self.best_return = max(self.best_return, row.get("Test_Return", math.nan))
            self._history.append(tested)
            self._pose_error = row.get("Dtw_Pose_Err", math.nan)
        if self._live is None:
            if output:
                self.note(self._line(row, fractions, samples_per_s, eta_s))
            return
        now = time.monotonic()
        if output or now - self._drawn >= REFRESH:
            self._drawn = now
            self._live.update(self._panel(row, fractions, samples_per_s, eta_s), refresh=True)

    def _line(self, row: Mapping[str, float], fractions: Mapping[str, float], rate: float, eta: float) -> str:
        parts = [f"iter {_whole(row.get('Iteration'))}", f"samples {_whole(row.get('Samples'))}"]
        if math.isfinite(self.max_samples):
            parts[-1] += f"/{_whole(self.max_samples)}"
        parts += [f"{rate:,.0f} samples/s", f"elapsed {clock(_elapsed(row))}", f"eta {clock(eta)}"]
        for name in ("test", "train"):
            if f"{name.title()}_Return" in row:
                values = (f"{label} {_short(row.get(f'{name.title()}_{key}'))}" for label, key in self.measures)
                parts.append(f"{name} {' '.join(values)}")
        if self._tells_best():
            parts.append(f"best {_short(self.best_return)}")
        if math.isfinite(self._pose_error):
            parts.append(f"pose error {_centimetres(self._pose_error)}")
        shares = _shares(fractions)
        if shares:
            parts.append(" ".join(f"{name} {100 * share:.0f}%" for name, share in shares))
        return " | ".join(parts)

    def _panel(self, row: Mapping[str, float], fractions: Mapping[str, float], rate: float, eta: float) -> Panel:
        elapsed = _elapsed(row)
        done = elapsed / (elapsed + eta) if math.isfinite(eta) and elapsed + eta > 0 else 0.0
        samples = _whole(row.get("Samples"))
        if math.isfinite(self.max_samples):
            samples += f" [dim]of[/] {_whole(self.max_samples)}"
        table = Table.grid(padding=(0, 2))
        for style in ("dim", "bold", "dim", "bold"):
            table.add_column(style=style, no_wrap=True)
        table.add_row("samples", samples, "iteration", _whole(row.get("Iteration")))
        table.add_row("samples/s", f"{rate:,.0f}", "elapsed / left", f"{clock(elapsed)} / {clock(eta)}")
        for name in ("Test", "Train"):
            cells = [(f"{name.lower()} {label}", _short(row.get(f"{name}_{key}"))) for label, key in self.measures]
            if name == "Test":
                cells[0] = (cells[0][0], cells[0][1] + self._course())
            table.add_row(*(text for cell in cells for text in cell))
        if math.isfinite(self._pose_error):
            table.add_row("pose error", _centimetres(self._pose_error))
        losses = [(key, row[key]) for key in LOSSES if key in row]
        for left, right in zip(losses[::2], [*losses[1::2], ("", math.nan)], strict=False):
            table.add_row(_words(left[0]), _short(left[1]), _words(right[0]), _short(right[1]) if right[0] else "")
        if self._checkpoint is not None:
            name, when = self._checkpoint
            table.add_row("checkpoint", f"{name} [dim]({clock(time.monotonic() - when)} ago)[/]", "", "")
        parts: list[RenderableType] = [_done_bar(done), table]
        if fractions:
            parts += [_share_bar(fractions), _share_legend(fractions)]
        title = f"[bold]{escape(self.title)}[/]"
        width = min(WIDTH, self.console.width)
        return Panel(Group(*parts), title=title, title_align="left", border_style="blue", width=width)

    def _tells_best(self) -> bool:
        return self.measures[0][1] == "Return" and math.isfinite(self.best_return)

    def _course(self) -> str:
        """What the tests so far had: their best return and their line."""
        best = f" [dim](best {_short(self.best_return)})[/]" if self._tells_best() else ""
        return best + (f" [green]{sparkline(self._history)}[/]" if self._history else "")


def _has_blocks(encoding: str) -> bool:
    try:
        SPARKS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def clock(seconds: float) -> str:
    """Seconds as text: ``1:02:03`` or ``2:03``; a dash when unknown."""
    if not math.isfinite(seconds):
        return "-"
    minutes, second = divmod(int(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def sparkline(values: list[float], width: int = 12) -> str:
    """The last values as a line of block characters, scaled from the lowest to the highest of them."""
    values = values[-width:]
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARKS[round((value - low) * scale)] for value in values)


def _shares(fractions: Mapping[str, float]) -> list[tuple[str, float]]:
    total = sum(value for value in fractions.values() if value > 0)
    if total <= 0:
        return []
    order = {name: index for index, name in enumerate(COLORS)}
    named = sorted(fractions.items(), key=lambda item: order.get(item[0], len(order)))
    return [(name, value / total) for name, value in named if value > 0]


def _done_bar(done: float) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=1.0, completed=done, width=BAR_WIDTH), f"[bold]{100 * done:.0f} %[/]")
    return grid


def _share_bar(fractions: Mapping[str, float]) -> Text:
    bar, used, total = Text(), 0, 0.0
    for name, share in _shares(fractions):
        total += share
        end = round(BAR_WIDTH * total)  # rounding the sum keeps the bar's length
        bar.append("█" * (end - used), style=COLORS.get(name, COLORS["other"]))
        used = end
    return bar


def _share_legend(fractions: Mapping[str, float]) -> Text:
    legend = Text()
    for name, share in _shares(fractions):
        legend.append("■ ", style=COLORS.get(name, COLORS["other"]))
        legend.append(f"{name} {100 * share:.0f} %   ")
    return legend


def _elapsed(row: Mapping[str, float]) -> float:
    return 3600.0 * row.get("Wall_Time", 0.0)


def _whole(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{int(value):,}"


def _short(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def _centimetres(metres: float) -> str:
    return f"{100 * metres:.1f} cm"


def _words(key: str) -> str:
    return key.replace("_", " ").lower()
