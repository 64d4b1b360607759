"""Learning curves as inline SVG: a line for each group, its confidence band, axes with round numbers."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np

from mimickit_hydra.runtime.report_data import Curve

WIDTH, HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 12, 40


def chart(curves: Sequence[Curve], styles: Mapping[str, str], title: str) -> str:
    """An SVG element. ``styles`` gives the CSS class of each group; the page defines the colours."""
    x_low, x_high = _range([curve.x for curve in curves])
    y_low, y_high = _range([part for curve in curves for part in (curve.mean, curve.low, curve.high)])
    y_low, y_high = _padded(y_low, y_high)
    scale, unit = _unit(x_high)

    def px(x: np.ndarray | float) -> np.ndarray:
        return np.asarray(_LEFT + (np.asarray(x) - x_low) / max(x_high - x_low, 1e-12) * (WIDTH - _LEFT - _RIGHT))

    def py(y: np.ndarray | float) -> np.ndarray:
        return np.asarray(HEIGHT - _BOTTOM - (np.asarray(y) - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM))

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">']
    for tick in ticks(y_low, y_high):
        y = float(py(tick))
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in ticks(x_low / scale, x_high / scale):
        x = float(px(tick * scale))
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 22}" text-anchor="middle">{number(tick)}</text>')
    base = HEIGHT - _BOTTOM
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text class="label" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">samples{unit}</text>')
    for curve in curves:
        parts.append(_group(curve, styles[curve.group], px(curve.x), py(curve.low), py(curve.high), py(curve.mean)))
    return "".join(parts) + "</svg>"


def _group(curve: Curve, style: str, x: np.ndarray, low: np.ndarray, high: np.ndarray, mean: np.ndarray) -> str:
    note = f"{curve.group}: {number(float(curve.mean[-1]))} after {curve.x[-1]:,.0f} samples ({_runs(curve.runs)})"
    drawn = np.isfinite(low) & np.isfinite(high)
    body = f"<title>{html.escape(note)}</title>"
    if drawn.sum() > 1:
        outline = [*zip(x[drawn], low[drawn], strict=True), *reversed(list(zip(x[drawn], high[drawn], strict=True)))]
        body += f'<polygon class="band" points="{_points(outline)}"/>'
    if len(x) > 1:
        body += f'<polyline class="mean" points="{_points(list(zip(x, mean, strict=True)))}"/>'
    body += f'<circle class="end" cx="{x[-1]:.1f}" cy="{mean[-1]:.1f}" r="3"/>'
    return f'<g class="{style}">{body}</g>'


def _runs(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _range(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    values = np.concatenate([array[np.isfinite(array)] for array in arrays])
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def _padded(low: float, high: float) -> tuple[float, float]:
    """A little room, zero as the floor of what is never negative, and never an empty range."""
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    floor = 0.0 if low >= 0 and low < 0.6 * high else low - room
    return (max(floor, 0.0) if low >= 0 else floor), high + room


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers between ``low`` and ``high``."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _unit(largest: float) -> tuple[float, str]:
    for size, name in ((1e9, "billions"), (1e6, "millions"), (1e4, "thousands")):
        if largest >= size:
            return (1e3 if name == "thousands" else size), f" ({name})"
    return 1.0, ""


def number(value: float) -> str:
    """Short and without noise: ``1,234``, ``0.0125``, ``3.1e-05``."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.2g}"


__all__ = ["HEIGHT", "WIDTH", "chart", "number", "ticks"]
