"""The room's error: one line for the user."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from mimickit_hydra.config.errors import UserError


class EnvError(UserError):
    """An environment cannot be built from this configuration."""


def nearest(name: str, allowed: Sequence[str]) -> str:
    """``" (did you mean 'x'?)"`` or nothing."""
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
