"""The floors of the house: the contract holds, nothing imports in a circle, no string names a room above."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "mimickit_hydra").rglob("*.py"))
    if path.name != "__init__.py"
}
DOTTED = re.compile(r"mimickit_hydra(?:\.\w+)+")


def floors() -> dict[str, int]:
    """The floor of each room and each module of the ground, from the top as 0."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = settings["contracts"][0]["layers"]
    return {name.strip(" ()"): floor for floor, layer in enumerate(layers) for name in layer.split(":")}


def nodes(path: Path) -> Iterator[ast.AST]:
    """Everything in a module except what only a type checker reads."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"):
            yield node
            waiting.extend(ast.iter_child_nodes(node))


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names & set(FILES)


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: imports(path) - {name} for name, path in FILES.items()}
    while leaves := [name for name, needed in graph.items() if not needed]:
        for name in leaves:
            del graph[name]
        graph = {name: needed & set(graph) for name, needed in graph.items()}
    used = {name for needed in graph.values() for name in needed}
    assert sorted(set(graph) & used) == []  # each of these imports another one of them


def test_no_string_names_a_module_of_a_room_above() -> None:
    """A command line such as ``-m mimickit_hydra.cli.main`` in a list is an arrow upwards that no import shows."""
    floor, upwards = floors(), []
    for name, path in FILES.items():
        room = name.split(".")[1]
        for node in nodes(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for found in DOTTED.findall(node.value):
                    if floor.get(found.split(".")[1], 99) < floor[room]:
                        upwards.append(f"{name}:{node.lineno}: {found}")
    assert upwards == []


@pytest.mark.skipif(shutil.which("lint-imports", path=str(Path(sys.executable).parent)) is None, reason="import-linter")
def test_the_contract_of_the_floors() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
