"""``mimickit list [GROUP]``: what can be chosen, a line each."""

from __future__ import annotations

import argparse
from typing import Any

from mimickit_hydra.cli.help import group_lines
from mimickit_hydra.config.errors import UserError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "list",
        help="the groups and their options, a line each",
        description="The groups and their options; * marks the default.",
    )
    parser.add_argument("group", nargs="?", help="one group, for example motion")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.config.catalog import groups

    known = groups()
    if args.group is not None and args.group not in known:
        from mimickit_hydra.config.one_line import suggestion

        raise UserError(f"{args.group}: unknown group{suggestion(args.group, list(known))}; groups: {', '.join(known)}")
    lines: list[str] = []
    for group in known.values():
        if args.group in (None, group.name):
            lines += group_lines(group, _lengths(group) if group.name == "motion" and args.group else None)
    print("\n".join(lines))
    return 0


def _lengths(group: Any) -> dict[str, str]:
    """Length and frame rate of each clip that is on this machine."""
    from mimickit_hydra.config.clips import clip_facts

    found = {}
    for option in group.options:
        facts = clip_facts(option.path)
        found[option.name] = f"{facts.seconds:5.2f} s  {facts.fps:g} Hz" if facts is not None else "    -"
    return found
