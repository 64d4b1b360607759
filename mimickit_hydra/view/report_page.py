"""Writes the report as one HTML page that needs no network, and as a CSV file."""

from __future__ import annotations

import csv
import io
import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from mimickit_hydra.files import write_text_atomic
from mimickit_hydra.view.curves import samples_unit
from mimickit_hydra.view.report_data import (
    CLIP_FIGURES,
    CURVES,
    FIGURES,
    Curve,
    Grouping,
    Report,
    RunData,
    short,
    shown,
)

COLOURED = 8  # groups with a colour of their own; the best by their last value
_FILES = ("output.log", "log.txt", "config.yaml", "clips.csv")
_ORDER = ("finished", "running", "queued", "preempted", "stopped", "missing", "lost", "failed")
_WIDTH, _HEIGHT = 560, 300  # of a chart
_LEFT, _RIGHT, _TOP, _BASE = 56, 546, 12, 260  # of what is inside its axes


def write_report(report: Report, page: Path) -> tuple[Path, Path]:
    """Write the page and, beside it, the same table as CSV. Links are relative to the page."""
    table = page.with_suffix(".csv")
    write_text_atomic(table, csv_text(report))
    write_text_atomic(page, html_text(report, page))
    return page, table


def csv_text(report: Report) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [name for name, _, _ in FIGURES]
    writer.writerow(["run", "state", *report.varied, *names, "error", "path"])
    for data in report.runs:
        settings = [shown(data.settings.get(key)) for key in report.varied]
        figures = [repr(data.figures[name]) if name in data.figures else "" for name in names]
        where = os.path.relpath(data.run.path, report.path)
        writer.writerow([data.name, data.run.state, *settings, *figures, data.run.detail.error or "", where])
    return out.getvalue()


def html_text(report: Report, page: Path) -> str:
    """The text of the page: ``report.html`` beside this module, filled in."""
    import jinja2

    def relative(path: Path, folder: bool = False) -> str:
        return quote(os.path.relpath(path, page.absolute().parent)) + ("/" if folder else "")

    loader = jinja2.PackageLoader("mimickit_hydra", "view")
    env = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    env.filters |= {"relative": relative, "short": short, "shown": shown, "number": number, "px": "{:.1f}".format}
    env.filters["files"] = lambda folder: [folder / name for name in _FILES if (folder / name).is_file()]
    known = {name for data in report.runs for name in data.figures} - {"joint_rot_err"}  # the CSV has that one too
    styles = [_styles(grouping) for grouping in report.groupings]
    counts = Counter(data.run.state for data in report.runs)
    return env.get_template("report.html").render(
        report=report,
        title=f"{report.path.absolute().parent.name}/{report.path.absolute().name}",
        states=[(name, counts[name]) for name in _ORDER if counts[name]],
        best=_best_run(report),
        views=[_view(grouping, style) for grouping, style in zip(report.groupings, styles, strict=True)],
        several=any(curve.runs > 1 for curves in report.curves.values() for curve in curves),
        dots=_dots(report, styles),
        figures=[(*entry, _best(report.runs, entry[0])) for entry in FIGURES if entry[0] in known],
        failed=[data for data in report.runs if data.run.detail.error and data.run.state in ("failed", "lost")],
        tested=[data for data in report.runs if data.clips],
        clip_figures=CLIP_FIGURES,
        filmed=[data for data in report.runs if data.video is not None],
        now=time.strftime("%Y-%m-%d %H:%M"),
    )


def _best_run(report: Report) -> dict[str, Any] | None:
    """The best run and the figure that says so. A task without a reward of its own has no return."""
    for name, words, choose in (("best_return", "Best test return", max), ("dtw_pose_err", "Smallest pose error", min)):
        known = [data for data in report.runs if name in data.figures]
        if known:
            return {"name": name, "words": words, "data": choose(known, key=lambda data: data.figures[name])}
    return None


def _styles(grouping: Grouping) -> dict[str, str]:
    """CSS class of every group: the best ones have colours, the others are grey."""
    main = next(iter(grouping.curves.values()), [])
    last = {curve.group: float(curve.mean[-1]) for curve in main}
    best = sorted(grouping.groups, key=lambda group: -last.get(group, -float("inf")))[:COLOURED]
    coloured = [group for group in grouping.groups if group in best and group in last]
    return {group: f"g{coloured.index(group)}" if group in coloured else "rest" for group in grouping.groups}


def _dots(report: Report, styles: Sequence[dict[str, str]]) -> dict[Path, list[str]]:
    """The CSS class of each run's dot in every view, by the path of the run."""
    classes: dict[Path, list[str]] = {}
    for grouping, style in zip(report.groupings, styles, strict=True):
        for group, members in grouping.groups.items():
            for data in members:
                classes.setdefault(data.run.path, []).append(style[group])
    return classes


def _best(runs: Sequence[RunData], name: str) -> float | None:
    values = [data.figures[name] for data in runs if name in data.figures]
    if len(values) < 2 or name in ("samples", "samples_per_second") or min(values) == max(values):
        return None
    return min(values) if name.endswith(("_err", "_clips", "mpkpe")) else max(values)


def _view(grouping: Grouping, styles: dict[str, str]) -> dict[str, Any]:
    """Legend and charts of one way to group the runs."""
    drawn = {curve.group for curves in grouping.curves.values() for curve in curves}
    groups = [(styles[group], group, len(members)) for group, members in grouping.groups.items() if group in drawn]
    return {
        "title": grouping.title,
        "legend": [entry for entry in groups if entry[0] != "rest"],
        "rest": sum(style == "rest" for style, _, _ in groups),
        "charts": [
            (title, unit, _chart(grouping.curves[key], styles)) for key, title, unit in CURVES if key in grouping.curves
        ],
    }


def _chart(curves: Sequence[Curve], styles: dict[str, str]) -> dict[str, Any]:
    """The places of everything in a chart; grey lines lie behind the coloured ones."""
    x_low, x_high = _range([curve.x for curve in curves])
    y_low, y_high = _padded(*_range([part for curve in curves for part in (curve.mean, curve.low, curve.high)]))
    scale, unit = samples_unit(x_high)

    def px(x: Any) -> Any:
        return _LEFT + (x - x_low) / max(x_high - x_low, 1e-12) * (_RIGHT - _LEFT)

    def py(y: Any) -> Any:
        return _BASE - (y - y_low) / (y_high - y_low) * (_BASE - _TOP)

    def points(x: np.ndarray, y: np.ndarray) -> str:
        return " ".join(f"{px(a):.1f},{py(b):.1f}" for a, b in zip(x, y, strict=True))

    lines = []
    for curve in sorted(curves, key=lambda curve: styles[curve.group] != "rest"):
        runs = f"{curve.runs} run{'s' if curve.runs != 1 else ''}"
        seen = np.isfinite(curve.low) & np.isfinite(curve.high)
        x, low, high = curve.x[seen], curve.low[seen], curve.high[seen]
        lines.append({
            "style": styles[curve.group],
            "note": f"{curve.group}: {number(float(curve.mean[-1]))} after {curve.x[-1]:,.0f} samples ({runs})",
            "band": f"{points(x, low)} {points(x[::-1], high[::-1])}" if len(x) > 1 else "",
            "mean": points(curve.x, curve.mean),
            "x": px(curve.x[-1]),
            "y": py(curve.mean[-1]),
        })  # fmt: skip
    return {
        "width": _WIDTH, "height": _HEIGHT, "left": _LEFT, "right": _RIGHT, "base": _BASE, "unit": unit,
        "x_ticks": [(px(tick * scale), number(tick)) for tick in ticks(x_low / scale, x_high / scale)],
        "y_ticks": [(py(tick), number(tick)) for tick in ticks(y_low, y_high)],
        "lines": lines,
    }  # fmt: skip


def _range(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    values = np.concatenate([array[np.isfinite(array)] for array in arrays])
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def _padded(low: float, high: float) -> tuple[float, float]:
    """The range with some margin: from zero for what is never negative, and never empty."""
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    floor = 0.0 if low >= 0 and low < 0.6 * high else low - room
    return (max(floor, 0.0) if low >= 0 else floor), high + room


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers between ``low`` and ``high``."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if high > low else [low]
    room = 1e-9 * abs(high - low)
    return [round(float(tick), 12) for tick in found if low - room <= tick <= high + room]


def number(value: float) -> str:
    """A number as short text without noise: ``1,234``, ``0.0125``, ``3.1e-05``."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.2g}"
