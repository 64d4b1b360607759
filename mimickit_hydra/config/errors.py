"""The one exception a user may see."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right. The message is one line: what was found, what is allowed, what to do."""
