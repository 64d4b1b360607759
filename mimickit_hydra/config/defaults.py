"""Reads a YAML file's defaults list and the line numbers of its keys."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_text, yaml_nodes


@dataclass(frozen=True)
class Entry:
    """One line of a defaults list: ``override /engine@_global_.engine: newton`` or ``common/policy@_here_``."""

    group: str  # as written, without the leading slash; empty where a config is named without its group
    option: str | None  # None for null; an interpolation is left as text
    package: str | None
    is_override: bool
    is_optional: bool
    line: int


@dataclass(frozen=True)
class YamlFile:
    """What a config file contains before anything is composed: its help, defaults list, and keys with their lines."""

    defaults: tuple[Entry, ...]
    lines: dict[str, int]  # of every dotted key
    help: str  # the first comment that is not a directive to Hydra
    values: dict[str, str]  # what it gives the keys of its own group, as text; no lists or tables

    @property
    def chosen(self) -> dict[str, str]:
        """The options of other groups that the file chooses with ``override``."""
        return {entry.group: entry.option for entry in self.defaults if entry.is_override and entry.option}


NOTHING = YamlFile((), {}, "", {})


def read(path: Path) -> YamlFile:
    """Read ``path`` once for as long as it does not change. A file that is no YAML is said to be so when composed."""
    try:
        stat = path.stat()
    except OSError:
        return NOTHING
    return _read(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4096)
def _read(path: Path, mtime: int, size: int) -> YamlFile:
    try:
        text = read_text(path)
    except UserError:
        return NOTHING
    try:
        root = yaml_nodes(text, path)
    except UserError:
        root = None
    if root is None or root.id != "mapping":
        return YamlFile((), {}, _help(text), {})
    listed = next((value for key, value in root.value if key.value == "defaults" and value.id == "sequence"), None)
    entries = tuple(_entries(listed)) if listed is not None else ()
    values = {key.value: value.value for key, value in root.value if key.id == value.id == "scalar"}
    return YamlFile(entries, dict(_key_lines(root, "")), _help(text), values)


def _entries(listed: Any) -> Iterator[Entry]:
    for node in listed.value:
        line = node.start_mark.line + 1
        if node.id == "scalar":
            name, _, package = str(node.value).partition("@")
            yield Entry("", name.removeprefix("/"), package or None, False, False, line)
        elif node.id == "mapping":
            for key, value in node.value:
                *words, place = str(key.value).split() or [""]
                group, _, package = place.partition("@")
                option = value.value if value.id == "scalar" and value.tag != "tag:yaml.org,2002:null" else None
                yield Entry(
                    group.removeprefix("/"), option, package or None, "override" in words, "optional" in words, line
                )


def _key_lines(node: Any, prefix: str) -> Iterator[tuple[str, int]]:
    for key, value in node.value:
        yield f"{prefix}{key.value}", key.start_mark.line + 1
        if value.id == "mapping":
            yield from _key_lines(value, f"{prefix}{key.value}.")


def _help(text: str) -> str:
    for line in text.splitlines():
        if not line.startswith("#"):
            return ""
        comment = line.lstrip("#").strip()
        if comment and not comment.startswith("@"):
            return comment
    return ""
