"""Looks at a MimicKit checkout on the disk: whether it is one, and what its code knows. Imports nothing of it."""

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

from mimickit_hydra.errors import UserError, nearest
from mimickit_hydra.foreign import read_bytes

_WORD_IN_QUOTES = re.compile(r"""["']([A-Za-z_]\w*)["']""")
_NAME_OF = re.compile(r"\b(\w+)\.\w+\.NAME\b")  # until autumn 2025 an agent's class said its name
_NAME = re.compile(r"""\bNAME\s*=\s*["'](\w+)["']""")
_COMPARED = re.compile(r"""==\s*["'](\w+)["']""")
_HOW = "git clone https://github.com/xbpeng/MimicKit, then core.root=PATH"

# section of the config -> the key that names what is built, and the file that builds it by that name
BUILDERS = {
    "engine": ("engine_name", "engines/engine_builder.py"),
    "env": ("env_name", "envs/env_builder.py"),
    "agent": ("agent_name", "learning/agent_builder.py"),
}


@dataclass(frozen=True)
class Checkout:
    """A checkout: its ``root``, the script that reads its flags, and the interpreter that runs it."""

    root: Path
    entry: Path
    python: str

    @property
    def data(self) -> Path:
        """The folder that a config's ``data/...`` refers to; it may be missing."""
        return self.root / "data"

    @property
    def package(self) -> Path:
        """The folder that the checkout's modules are imported from."""
        return self.entry.parent

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word in quotes in the checkout's code: a key that is not among them is never read."""
        found: set[str] = set()
        for path in sorted(self.package.rglob("*.py")):
            found.update(_WORD_IN_QUOTES.findall(_read(path)))
        return frozenset(found)

    @property
    def blocks(self) -> bool:
        """Whether it reads engine and env as blocks of one file, as until 12 January 2026."""
        return "engine_config" not in self.words

    @property
    def joint(self) -> bool:
        """Whether it has one optimiser for all networks, as until 24 February 2026."""
        return "actor_optimizer" not in self.words

    @property
    def age(self) -> str | None:
        """When its form of files was MimicKit's, None where that is today's."""
        return "of autumn 2025" if self.blocks else "from before 24 February 2026" if self.joint else None

    @cached_property
    def array_frames(self) -> bool:
        """Whether its clips hold numpy arrays, not lists, as until 28 October 2025."""
        text = _read(self.package / "anim" / "motion.py")
        return bool(text) and "numpy" not in text

    def unread(self, section: Mapping[str, Any], prefix: str) -> Iterator[str]:
        """Dotted keys of ``section`` that the checkout's code never mentions."""
        for key, value in section.items():
            if key not in self.words:
                yield f"{prefix}{key}"
            elif isinstance(value, Mapping):
                yield from self.unread(value, f"{prefix}{key}.")

    def check_builds(self, section: str, name: str) -> None:
        """UserError when the file that builds engines, envs or agents by name does not know ``name``.

        A fork that builds them elsewhere is not judged.
        """
        path, known = self._known(section)
        if known and name not in known:
            near = nearest(name, known, count=1)
            hint = f"; nearest: {near[0]}" if near else ""
            raise UserError(
                f"{section}={name}: {path} knows no such {section}{hint}; it knows {', '.join(known)} "
                f"(core=mimickit runs the checkout's code)"
            )

    def _known(self, section: str) -> tuple[Path, list[str]]:
        """The file that builds ``section`` by name, and the names in it; none where they stand elsewhere."""
        path = self.package / BUILDERS[section][1]
        text = _read(path)
        found = set(_WORD_IN_QUOTES.findall(text)) - {BUILDERS[section][0], "engine", "r", "rb"}
        for module in _NAME_OF.findall(text):
            found.update(_NAME.findall(_read(path.parent / f"{module}.py")))
        if "dummy" in found:  # what it was called in autumn 2025
            found = found - {"dummy"} | {"Dummy"}
        if section == "engine" and not text:  # autumn 2025
            path = self.package / "envs" / "sim_env.py"
            found = set(_COMPARED.findall(_read(path)))
        return path, sorted(found)


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
        return read_bytes(path).decode("utf-8", "replace")
    except UserError:
        return ""
