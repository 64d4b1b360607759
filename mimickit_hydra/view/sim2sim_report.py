"""Reports the test of one policy on several engines, as a table and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimickit_hydra.files import write_atomic, write_text_atomic
from mimickit_hydra.view.curves import BLUE, GREEN, ORANGE

# key, heading, unit, factor, format, colour
FIGURES: tuple[tuple[str, str, str, float, str, str], ...] = (
    ("return", "return", "", 1.0, ".1f", BLUE),
    ("episode_length", "episode", "steps", 1.0, ".0f", BLUE),
    ("success_rate", "success", "%", 100.0, ".0f", GREEN),
    ("root_pos_err", "root error", "m", 1.0, ".3f", ORANGE),
    ("body_pos_err", "body error", "m", 1.0, ".3f", ORANGE),
    ("dtw_pose_err", "pose error", "m", 1.0, ".3f", ORANGE),
)
Results = Mapping[str, Mapping[str, float]]  # of each engine


def figures_of(results: Results) -> list[tuple[str, str, str, float, str, str]]:
    """The figures that can be compared: no errors without a clip to follow, no returns where a discriminator pays."""
    paid = any(metrics["return"] for metrics in results.values())
    return [
        figure
        for figure in FIGURES
        if all(figure[0] in metrics for metrics in results.values()) and (paid or figure[0] != "return")
    ]


def table(results: Results, trained_on: str) -> list[tuple[str, ...]]:
    """Heading and one row for each engine; the first figure also as a share of that of the engine of the training."""
    shown = figures_of(results)
    first = shown[0][0]
    base = results.get(trained_on, {}).get(first)
    headings = [f"{heading} ({unit})" if unit else heading for _, heading, unit, *_ in shown]
    rows = [("engine", "episodes", *headings, "of the trained")]
    for engine, metrics in results.items():
        figures = [f"{metrics[key] * factor:{form}}" for key, _, _, factor, form, _ in shown]
        share = f"{100 * metrics[first] / base:.0f} %" if base else "-"
        name = f"{engine} (trained)" if engine == trained_on else engine
        rows.append((name, str(int(metrics["episodes"])), *figures, share))
    return rows


def write_results(folder: Path, results: Results, trained_on: str) -> list[Path]:
    """``sim2sim.json`` and ``sim2sim.png`` in ``folder``; returns their paths."""
    paths = [folder / "sim2sim.json", folder / "sim2sim.png"]
    content = {"trained_on": trained_on, "engines": {name: dict(metrics) for name, metrics in results.items()}}
    write_text_atomic(paths[0], json.dumps(content, indent=2) + "\n")
    figure = _draw(results, trained_on)
    write_atomic(paths[1], lambda file: figure.savefig(file, format="png", dpi=110))
    return paths


def _draw(results: Results, trained_on: str) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = figures_of(results)
    figure = Figure(figsize=(2.4 * len(shown), 3.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for index, (key, heading, unit, factor, form, colour) in enumerate(shown):
        values = [metrics[key] * factor for metrics in results.values()]
        axes = figure.add_subplot(1, len(shown), index + 1)
        _bars(axes, list(results), values, trained_on, colour)
        axes.set_title(f"{heading} ({unit})" if unit else heading, fontsize=10)
        for place, value in enumerate(values):
            axes.annotate(format(value, form), (place, value), ha="center", va="bottom", fontsize=8)
    return figure


def _bars(axes: Any, engines: Sequence[str], values: Sequence[float], trained_on: str, colour: str) -> None:
    bars = axes.bar(range(len(engines)), values, color=colour, width=0.6)
    for engine, bar in zip(engines, bars, strict=True):
        bar.set_alpha(1.0 if engine == trained_on else 0.55)
    axes.set_xticks(range(len(engines)), engines, fontsize=9)
    axes.set_ylim(0.0, 1.15 * max([*values, 1e-9]))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
