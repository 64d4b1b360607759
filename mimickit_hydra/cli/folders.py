"""Takes the config folders that a command line names, for every command alike."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mimickit_hydra.config.overrides import parse
from mimickit_hydra.config.roots import add
from mimickit_hydra.errors import UserError

_FLAGS = ("--config-dir", "-cd")


def take_from(arguments: Sequence[str]) -> list[str]:
    """Add the folders that ``--config-dir``, ``-cd`` and ``hydra.searchpath=`` name, and return the other arguments."""
    kept, named = [], []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in _FLAGS:
            value = value if equals else next(words, "")
            if not os.path.isdir(os.path.expanduser(value)):
                raise UserError(f"{flag} {value}: no such directory")
            named.append(value)
        elif flag.lstrip("+") == "hydra.searchpath":
            named += _searchpath(word)
        else:
            kept.append(word)
    if named:
        add(named)
    return kept


def _searchpath(word: str) -> list[str]:
    value = parse(word).typed
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{word}: must be a list of folders: hydra.searchpath=[file:///my/conf]")
    folders = []
    for item in value:
        folder = _folder_of_package(item) if item.startswith("pkg://") else item.removeprefix("file://")
        if not os.path.isdir(os.path.expanduser(folder)):
            raise UserError(f"hydra.searchpath: found {item}, must be an existing folder")
        folders.append(folder)
    return folders


def _folder_of_package(item: str) -> str:
    from importlib.util import find_spec

    try:
        spec = find_spec(item.removeprefix("pkg://").replace("/", "."))
    except ModuleNotFoundError:
        spec = None
    return next(iter(spec.submodule_search_locations or ()), "") if spec else ""
