"""The error for environments that cannot be built."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from mimickit_hydra.errors import UserError


class EnvError(UserError):
    """An environment that cannot be built from this configuration; the message is one line."""


def nearest(name: str, allowed: Sequence[str]) -> str:
    """The text ``" (did you mean 'x'?)"``, or an empty one."""
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
