"""The signatures of Isaac Gym Preview 4, as the public package ``isaacgym-stubs`` tells them.

The stub is not valid Python (two properties are called ``lambda``), and 28 of its functions take anything while the
native signature stands in their docstring. Both are repaired here, in memory. Nothing of the stub is kept with us; it
is read from where pip put it, or from ``ISAACGYM_STUBS`` (the folder, the .pyi, or the wheel). Runs on Python 3.8.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

PACKAGE = "isaacgym-stubs"
INSTALL = "pip install isaacgym-stubs==1.1rc4"
_UNNAMED = re.compile(r"arg\d+$")


@dataclass(frozen=True)
class Parameter:
    """One argument; ``kind`` is the last word of its type, ``""`` where the stub does not tell."""

    name: str
    kind: str
    optional: bool


@dataclass(frozen=True)
class Signature:
    """The arguments after ``self``; None: the stub tells nothing of them."""

    parameters: Optional[Tuple[Parameter, ...]]
    returns: str = ""  # the last word of the type
    of: str = ""  # for a list: of what

    def problem(self, positional: int, keywords: Set[str]) -> str:
        """Why a call does not fit, or an empty string. Arguments without a name (``arg0``) take no keyword."""
        if self.parameters is None:
            return ""
        if positional > len(self.parameters):
            return "{} positional arguments, at most {} fit".format(positional, len(self.parameters))
        rest = self.parameters[positional:]
        known = {p.name for p in rest if not _UNNAMED.match(p.name)}
        unknown = sorted(keywords - known)
        if unknown:
            return "no argument {}".format(", ".join(unknown))
        lacking = [p.name for p in rest if not p.optional and p.name not in keywords]
        return "missing {}".format(", ".join(lacking)) if lacking else ""

    def bound(self, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> List[Tuple[Parameter, Any]]:
        """Parameters with the values of a call that fits."""
        parameters = self.parameters or ()
        pairs = list(zip(parameters, args))
        return pairs + [(p, kwargs[p.name]) for p in parameters[len(args) :] if p.name in kwargs]


@dataclass
class StubClass:
    """A class of ``gymapi``; fields with the last word of their types."""

    fields: Dict[str, str] = field(default_factory=dict)
    methods: Dict[str, List[Signature]] = field(default_factory=dict)


@dataclass
class Stub:
    """What ``gymapi`` consists of."""

    constants: Set[str] = field(default_factory=set)
    functions: Dict[str, List[Signature]] = field(default_factory=dict)
    classes: Dict[str, StubClass] = field(default_factory=dict)


def find_stub() -> Optional[Path]:
    """Where the stub is, or None."""
    named = os.environ.get("ISAACGYM_STUBS")
    places = [Path(named)] if named else [Path(entry or ".") / PACKAGE for entry in sys.path]
    for place in places:
        for path in (place, place / "gymapi.pyi"):
            if path.is_file():
                return path
    return None


def load_stub(path: Path) -> Stub:
    """Read ``gymapi.pyi``, or the wheel that holds it."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            text = wheel.read(PACKAGE + "/gymapi.pyi").decode()
    else:
        text = path.read_text(encoding="utf-8")
    stub = Stub()
    for node in ast.parse(re.sub(r"\bdef lambda\(", "def lambda_(", text)).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            stub.constants.add(node.target.id)
        elif isinstance(node, ast.FunctionDef):
            stub.functions.setdefault(node.name, []).append(_signature(node))
        elif isinstance(node, ast.ClassDef):
            stub.classes[node.name] = _class(node)
    return stub


def _class(node: ast.ClassDef) -> StubClass:
    out = StubClass()
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            out.fields[item.target.id] = _kind(item.annotation)
        elif isinstance(item, ast.Assign):
            out.fields.update({target.id: "" for target in item.targets if isinstance(target, ast.Name)})
        elif isinstance(item, ast.FunctionDef):
            name = "lambda" if item.name == "lambda_" else item.name
            if any(isinstance(d, ast.Name) and d.id == "property" for d in item.decorator_list):
                out.fields[name] = _kind(item.returns)
            else:
                out.methods.setdefault(name, []).append(_signature(item))
    return out


def _signature(node: ast.FunctionDef) -> Signature:
    if node.args.vararg:
        return _from_docstring(node)
    arguments = [a for a in node.args.args if a.arg != "self"]
    first_optional = len(arguments) - len(node.args.defaults)
    parameters = tuple(Parameter(a.arg, _kind(a.annotation), k >= first_optional) for k, a in enumerate(arguments))
    inside = _slice(node.returns) if isinstance(node.returns, ast.Subscript) else None
    return Signature(parameters, _kind(node.returns), _kind(inside))


def _from_docstring(node: ast.FunctionDef) -> Signature:
    found = re.search(re.escape(node.name) + r"\((.*?)\)\s*->", ast.get_docstring(node) or "", re.S)
    if not found:
        return Signature(None)
    parameters = []
    for text in _split(found.group(1)):
        name, _, rest = text.partition(":")
        if name.strip() != "self":
            kind = re.split(r"[\[=]", rest)[0].strip().split(".")[-1]
            parameters.append(Parameter(name.strip(), kind, "=" in text))
    return Signature(tuple(parameters))


def _split(text: str) -> List[str]:
    """Arguments at the commas that are in no bracket."""
    out, depth, word = [], 0, ""
    for letter in text:
        depth += (letter in "([{<") - (letter in ")]}>")
        if letter == "," and depth == 0:
            out.append(word)
            word = ""
        else:
            word += letter
    return [word for word in [*out, word] if word.strip()]


def _slice(node: ast.Subscript) -> ast.AST:
    """What stands in the brackets; before Python 3.9 it is wrapped."""
    return getattr(node.slice, "value", node.slice)


def _kind(node: Optional[ast.AST]) -> str:
    if isinstance(node, ast.Subscript):
        return _kind(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
