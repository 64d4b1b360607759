"""``mimickit explain KEY``: the final value, who set it, and what it replaced."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mimickit_hydra.cli.text import bold, columns, dim
from mimickit_hydra.config.errors import UserError

if TYPE_CHECKING:
    from mimickit_hydra.config.provenance import Provenance


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "explain",
        help="where a value comes from: explain KEY [overrides]",
        description="The final value of a key, the file and line or the override that set it, and what it replaced.",
    )
    parser.add_argument("key", help="a key such as agent.actor_epochs, a group such as engine, or 'all'")
    parser.add_argument("overrides", nargs="*", help="as on train.py's command line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.config.provenance import trace

    overrides = args.overrides
    found = trace(overrides)
    key = "" if args.key == "all" else args.key.strip(".")
    if key in found.history:
        print("\n".join(_leaf(found, key, "", set())))
    else:
        print("\n".join(_node(found, key)))
    return 0


def _leaf(found: Provenance, key: str, indent: str, seen: set[str]) -> list[str]:
    """A key's value, its history newest first, and the same for what it refers to."""
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
    from mimickit_hydra.config.catalog import schema_fields

    parent, _, leaf = key.rpartition(".")
    from omegaconf import OmegaConf

    node = OmegaConf.select(found.cfg, parent) if parent else found.cfg
    kind = getattr(node, "_metadata", None)
    name = getattr(getattr(kind, "object_type", None), "__name__", "")
    return schema_fields().get(name, {}).get(leaf, ("", 0))[0]


def _node(found: Provenance, key: str) -> list[str]:
    """A group: who chose its option, then every key below with its source."""
    prefix = f"{key}." if key else ""
    below = [name for name in found.history if name.startswith(prefix)]
    choice = found.choices.get(key)
    if not below and choice is None:
        from mimickit_hydra.config.one_line import suggestion

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
        from mimickit_hydra.config.repeat import quote

        text = quote(value)
    return text if len(text) <= width else f"{text[: width - 4]} ..."
