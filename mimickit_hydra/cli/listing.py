"""``mimickit list [GROUP]``: prints what can be chosen, a line each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from mimickit_hydra.cli.help import group_lines
from mimickit_hydra.cli.text import bold, columns, dim
from mimickit_hydra.errors import UserError
from mimickit_hydra.plugins import (
    EVENTS,
    EXPORTERS,
    IMPORTERS,
    OBSERVATIONS,
    REWARDS,
    SAMPLERS,
    TERMINATIONS,
    Entry,
)

# What is chosen by name, but has no YAML of its own.
REGISTERED = {
    "observations": OBSERVATIONS, "rewards": REWARDS, "terminations": TERMINATIONS, "events": EVENTS,
    "samplers": SAMPLERS,    "importers": IMPORTERS, "exporters": EXPORTERS,
}  # fmt: skip


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "list",
        help="the groups and their options, a line each",
        description="The groups and their options; * marks the default.",
    )
    others = ", ".join(REGISTERED)
    parser.add_argument("group", nargs="?", help=f"one group, for example motion; pairs: what fits together; {others}")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.config.groups import groups

    known = groups()
    if args.group == "pairs":
        lines = list(_pairs())
    elif args.group in REGISTERED:
        lines = columns([_registered(entry) for entry in REGISTERED[args.group].entries()], indent="")
    elif args.group is None:
        lines = [line for group in known.values() for line in group_lines(group)]
    elif args.group in known:
        group = known[args.group]
        lines = group_lines(group, _lengths(group) if group.name == "motion" else None)
    else:
        from mimickit_hydra.errors import suggestion

        names = [*known, "pairs", *REGISTERED]
        raise UserError(f"{args.group}: unknown group{suggestion(args.group, names)}; groups: {', '.join(names)}")
    print("\n".join(lines))
    return 0


def _registered(entry: Entry) -> tuple[str, str, str]:
    suffixes = " ".join(entry.facts.get("suffixes", ()))
    return entry.name, f"{entry.facts.get('title', '')} {suffixes}".strip(), dim(entry.plugin)


def _lengths(group: Any) -> dict[str, str]:
    """Length and frame rate of each clip that is on this machine."""
    from mimickit_hydra.checks.clips import clip_facts

    found = {}
    for option in group.options:
        facts = clip_facts(option.path)
        found[option.name] = f"{facts.seconds:5.2f} s  {facts.fps:g} Hz" if facts is not None else "    -"
    return found


# --------------------------------------------------------------------------------------------------------------- pairs


def _pairs() -> Iterator[str]:
    from mimickit_hydra.checks.choices import pairs

    titles = {"env": "the envs that it can learn in", "motion": "the motions made for it"}
    for found in pairs():
        yield f"{bold(found.group)}: {titles[found.other]}; * is its own"
        yield from columns([(option, _marked(names, own)) for option, names, own in found.rows])


def _marked(names: Sequence[str], own: str) -> str:
    return ", ".join(f"{name}*" if name == own else name for name in names) or "-"
