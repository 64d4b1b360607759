"""The exception for mistakes that a user can put right, and suggestions of the nearest right name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class UserError(Exception):
    """Something the user can put right. The message is one line: what was found, what is allowed, what to do."""


def nearest(name: str, known: Sequence[str], count: int = 3) -> list[str]:
    """The known names most like ``name``: its other spelling first, those that end in it, then by similarity."""
    name = str(name)[:200]  # of a file, perhaps
    leaf = name.rsplit(".", 1)[-1]
    same_leaf = [key for key in known if key.rsplit(".", 1)[-1] == leaf and key != name]
    same_leaf = [key for key in known if key.casefold() == name.casefold() and key != name] + same_leaf
    close = difflib.get_close_matches(name, known, n=count, cutoff=0.6)
    by_leaf = {key.rsplit(".", 1)[-1]: key for key in reversed(list(known))}
    close += [by_leaf[near] for near in difflib.get_close_matches(leaf, list(by_leaf), n=1, cutoff=0.75)]
    return list(dict.fromkeys(same_leaf + close))[:count]


def suggestion(name: str, known: Sequence[str]) -> str:
    """The text ``; nearest: a, b`` with the known names most like ``name``, or an empty text."""
    near = nearest(name, known)
    return f"; nearest: {', '.join(near)}" if near else ""


def must_be_one_of(key: str, found: str, allowed: Sequence[str]) -> UserError:
    """The error for a name that is none of ``allowed``."""
    return UserError(f"{key}: found {found!r}, must be one of {', '.join(allowed)}{suggestion(found, allowed)}")
