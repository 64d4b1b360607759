"""Does every call of Isaac Gym in a module exist, with arguments that fit? By reading the code, without Isaac Gym.

Followed are: calls on ``gym`` and ``self.gym`` (also under a local name), ``gymapi`` names, classes and their
constructors, ``gymtorch``, and the fields of what was made by a ``gymapi`` class or returned by a call.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

EMULATOR = Path(__file__).parents[1] / "emulator"
_GYM_NAMES = ("gym", "_gym")


def load_module(path: Path) -> ModuleType:
    """A module of the emulator's folder, without making that folder importable."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


stubs = load_module(EMULATOR / "isaacgym_stubs.py")


class Kind(NamedTuple):
    """What an expression is: a class of ``gymapi``, or a list of them."""

    name: str
    is_list: bool = False


class Report(NamedTuple):
    errors: list[str]  # "line: what is wrong"
    used: set[str]  # names of Isaac Gym


def _parameter(name: str, optional: bool = False) -> Any:
    return stubs.Parameter(name, "", optional)


GYMTORCH = {  # not among the stubs
    "wrap_tensor": [
        stubs.Signature((_parameter("gym_tensor"), _parameter("offsets", True), _parameter("counts", True)))
    ],
    "unwrap_tensor": [stubs.Signature((_parameter("torch_tensor"),))],
}


def check(source: str, stub: Any) -> Report:
    """Check the text of a module."""
    report = Report([], set())
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(child) for function in functions for child in ast.walk(function)}
    for scope in functions:
        _Scope(stub, report).check(list(ast.walk(scope)))
    _Scope(stub, report).check([node for node in ast.walk(tree) if id(node) not in inside])
    report.errors[:] = sorted(set(report.errors))
    return report


class _Scope:
    def __init__(self, stub: Any, report: Report) -> None:
        self.stub, self.report = stub, report
        self.gym = stub.classes["Gym"].methods
        self.kinds: dict[str, Kind] = {}
        self.gyms: set[str] = set(_GYM_NAMES)

    def check(self, nodes: list[ast.AST]) -> None:
        for node in nodes:
            if isinstance(node, ast.Assign):
                self.learn(node)
        for node in nodes:
            if isinstance(node, ast.Call):
                self.check_call(node)
            elif isinstance(node, ast.Attribute):
                self.check_attribute(node)

    def error(self, node: Any, text: str) -> None:
        self.report.errors.append(f"{node.lineno}: {text}")

    def learn(self, node: ast.Assign) -> None:
        """Remember what a local name stands for."""
        pairs = [(target, node.value) for target in node.targets]
        for target, value in list(pairs):
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs += zip(target.elts, value.elts, strict=True)
        for target, value in pairs:
            if isinstance(target, ast.Name):
                kind = self.kind_of(value)
                if kind:
                    self.kinds[target.id] = kind
                if self.is_gym(value):
                    self.gyms.add(target.id)

    def is_gym(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr in _GYM_NAMES
        return isinstance(node, ast.Name) and node.id in self.gyms

    def kind_of(self, node: ast.AST) -> Kind | None:
        if isinstance(node, ast.Name):
            return self.kinds.get(node.id)
        if isinstance(node, ast.Subscript):
            kind = self.kind_of(node.value)
            return Kind(kind.name) if kind and kind.is_list else None
        if isinstance(node, ast.Attribute):
            owner = self.kind_of(node.value)
            name = self.stub.classes[owner.name].fields.get(node.attr) if owner and not owner.is_list else None
            return Kind(name) if name in self.stub.classes else None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return self.kind_of_call(node.func)
        return None

    def kind_of_call(self, function: ast.Attribute) -> Kind | None:
        if _dotted(function.value) == "gymapi":
            return Kind(function.attr) if function.attr in self.stub.classes else None
        signatures = self.gym.get(function.attr, []) if self.is_gym(function.value) else []
        for signature in signatures:
            if signature.returns in self.stub.classes:
                return Kind(signature.returns)
            if signature.returns == "List" and signature.of in self.stub.classes:
                return Kind(signature.of, True)
        return None

    def check_call(self, node: ast.Call) -> None:
        if not isinstance(node.func, ast.Attribute):
            return
        name, owner = node.func.attr, node.func.value
        if self.is_gym(owner):
            self.fits(node, f"gym.{name}", self.gym.get(name))
        elif _dotted(owner) == "gymtorch":
            self.fits(node, f"gymtorch.{name}", GYMTORCH.get(name))
        elif _dotted(owner) == "gymapi" and name in self.stub.classes:
            self.fits(node, f"gymapi.{name}", self.stub.classes[name].methods.get("__init__"))
        elif _dotted(owner) == "gymapi":
            self.fits(node, f"gymapi.{name}", self.stub.functions.get(name))

    def fits(self, node: ast.Call, name: str, signatures: Any) -> None:
        self.report.used.add(name)
        if signatures is None:
            self.error(node, f"{name} does not exist")
            return
        keywords = {keyword.arg for keyword in node.keywords}
        if None in keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            return  # the emulator checks these when they run
        problems = [signature.problem(len(node.args), keywords) for signature in signatures]
        if all(problems):
            self.error(node, f"{name}: {'; '.join(sorted(set(problems)))}")

    def check_attribute(self, node: ast.Attribute) -> None:
        owner = _dotted(node.value)
        known = {*self.stub.constants, *self.stub.classes, *self.stub.functions}
        if owner == "gymapi":
            self.report.used.add(f"gymapi.{node.attr}")
            if node.attr not in known:
                self.error(node, f"gymapi.{node.attr} does not exist")
            return
        if owner and owner.startswith("gymapi."):
            kind: Kind | None = Kind(owner[len("gymapi.") :])
        else:
            kind = self.kind_of(node.value)
        if kind and not kind.is_list and kind.name in self.stub.classes:
            cls = self.stub.classes[kind.name]
            self.report.used.add(f"{kind.name}.{node.attr}")
            if node.attr not in cls.fields and node.attr not in cls.methods:
                self.error(node, f"{kind.name} has no {node.attr}")


def _dotted(node: ast.AST) -> str:
    """``a.b.c`` of nested attributes, or an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""
