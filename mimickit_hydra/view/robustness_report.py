"""Reports how policies bear what they were not trained for, as a table and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimickit_hydra.files import write_atomic, write_text_atomic
from mimickit_hydra.view.curves import BLUE, GREEN, ORANGE

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # rows of each series: a policy on an engine


def table(results: Results, titles: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Heading and a row for each condition; of each series success and the error of the bodies' positions."""
    heading = ["varied", "value"]
    for name in results:
        before = f"{name}: " if len(results) > 1 else ""
        heading += [f"{before}success (%)", "body error (m)"]
    rows = [tuple(heading)]
    for columns in zip(*results.values(), strict=True):
        axis, value = columns[0]["axis"], columns[0]["value"]
        figures = []
        for row in columns:
            figures += [f"{100 * row['success_rate']:.0f}", f"{row['body_pos_err']:.3f}"]
        rows.append((titles.get(axis, axis), "" if math.isnan(value) else f"{value:g}", *figures))
    return rows


def write_results(folder: Path, results: Results, titles: Mapping[str, str]) -> list[Path]:
    """``robustness.json`` and ``robustness.png`` in ``folder``; returns their paths."""
    paths = [folder / "robustness.json", folder / "robustness.png"]
    content = {
        name: [{**row, "value": None if math.isnan(row["value"]) else row["value"]} for row in rows]
        for name, rows in results.items()
    }
    write_text_atomic(paths[0], json.dumps(content, indent=2) + "\n")
    figure = _draw(results, titles)
    write_atomic(paths[1], lambda file: figure.savefig(file, format="png", dpi=110))
    return paths


def _draw(results: Results, titles: Mapping[str, str]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    axes = list(dict.fromkeys(row["axis"] for rows in results.values() for row in rows))
    columns = min(4, len(axes))
    lines = -(-len(axes) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.5 * lines), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for k, axis in enumerate(axes):
        plot = figure.add_subplot(lines, columns, k + 1)
        for j, (name, rows) in enumerate(results.items()):
            own = [row for row in rows if row["axis"] == axis]
            success = [100 * row["success_rate"] for row in own]
            colour = (BLUE, ORANGE, GREEN)[j % 3]
            if any(math.isnan(row["value"]) for row in own):
                plot.bar([j], success, color=colour, label=name, width=0.6)
                plot.set_xticks([])
            else:
                plot.plot([row["value"] for row in own], success, color=colour, label=name, marker="o", markersize=3)
        plot.set_ylim(-3, 103)
        plot.set_title(titles.get(axis, axis), fontsize=9)
        if k % columns == 0:
            plot.set_ylabel("success (%)", fontsize=9)
        plot.tick_params(labelsize=8)
        if k == 0 and len(results) > 1:
            plot.legend(fontsize=7)
    return figure
