"""``mimickit explain``: prints a value, where it was set and what it replaced, or writes the whole config as a page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.cli.overrides import add_overrides
from mimickit_hydra.cli.text import bold, columns, dim
from mimickit_hydra.config.overrides import ALIASES
from mimickit_hydra.errors import UserError
from mimickit_hydra.waiting import waiting_for

if TYPE_CHECKING:
    from mimickit_hydra.config.explain import Provenance


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "explain",
        help="where a value comes from: explain KEY [overrides]",
        description="The final value of a key, the file and line or the override that set it, and what it replaced; "
        "with --html all values, what another choice would change, and what goes together, as a page for the browser.",
    )
    parser.add_argument("key", nargs="?", help="a key such as agent.actor_epochs, a group such as engine, or 'all'")
    add_overrides(parser, "overrides", "as on train.py's command line")
    parser.add_argument("--from", dest="from_run", metavar="RUN_DIR", help="a run's saved config; overrides go on top")
    parser.add_argument("--html", metavar="FILE", help="write a page that needs no network; takes overrides alone")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.config.explain import trace
    from mimickit_hydra.runs.repeat import expand

    if args.html is not None:
        return _page(args)
    if args.key is None:
        raise UserError("mimickit explain: required: key, or --html FILE; see mimickit explain --help")
    found = trace(expand(args.overrides, args.from_run))
    key = "" if args.key == "all" else ALIASES.get(args.key, args.key.strip("."))
    if key in found.history:
        print("\n".join(_leaf(found, key, "", set())))
    else:
        print("\n".join(_node(found, key)))
    return 0


def _page(args: argparse.Namespace) -> int:
    from mimickit_hydra.checks.choices import alternatives, pairs
    from mimickit_hydra.config.explain import trace
    from mimickit_hydra.config.groups import groups
    from mimickit_hydra.config.overrides import written_out
    from mimickit_hydra.runs.repeat import expand
    from mimickit_hydra.view.config_page import write_page

    if args.key is not None and "=" not in args.key:
        raise UserError(f"mimickit explain --html: found {args.key!r}, must be overrides alone: the page has every key")
    words = expand([*([written_out(args.key)] if args.key is not None else []), *args.overrides], args.from_run)
    found = trace(words)
    with waiting_for("every other choice to be composed", first=2.0):
        others = {group: alternatives(group, words) for group in groups() if group != "sweep"}  # no part of one run
    page = Path(args.html).expanduser()
    write_page(page, found, words, others, pairs())
    print(page)
    return 0


def _leaf(found: Provenance, key: str, indent: str, seen: set[str]) -> list[str]:
    """Lines on a key: its value, its history from the newest, and the same for the keys it refers to."""
    seen.add(key)
    lines = [f"{indent}{bold(key)} = {shown(found.final(key))}"]
    if comment := _comment(found, key):
        lines.append(f"{indent}  {dim('# ' + comment)}")
    history = found.history[key]
    rows = []
    for number, assignment in enumerate(reversed(history)):
        label = "set by" if number == 0 else "replaced"
        rows.append((label, assignment.source, shown(assignment.value), _reason(found, assignment.config)))
    lines += columns([row if row[3] else row[:3] for row in rows], indent=f"{indent}  ", gap="   ")
    for name in found.references(key):
        if name not in seen:
            lines += ["", *_leaf(found, name, f"{indent}    ", seen)]
    return lines


def _reason(found: Provenance, config: str) -> str:
    """Why a file takes part: the choice that brought it in, and who made that choice."""
    parts = []
    for group in found.reasons.get(config, ()):
        choice = found.choices.get(group)
        if choice is not None:
            parts.append(f"{group}={choice.option} from {choice.source}")
    return dim(f"[{'; '.join(parts)}]") if parts else ""


def _comment(found: Provenance, key: str) -> str:
    from mimickit_hydra.config.fields import comment, declared

    field = declared(found.cfg, key)
    return comment(field[1]) if field is not None else ""


def _node(found: Provenance, key: str) -> list[str]:
    """Lines on a group: who chose its option, then every key below it with its source."""
    prefix = f"{key}." if key else ""
    below = [name for name in found.history if name.startswith(prefix)]
    choice = found.choices.get(key)
    if not below and choice is None:
        from mimickit_hydra.errors import suggestion

        known = [*found.choices, *found.history]
        raise UserError(f"{key}: unknown key{suggestion(key, known)}")
    lines = []
    if choice is not None:
        lines.append(f"{bold(key)} = {choice.option}")
        stages = [("chosen by", choice.source, str(choice.option))]
        stages += [("replaced", source, str(option)) for option, source in reversed(choice.replaced)]
        lines += [*columns(stages, gap="   "), ""]
    rows = [(name, shown(found.final(name), 48), dim(found.history[name][-1].source)) for name in below]
    return [*lines, *columns(rows, indent="  " if choice is not None else "")]


def shown(value: Any, width: int = 72) -> str:
    """A value as an override would write it, cut to ``width``."""
    if value == "???":
        return "(mandatory)"
    if isinstance(value, str):
        text = value
    else:
        from mimickit_hydra.config.overrides import quote

        text = quote(value)
    return text if len(text) <= width else f"{text[: width - 4]} ..."
