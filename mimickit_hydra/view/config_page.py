"""Writes a composed config as one HTML page that needs no network: choices, values, and where each came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimickit_hydra.config.explain import Provenance
from mimickit_hydra.config.fields import comment, declared
from mimickit_hydra.config.overrides import quote
from mimickit_hydra.files import write_wanted


def write_page(
    page: Path,
    found: Provenance,
    overrides: Sequence[str],
    alternatives: Mapping[str, Sequence[Any]],
    pairs: Sequence[Any],
) -> None:
    """Write the page of a config that ``overrides`` compose to; UserError where the file cannot be written.

    ``alternatives`` and ``pairs`` are those of ``checks.choices``.
    """
    text = html_text(found, overrides, alternatives, pairs)
    write_wanted(page, lambda file: file.write(text.encode("utf-8")))


def html_text(
    found: Provenance, overrides: Sequence[str], alternatives: Mapping[str, Sequence[Any]], pairs: Sequence[Any]
) -> str:
    """The text of the page: ``config_page.html`` beside this module, filled in."""
    import jinja2

    loader = jinja2.PackageLoader("mimickit_hydra", "view")
    env = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    env.filters["value"] = shown
    return env.get_template("config_page.html").render(
        words=" ".join(quote_word(word) for word in overrides),
        count=len(found.history),
        choices=[_choice(found, group, options) for group, options in alternatives.items()],
        tree=_tree([_leaf(found, key) for key in found.history]),
        pairs=pairs,
        chosen={group: choice.option for group, choice in found.choices.items()},
    )


def shown(value: Any) -> str:
    """A value as an override would write it."""
    if value == "???":
        return "(mandatory)"
    return value if isinstance(value, str) else quote(value)


def quote_word(word: str) -> str:
    import shlex

    return shlex.quote(word)


def _choice(found: Provenance, group: str, options: Sequence[Any]) -> dict[str, Any]:
    choice = found.choices.get(group)
    return {
        "group": group,
        "option": choice.option if choice is not None else None,
        "source": choice.source if choice is not None else "",
        "replaced": reversed(choice.replaced) if choice is not None else (),
        "options": options,
    }


def _leaf(found: Provenance, key: str) -> dict[str, Any]:
    """A value with its comment, what may stand there, and its history, the newest first."""
    field = declared(found.cfg, key)
    rule = field[1].metadata.get("rule") if field is not None else None
    history = [(shown(one.value), one.source, _reasons(found, one.config)) for one in reversed(found.history[key])]
    return {
        "key": key,
        "value": shown(found.final(key)),
        "comment": comment(field[1]) if field is not None else "",
        "allowed": rule.allowed if rule is not None else "",
        "history": history,
        "typed": not history[0][1].startswith("schema "),
        "refers": found.references(key),
    }


def _reasons(found: Provenance, config: str) -> str:
    chosen = [(group, found.choices[group]) for group in found.reasons.get(config, ()) if group in found.choices]
    return "; ".join(f"{group}={choice.option} from {choice.source}" for group, choice in chosen)


def _tree(leaves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Leaves by the parts of their keys: the values of a node stand under ``""``."""
    tree: dict[str, Any] = {"": []}
    for leaf in leaves:
        node = tree
        *parents, _ = leaf["key"].split(".")
        for part in parents:
            node = node.setdefault(part, {"": []})
        node[""].append(leaf)
    return tree
