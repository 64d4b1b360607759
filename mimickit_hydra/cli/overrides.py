"""The overrides that a command takes after its other words."""

from __future__ import annotations

from typing import Any


def add_overrides(parser: Any, metavar: str, help: str) -> None:
    """Let a parser, or a group of one, take any number of overrides, as ``args.overrides``."""
    # without a default argparse counts them among what is required
    parser.add_argument("overrides", nargs="*", default=[], metavar=metavar, help=help)
