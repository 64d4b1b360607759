"""What all launchers share: the command that starts a frozen run, its environment, and their error."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mimickit_hydra.errors import UserError

LOG = "output.log"  # in the run directory: what the run printed


class LaunchError(UserError):
    """A run that cannot be submitted; the message is one line."""


def command_of(frozen: Path) -> list[str]:
    """The command that starts a frozen run, or continues it."""
    return [sys.executable, "-m", "mimickit_hydra.sweeps.start", str(frozen)]


def python_path() -> str:
    """A ``PYTHONPATH`` with which another process imports this very package."""
    package = str(Path(__file__).resolve().parent.parent.parent)
    before = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return os.pathsep.join(dict.fromkeys([package, *before]))


def environment() -> dict[str, str]:
    """The environment of this process, changed so that another process imports this very package."""
    return {**os.environ, "PYTHONPATH": python_path()}
