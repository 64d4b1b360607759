"""A MimicKit checkout as it lies on the disk: is it one, and what its code knows. Nothing of it is imported or run."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.one_line import nearest

_WORD_IN_QUOTES = re.compile(r"""["']([A-Za-z_]\w*)["']""")
_HOW = "git clone https://github.com/xbpeng/MimicKit, then core.root=PATH"

# section of the config -> the key that names what is built, and the file that builds it by that name
BUILDERS = {
    "engine": ("engine_name", "engines/engine_builder.py"),
    "env": ("env_name", "envs/env_builder.py"),
    "agent": ("agent_name", "learning/agent_builder.py"),
}


@dataclass(frozen=True)
class Checkout:
    """``root`` of the checkout, the script that reads its flags, and the interpreter that runs it."""

    root: Path
    entry: Path
    python: str

    @property
    def data(self) -> Path:
        """Where a config's ``data/...`` lies; it may be missing."""
        return self.root / "data"

    @property
    def package(self) -> Path:
        """The folder its modules are imported from."""
        return self.entry.parent

    @cached_property
    def words(self) -> frozenset[str]:
        """Every plain word in quotes in its code: a key that is not among them is never read."""
        found: set[str] = set()
        for path in sorted(self.package.rglob("*.py")):
            found.update(_WORD_IN_QUOTES.findall(_read(path)))
        return frozenset(found)

    def unread(self, section: Mapping[str, Any], prefix: str) -> Iterator[str]:
        """Dotted keys of ``section`` that its code never mentions."""
        for key, value in section.items():
            if key not in self.words:
                yield f"{prefix}{key}"
            elif isinstance(value, Mapping):
                yield from self.unread(value, f"{prefix}{key}.")

    def check_builds(self, section: str, name: str) -> None:
        """UserError when the file that builds engines, envs or agents by name does not know ``name``.

        A fork that builds them elsewhere is not judged.
        """
        path = self.package / BUILDERS[section][1]
        if not path.is_file():
            return
        known = sorted(set(_WORD_IN_QUOTES.findall(_read(path))) - {BUILDERS[section][0], "engine", "r", "rb"})
        if name not in known:
            near = nearest(name, known, count=1)
            hint = f"; nearest: {near[0]}" if near else ""
            raise UserError(
                f"{section}={name}: {path} knows no such {section}{hint}; it knows {', '.join(known)} "
                f"(core=mimickit runs the checkout's code)"
            )


def open_checkout(core: Any) -> Checkout:
    """The checkout that ``core`` names; UserError in one line when it is none or its interpreter is missing."""
    if core.root is None:
        raise UserError(f"core.root: has no value, must be the folder of a MimicKit checkout; {_HOW}")
    root = Path(core.root).expanduser().absolute()
    if not root.is_dir():
        raise UserError(f"core.root: found {core.root!r}, must be the folder of a MimicKit checkout; {_HOW}")
    entry = root / core.entry
    if not entry.is_file():
        inside = root / "MimicKit" / core.entry
        hint = f"; nearest: core.root={root / 'MimicKit'}" if inside.is_file() else _other_entry(root)
        raise UserError(f"core.root: {root} has no {core.entry} (core.entry), so it is no MimicKit checkout{hint}")
    return Checkout(root, entry, find_python(core.python))


def find_python(given: str | None) -> str:
    """The interpreter that ``core.python`` names: a file, a virtual environment, or a command on PATH."""
    if given is None:
        return sys.executable
    path = Path(given).expanduser()
    if path.is_dir():
        for inside in ("bin/python", "Scripts/python.exe", "python.exe"):
            if (path / inside).is_file():
                return str((path / inside).absolute())
        raise UserError(f"core.python: {path} is a folder without bin/python, must be an interpreter or a virtual env")
    if path.is_file() and os.access(path, os.X_OK):
        return str(path.absolute())
    found = shutil.which(given)
    if found is None:
        raise UserError(f"core.python: found {given!r}, must be an interpreter, a virtual env or a command on PATH")
    return found


def _other_entry(root: Path) -> str:
    found = [path.relative_to(root) for path in sorted(root.glob("*/run.py")) + sorted(root.glob("run.py"))]
    return f"; nearest: core.entry={found[0]}" if found else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
