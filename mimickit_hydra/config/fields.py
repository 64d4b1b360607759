"""Declares config fields: :func:`setting` gives a field its default, rule, unit and help in one place.

A rule is checked on every composed config before anything is built, so what is built need not check again.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from mimickit_hydra.errors import UserError, nearest


@dataclass(frozen=True)
class Rule:
    """``accepts`` a value or not; ``allowed`` says in words what would be; ``names`` where there is a fixed choice."""

    accepts: Callable[[Any], bool]
    allowed: str
    names: tuple[str, ...] = ()


def one_of(*names: str) -> Rule:
    """A rule for a choice of words."""
    return Rule(lambda value: value in names, f"one of {', '.join(names)}", names)


def at_least(low: float) -> Rule:
    """A rule for numbers from ``low``."""
    return Rule(lambda value: value >= low, f"{low:g} or more")


def between(low: float, high: float) -> Rule:
    """A rule for numbers from ``low`` to ``high``, both included."""
    return Rule(lambda value: low <= value <= high, f"between {low:g} and {high:g}")


def or_null(rule: Rule) -> Rule:
    """A rule that accepts null besides what ``rule`` accepts."""
    return Rule(lambda value: value is None or rule.accepts(value), f"{rule.allowed}, or null", rule.names)


def matching(pattern: str, allowed: str) -> Rule:
    """A rule for text that matches a regular expression; ``allowed`` describes it in words."""
    return Rule(lambda value: re.fullmatch(pattern, value) is not None, allowed)


def whole_numbers(low: int) -> Rule:
    """A rule for lists of at least one whole number from ``low``."""
    allowed = f"a list of whole numbers, each {low} or more"
    return Rule(lambda value: bool(value) and all(item >= low for item in value), allowed)


POSITIVE = Rule(lambda value: value > 0, "more than 0")
FRACTION = between(0, 1)
PATH = or_null(Rule(lambda value: value.strip() != "", "a path"))
SEED = or_null(Rule(lambda value: 0 <= value < 2**32, "a whole number from 0 to 4294967295"))
VECTOR = Rule(lambda value: len(value) == 3 and all(map(math.isfinite, value)), "three numbers")


def setting(
    default: Any = MISSING,
    rule: Rule | None = None,
    unit: str = "",
    help: str = "",
    *,
    up_to: str = "",
    speed_alone: bool = False,
) -> Any:
    """A field of a config dataclass.

    Args:
        default: its value where no YAML gives one; without it a YAML or the command line has to.
        rule: what it may be.
        unit: of the number, such as ``s`` or ``m/s``.
        help: what it is, for ``mimickit explain`` and the page of the method.
        up_to: the name of another field of the same dataclass that it must not exceed.
        speed_alone: it decides how fast something is computed, and nothing of what comes out.
    """
    metadata = {"rule": rule, "unit": unit, "help": help, "up_to": up_to, "speed_alone": speed_alone}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def comment(field: dataclasses.Field[Any]) -> str:
    """Help and unit of a field as one line; empty if it has neither."""
    unit = field.metadata.get("unit", "")
    return f"{field.metadata.get('help', '')}{f' [{unit}]' if unit else ''}".strip()


def declared(cfg: Any, key: str) -> tuple[type, dataclasses.Field[Any]] | None:
    """The dataclass and field that declare the dotted ``key`` of a composed config; None for a key of an open table."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    kind = node._metadata.object_type if isinstance(node, DictConfig) else None
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return None
    return next(((kind, field) for field in dataclasses.fields(kind) if field.name == name), None)


def is_speed_alone(cfg: Any, key: str) -> bool:
    """Whether the dotted ``key`` of a composed config decides how fast something is computed, and nothing else."""
    found = declared(cfg, key)
    return found is not None and bool(found[1].metadata.get("speed_alone"))


def check_fields(config: Any, prefix: str = "") -> None:
    """UserError for the first value below ``config``, a dataclass, that breaks the rule of its field.

    Without a rule of its own, a number that is not infinite by default has to be finite, and a text that is not empty
    by default has to have something in it.
    """
    for key, owner, field in _leaves(config, prefix):
        value = getattr(owner, field.name)
        numbers = [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, float)]
        if any(map(math.isnan, numbers)):
            raise wrong(key, value, "a number")
        rule: Rule | None = field.metadata.get("rule")
        if rule is not None and not rule.accepts(value):
            near = nearest(str(value), rule.names, count=1)
            raise wrong(key, value, rule.allowed, f"; nearest: {near[0]}" if near else "")
        if rule is None and field.default != "" and _is_blank(value):
            text = "texts that are not empty" if isinstance(value, list) else "a text that is not empty"
            raise wrong(key, value, f"{text}, or null" if field.default is None else text)
        if field.default != math.inf and any(map(math.isinf, numbers)):
            raise wrong(key, value, "finite numbers" if isinstance(value, list) else "a finite number")
    for key, owner, field in _leaves(config, prefix):
        other, value = field.metadata.get("up_to"), getattr(owner, field.name)
        if other and value > getattr(owner, other):
            above = f"{key.rpartition('.')[0]}.{other}".lstrip(".")
            raise wrong(key, value, f"at most {above}={getattr(owner, other)!r}")


def _is_blank(value: Any) -> bool:
    return any(isinstance(text, str) and not text.strip() for text in (value if isinstance(value, list) else [value]))


def _leaves(config: Any, prefix: str) -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Yield key, dataclass and field of every leaf."""
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{key}.")
            continue
        yield key, config, field
        for i, item in enumerate(value if isinstance(value, list) else []):
            if dataclasses.is_dataclass(item):
                yield from _leaves(item, f"{key}[{i}].")


def wrong(key: str, found: Any, allowed: str, hint: str = "") -> UserError:
    """The error for a value that ``key`` cannot have."""
    text = {"None": "null", "True": "true", "False": "false"}.get(repr(found), repr(found))  # as YAML writes it
    return UserError(f"{key}: found {text if len(text) <= 60 else f'{text[:56]} ...'}, must be {allowed}{hint}")
