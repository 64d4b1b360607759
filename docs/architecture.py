"""Draws docs/images/architecture.svg from the imports of the code, and writes the table of parts into its page.

python docs/architecture.py
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "mimickit_hydra"
PAGE, PICTURE = DOCS / "architecture.md", DOCS / "images" / "architecture.svg"
TABLE = re.compile(r"(<!-- parts -->\n).*?(<!-- end -->)", re.DOTALL)
GROUND = "ground"
WIDTH, HEIGHT, LAYER = 3.1, 0.82, 1.3  # of a part, and from layer to layer


def modules() -> dict[str, list[Path]]:
    """The files of every sub-package; a module beside the sub-packages is a part of its own."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        if not inside.name.startswith("__") or inside.parent.name:
            found.setdefault(inside.parts[0].removesuffix(".py"), []).append(path)
    return found


def summary(part: str) -> str:
    """The first sentence of a part's docstring."""
    file = PACKAGE / part / "__init__.py"
    text = ast.get_docstring(ast.parse((file if file.exists() else PACKAGE / f"{part}.py").read_text("utf-8"))) or ""
    first = text.split("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=\.) ", first)[0].replace("``", "`")


def imported(path: Path) -> Iterator[str]:
    """The parts that a file imports from, also inside functions; not what only a type checker reads."""
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        waiting.extend(ast.iter_child_nodes(node))
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        yield from (name.split(".")[1] for name in names if name.startswith("mimickit_hydra."))


def arrows() -> dict[str, set[str]]:
    """The parts that each part imports from; modules that need no part are the ground."""
    parts = modules()
    direct = {part: {name for path in files for name in imported(path)} & set(parts) - {part}
              for part, files in parts.items()}  # fmt: skip
    ground = {part for part in parts if not (PACKAGE / part).is_dir() and not any(
        (PACKAGE / name).is_dir() for name in direct[part])}  # fmt: skip
    found = {
        part: {GROUND if name in ground else name for name in direct[part]} for part in parts if part not in ground
    }
    return {**found, GROUND: set()}


def needed(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that do not follow from others: what a part imports and none of the parts it imports does."""

    @functools.cache
    def below(part: str) -> frozenset[str]:
        return frozenset(name for other in graph[part] for name in {other, *below(other)})

    return {
        part: {name for name in names if not any(name in below(other) for other in names - {name})}
        for part, names in graph.items()
    }


def layers(graph: dict[str, set[str]]) -> dict[str, int]:
    """The layer of each part: one above the highest part that it imports from."""

    @functools.cache
    def layer(part: str) -> int:
        return 1 + max((layer(name) for name in graph[part]), default=-1)

    return {part: layer(part) for part in graph}


def place(graph: dict[str, set[str]], layer: dict[str, int]) -> tuple[dict[str, float], list[list[str]]]:
    """The horizontal place of each part, and the parts and points that each arrow passes, from its upper end."""
    paths = []
    levels: list[list[str]] = [[] for _ in range(max(layer.values()) + 1)]
    for part in sorted(graph):
        levels[layer[part]].append(part)
        for name in sorted(graph[part]):
            points = [f"{part}>{name}>{level}" for level in range(layer[part] - 1, layer[name], -1)]
            for level, point in zip(range(layer[part] - 1, layer[name], -1), points, strict=True):
                levels[level].append(point)
            paths.append([part, *points, name])
    beside: dict[str, list[str]] = {}
    for path in paths:
        for upper, lower in itertools.pairwise(path):
            beside.setdefault(upper, []).append(lower)
            beside.setdefault(lower, []).append(upper)
    at = {name: float(index) for level in levels for index, name in enumerate(level)}
    for _ in range(60):  # each moves to the middle of those it is joined to, as far as there is space
        for level in [*levels, *reversed(levels)]:
            _settle(level, {name: sum(at[other] for other in beside[name]) / len(beside[name]) for name in level}, at)
    return at, paths


def _settle(level: list[str], wanted: dict[str, float], at: dict[str, float]) -> None:
    """Put the level's parts and points in the order of their wanted places, without overlap."""
    level.sort(key=lambda name: wanted[name])
    placed: list[float] = []
    for left, name in zip([None, *level], level, strict=False):
        gap = 0.0 if left is None else sum(0.3 if ">" in one else WIDTH / 2 + 0.2 for one in (left, name))
        placed.append(max(wanted[name], placed[-1] + gap) if placed else wanted[name])
    shift = sum(wanted[name] - x for name, x in zip(level, placed, strict=True)) / len(level)
    at.update({name: x + shift for name, x in zip(level, placed, strict=True)})


def draw(graph: dict[str, set[str]]) -> None:
    """Write the picture; the same code gives the same file."""
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "mimickit-hydra", "font.family": "sans-serif"})
    layer = layers(graph)
    at, paths = place(graph, layer)
    figure, axes = plt.subplots(figsize=(10, 11))
    y = {name: LAYER * (layer[name] if name in layer else int(name.split(">")[2])) for name in at}
    for path in paths:
        points = [(at[name], y[name]) for name in path]
        points[0] = (points[0][0], points[0][1] - HEIGHT / 2)
        points[-1] = (points[-1][0], points[-1][1] + HEIGHT / 2)
        axes.plot(*zip(*points[:-1], strict=True), color="#8a94a6", lw=1.2, zorder=1)
        axes.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "-|>", "color": "#8a94a6", "lw": 1.2,
                      "shrinkA": 0, "shrinkB": 0}, zorder=1)  # fmt: skip
    low, high = min(at.values()) - WIDTH / 2, max(at.values()) + WIDTH / 2
    for part in graph:
        wide = (high - low) / 2 if part == GROUND else WIDTH / 2
        middle = (high + low) / 2 if part == GROUND else at[part]
        axes.add_patch(
            plt.Rectangle((middle - wide, y[part] - HEIGHT / 2), 2 * wide, HEIGHT, fc="#eef3fb", ec="#3b5b92")
        )
        text = ", ".join(name for name in modules() if name not in graph) if part == GROUND else summary(part)
        lines = textwrap.fill(text.replace("`", ""), 38 if part != GROUND else 120, max_lines=2)
        style = {"ha": "center", "va": "center", "color": "#1d2b44"}
        axes.text(middle, y[part] + 0.2, part, fontsize=11, weight="bold", **style)
        axes.text(middle, y[part] - 0.14, lines, fontsize=5.8, **style)
    axes.set_xlim(low - 0.2, high + 0.2)
    axes.set_ylim(-0.6, LAYER * max(layer.values()) + 0.6)
    axes.axis("off")
    figure.savefig(PICTURE, bbox_inches="tight", metadata={"Date": None, "Creator": None})


def table(graph: dict[str, set[str]]) -> str:
    """The parts from the top, each with the first line of its docstring."""
    layer = layers(graph)
    names = sorted((part for part in graph if part != GROUND), key=lambda part: (-layer[part], part))
    rows = [*names, *(part for part in modules() if part not in graph)]
    lines = [f"| `{part}{'/' * (PACKAGE / part).is_dir()}` | {summary(part)} |" for part in rows]
    return "\n".join(["| | |", "|---|---|", *lines, ""])


def main() -> None:
    graph = arrows()
    draw(needed(graph))
    page = PAGE.read_text("utf-8")
    PAGE.write_text(TABLE.sub(lambda match: match[1] + table(graph) + match[2], page), "utf-8")


if __name__ == "__main__":
    main()
