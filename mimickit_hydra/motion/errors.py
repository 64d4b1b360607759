"""The error of motion files."""

from __future__ import annotations

from mimickit_hydra.config.errors import UserError


class MotionFileError(UserError):
    """A motion file that cannot be used; the message is one line naming the file, what was found and the fix."""
