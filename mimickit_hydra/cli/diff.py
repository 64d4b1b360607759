"""``mimickit diff A B``: prints what differs between two runs, experiments or override lists."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mimickit_hydra.cli.explain import shown
from mimickit_hydra.cli.text import bold, columns

if TYPE_CHECKING:
    from mimickit_hydra.config.compare import Difference


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "diff",
        help="what differs between two runs, experiments or override lists",
        description="Each side is a run directory, the name of an experiment, or a quoted list of overrides "
        "('' is the default run).",
    )
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.config.compare import differences

    found = differences(args.a, args.b)
    if not found:
        print("no difference")
        return 0
    print("\n".join(table(found, args.a or "(default)", args.b or "(default)")))
    return 0


def table(found: Sequence[Difference], left: str, right: str) -> list[str]:
    """Differences as aligned lines below the names of the two sides."""
    from mimickit_hydra.config.compare import ABSENT

    heads = [("", left, right)]
    rows = [(one.key, *("-" if side is ABSENT else shown(side, 44) for side in (one.left, one.right))) for one in found]
    lines = columns([*heads, *rows], indent="", gap="  ")
    return [bold(lines[0]), *lines[1:]]
