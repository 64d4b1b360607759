"""What a worker imports runs on Python 3.8 with numpy, torch and its simulator, and drags nothing else in."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimickit_hydra.plugins import ENGINES

ROOT = Path(__file__).parents[2]
SERVED = [f"mimickit_hydra.engines.subprocess.{name}" for name in ("worker", "wire", "memory", "state")]


def file_of(module: str) -> Path:
    return ROOT / Path(*module.split(".")).with_suffix(".py")


def imported(path: Path) -> set[str]:
    """The modules of this package that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path), feature_version=(3, 8))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("mimickit_hydra.") and file_of(name).is_file()}


def what_a_worker_imports() -> list[str]:
    """Its own modules, every engine that it may be asked for, and what these import."""
    found: set[str] = set()
    todo = [*SERVED, *(entry.place.partition(":")[0] for entry in ENGINES.entries())]
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo += imported(file_of(module))
    return sorted(found)


NAMES = what_a_worker_imports()
MODULES = [file_of(name) for name in NAMES]
GENERICS = ("dict", "frozenset", "list", "set", "tuple", "type")


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in MODULES:
        yield path, ast.parse(path.read_text(), str(path), feature_version=(3, 8))


def test_a_worker_needs_no_other_room() -> None:
    assert {name.split(".")[1] for name in NAMES} == {"engines", "errors", "foreign", "mj", "motion"}
    motion = [name.rpartition(".")[2] for name in NAMES if ".motion." in name]
    # a file as MuJoCo reads it, and what comes out of it
    assert motion == ["drives", "hinges", "mjcf", "plain", "robot"]


def test_no_builtin_is_subscripted_outside_annotations() -> None:
    """``list[int]`` as a value needs Python 3.9; as an annotation it stays text."""
    for path, tree in trees():
        hints = {id(part) for node in ast.walk(tree) for hint in _annotations(node) for part in ast.walk(hint)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and id(node) not in hints:
                assert node.value.id not in GENERICS, f"{path.name}:{node.lineno}"
        if hints and path.name != "kernels.py":  # whose annotations Warp reads
            assert "from __future__ import annotations" in path.read_text(), path.name


def _annotations(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.FunctionDef):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        return [hint for hint in [node.returns, *(a.annotation for a in arguments if a)] if hint]
    return [node.annotation] if isinstance(node, ast.AnnAssign) else []


@pytest.mark.skipif(importlib.util.find_spec("vermin") is None, reason="vermin is not installed")
def test_vermin_finds_nothing_newer() -> None:
    command = [sys.executable, "-c", "from vermin.main import main; main()", "-t=3.8-", "--no-tips", "--violations"]
    done = subprocess.run([*command, *map(str, MODULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


IMPORT_ALL = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        found[name] = ""
    except Exception as error:
        found[name] = "{}: {}".format(type(error).__name__, error)
print(json.dumps(found))
"""


@pytest.mark.skipif("MIMICKIT_TEST_PYTHON38" not in os.environ, reason="MIMICKIT_TEST_PYTHON38 names no Python 3.8")
def test_every_module_can_be_imported() -> None:
    """By a Python 3.8 with numpy and torch; a module may miss its simulator there, and nothing else."""
    done = subprocess.run(
        [os.environ["MIMICKIT_TEST_PYTHON38"], "-c", IMPORT_ALL, *NAMES], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    needed = {package for entry in ENGINES.entries() for package in entry.facts["packages"]} | {"pxr"}
    for name, problem in found.items():
        assert not problem or any(f"No module named '{package}" in problem for package in needed), f"{name}: {problem}"
    for name in (*SERVED, "mimickit_hydra.engines.interface", "mimickit_hydra.engines.catalog"):
        assert found[name] == ""


def test_what_runs_before_the_simulator_imports_no_torch() -> None:
    imports = "import sys, mimickit_hydra.engines.subprocess.worker; "
    code = imports + "print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
