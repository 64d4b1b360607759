"""Draws the learning curves of a run as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.files import write_atomic
from mimickit_hydra.runs.log_table import read_log

BLUE, ORANGE, GREEN, RED, GREY = "#2f6db3", "#e08a2c", "#4f9d3f", "#c44e4e", "#8a8a8a"

LABEL_GAP = 0.07  # between the last values written beside a panel, of its height

# title, unit, [(key, label, colour)]
PANELS: tuple[tuple[str, str, tuple[tuple[str, str, str], ...]], ...] = (
    ("Return", "per episode", (("Train_Return", "train", GREY), ("Test_Return", "test", BLUE))),
    ("Episode length", "steps", (("Train_Episode_Length", "train", GREY), ("Test_Episode_Length", "test", BLUE))),
    ("Speed", "samples/s", (("Samples_Per_Second", "samples/s", GREEN),)),
    ("Critic loss", "", (("Critic_Loss", "critic", ORANGE),)),
    ("Actor loss", "", (("Actor_Loss", "actor", ORANGE),)),
    ("Policy", "", (("Clip_Frac", "clipped fraction", RED), ("Exp_Prob", "exploration", GREY))),
    ("Discriminator loss", "", (("Disc_Loss", "total", RED), ("Disc_Grad_Penalty", "gradient penalty", GREY))),
    (
        "Discriminator accuracy",
        "",
        (
            ("Disc_Agent_Acc", "agent", BLUE),
            ("Disc_Demo_Acc", "demo", ORANGE),
            ("Disc_Neg_Acc", "differences", BLUE),
            ("Disc_Pos_Acc", "none", ORANGE),
        ),
    ),
    ("Discriminator reward", "mean of an iteration", (("Disc_Reward_Mean", "reward", GREEN),)),
    (
        "Tracking error",
        "m",
        (
            ("Root_Pos_Err", "root", BLUE),
            ("Body_Pos_Err", "body", ORANGE),
            ("Dtw_Pose_Err", "pose, time-warped", GREEN),
        ),
    ),
)


def plot_curves(run_dir: Path) -> Path:
    """Draw ``run_dir/curves.png`` from ``run_dir/log.txt`` over samples; UserError when there is nothing to draw."""
    run_dir = Path(run_dir)
    log = run_dir / "log.txt"
    if not log.exists():
        raise UserError(f"{log} does not exist; curves are drawn from the text log (logger.txt=true)")
    table = read_log(log)
    if "Samples" not in table or not len(table["Samples"]):
        raise UserError(f"{log} has no complete row with a Samples column yet")
    figure = _draw(table, run_dir.name)
    path = run_dir / "curves.png"
    write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=110))
    return path


def _draw(table: Mapping[str, np.ndarray], title: str) -> Any:
    # The object interface needs no pyplot: no global state, no display, nothing to close.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [panel for panel in PANELS if any(_drawn(table, key) for key, _, _ in panel[2])]
    columns = 3
    rows = max(1, -(-len(panels) // columns))
    width, height = 4.3 * columns, 2.9 * rows + 0.5
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    # Fixed margins in inches: a layout that fits itself draws everything twice, half of what a short run takes.
    figure.subplots_adjust(
        left=0.7 / width, right=1 - 0.6 / width, bottom=0.5 / height, top=1 - 0.75 / height, wspace=0.38, hspace=0.4
    )
    size, unit = samples_unit(float(table["Samples"].max()))
    samples = table["Samples"] / size
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        _panel(axes, table, samples, *panel)
        axes.set_xlabel(f"samples{unit}", fontsize=8, color="#444444")
    figure.suptitle(_headline(table, title), fontsize=11, x=0.01, y=1 - 0.12 / height, ha="left", va="top")
    return figure


def _panel(
    axes: Any,
    table: Mapping[str, np.ndarray],
    samples: np.ndarray,
    title: str,
    unit: str,
    lines: tuple[tuple[str, str, str], ...],
) -> None:
    last: list[tuple[float, str]] = []
    for key, label, color in lines:
        if not _drawn(table, key):
            continue
        values, few = table[key], len(samples) < 30
        good = np.isfinite(values)
        axes.plot(
            samples[good], values[good], color=color, label=label, linewidth=1.6, marker="o" if few else None, ms=3
        )
        last.append((float(values[good][-1]), color))
    axes.set_title(title + (f"  [{unit}]" if unit else ""), fontsize=9.5, loc="left", fontweight="bold")
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")
    axes.tick_params(labelsize=8, color="#bbbbbb", labelcolor="#444444")
    axes.margins(y=0.12)
    width = max(samples[-1] - samples[0], 1e-9)
    axes.set_xlim(samples[0] - 0.02 * width, samples[-1] + 0.02 * width)
    if all(np.nanmin(table[key]) >= 0 for key, _, _ in lines if _drawn(table, key)):
        axes.set_ylim(bottom=0)
    _label_last(axes, last)
    if len(lines) > 1:
        axes.legend(fontsize=7.5, frameon=False, loc="best")


def _label_last(axes: Any, last: list[tuple[float, str]]) -> None:
    """Write the last value of each line beside the panel, pushed apart where they would lie on one another."""
    low, high = axes.get_ylim()
    heights = spread([(value - low) / (high - low) for value, _ in last], LABEL_GAP)
    for (value, color), height in zip(last, heights, strict=True):
        axes.text(1.01, height, f"{value:.4g}", transform=axes.transAxes, fontsize=7.5, color=color, va="center")


def spread(heights: list[float], gap: float) -> list[float]:
    """Heights in the same order from low to high, at least ``gap`` apart, each cluster about its own centre."""
    clusters: list[list[int]] = []  # indices into heights, from low to high
    centers: list[float] = []
    for index in sorted(range(len(heights)), key=heights.__getitem__):
        clusters.append([index])
        centers.append(heights[index])
        while len(clusters) > 1 and centers[-1] - centers[-2] < gap * (len(clusters[-1]) + len(clusters[-2])) / 2:
            merged = clusters.pop(-2) + clusters.pop()
            clusters.append(merged)
            centers[-2:] = [sum(heights[one] for one in merged) / len(merged)]
    placed = list(heights)
    for members, center in zip(clusters, centers, strict=True):
        for place, index in enumerate(members):
            placed[index] = center + gap * (place - (len(members) - 1) / 2)
    return placed


def _drawn(table: Mapping[str, np.ndarray], key: str) -> bool:
    """Whether a line is worth drawing: a method whose env has no reward logs returns of 0 throughout."""
    return _has(table, key) and not (key.endswith("_Return") and not np.nan_to_num(table[key]).any())


def _has(table: Mapping[str, np.ndarray], key: str) -> bool:
    return key in table and bool(np.isfinite(table[key]).any())


def samples_unit(largest: float) -> tuple[float, str]:
    """What to divide numbers of samples up to ``largest`` by, and its name behind the axis."""
    for size, name in ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands")):
        if largest >= size:
            return size, f" ({name})"
    return 1.0, ""


def _headline(table: Mapping[str, np.ndarray], title: str) -> str:
    parts = [title, f"{np.nan_to_num(table['Samples'][-1]):,.0f} samples"]
    if _has(table, "Wall_Time"):
        parts.append(f"{60 * table['Wall_Time'][-1]:.1f} min")
    if _drawn(table, "Test_Return"):
        parts.append(f"best test return {np.nanmax(table['Test_Return']):.4g}")
    elif _has(table, "Test_Episode_Length"):
        parts.append(f"longest test episodes {np.nanmax(table['Test_Episode_Length']):.4g} steps")
    return "   |   ".join(parts)
