"""Parses overrides with Hydra's grammar: keys, values and sweeps as objects instead of text."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimickit_hydra.config.typed import as_text, choices_as_text
from mimickit_hydra.errors import UserError

_PLAIN_WORD = re.compile(r"^[A-Za-z_][\w./-]*$", re.ASCII)
_HOME = re.compile(r"^(\+*[\w.]+=)(\[?)(~(?:/[^\[\]]*)?)(\]?)$")  # a list or a sweep may follow: ~/a,~/b
# Words that Hydra's grammar refuses for a letter alone, as in the folder of somebody called Zoë
_FOREIGN_WORDS = re.compile(r"^(\+*[\w./@]+=)([\w./~:%+-][\w ./~:%+,-]*)$")
# Short words for the keys that are typed most; none is a key or a group of its own.
ALIASES = {
    "lr": "agent.actor_optimizer.learning_rate",
    "critic_lr": "agent.critic_optimizer.learning_rate",
    "gamma": "agent.discount",
    "std": "agent.model.action_std",
    "net": "agent.model.actor_net",
    "horizon": "agent.steps_per_iter",
    "seed": "rand_seed",
    "envs": "num_envs",
    "samples": "max_samples",
    "minutes": "max_minutes",
    "clip": "env.motion_file",
    "out": "out_dir",
}
_EMPTY_BY_DEFAULT = ("+experiment", "+sweep", "+debug")
_MAX_COMBINATIONS = 32  # beyond it each value is tried once, beside the first value of the others


@dataclass(frozen=True)
class Override:
    """One override. ``parsed`` is Hydra's own object for it."""

    text: str
    key: str  # the group or the dotted key, without +, ~ and @package
    package: str | None
    parsed: Any

    @property
    def is_added(self) -> bool:
        """Whether it is written with ``+`` or ``++``."""
        return bool(self.parsed.is_add() or self.parsed.is_force_add())

    @property
    def is_deleted(self) -> bool:
        return bool(self.parsed.is_delete())

    @property
    def is_hydra(self) -> bool:
        """Whether it is one of Hydra's own settings."""
        return self.key == "hydra" or self.key.startswith(("hydra.", "hydra/"))

    @property
    def is_sweep(self) -> bool:
        """Whether it stands for several values, or for an interval of them."""
        return bool(self.parsed.is_sweep_override())

    @property
    def is_interval(self) -> bool:
        return bool(self.parsed.is_interval_sweep())

    @property
    def place(self) -> str:
        """The text before the ``=``."""
        return str(self.parsed.get_key_element())

    @property
    def value(self) -> Any:
        """The value in Python's types, without quotes; None for null, for a sweep and for ``~key``."""
        return None if self.is_sweep else self.parsed.value()

    @property
    def typed(self) -> Any:
        """The value with the text that was typed for numbers, true and false; None as for :attr:`value`."""
        return None if self.is_sweep else as_text(self.text)

    @property
    def word(self) -> str:
        """The value as text without quotes: of a number what was typed, of a sweep all of it."""
        if self.is_sweep:
            return str(self.parsed.get_value_string())
        return plain(self.typed if isinstance(self.value, (bool, int, float)) else self.value)

    @property
    def values(self) -> list[str]:
        """The value as text without quotes, one by one where there are several; an interval stays as it is written."""
        if self.is_interval or not self.is_sweep:
            return [] if self.is_deleted and self.value is None else [self.word]
        return [parse(text).word for text in self.each()]

    def each(self) -> list[str]:
        """One override text for each value of a sweep; the text itself for one value or an interval."""
        if not self.is_sweep or self.is_interval:
            return [self.text]
        globbed = getattr(self.parsed.value(), "filter", None)
        if globbed is None:
            chosen = self.parsed.is_choice_sweep()
            values = choices_as_text(self.text) if chosen else list(self.parsed.sweep_string_iterator())
            if len(set(values)) < len(values):
                twice = next(value for value in values if values.count(value) > 1)
                raise UserError(f"{self.text}: lists {twice} more than once; the runs of a sweep have to differ")
            return [f"{self.place}={value}" for value in values]
        from mimickit_hydra.config.groups import groups

        names = groups()[self.key].option_names() if self.key in groups() else []
        return [f"{self.place}={value}" for value in globbed(names)]


@functools.lru_cache(maxsize=8192)
def parse(text: str) -> Override:
    """Parse an override. Raises Hydra's OverrideParseException where the text is none."""
    (parsed,) = _parser().parse_overrides([text])
    return Override(text, parsed.key_or_group, parsed.package, parsed)


@functools.cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def find(key: str, overrides: Sequence[str]) -> Override | None:
    """The last override of ``key``; None without one."""
    found = [text for text in overrides if key in text]  # most are not, and need not be parsed
    return next((word for word in map(parse, reversed(found)) if word.key == key), None)


def value_of(key: str, overrides: Sequence[str]) -> str:
    """The value that the last override of ``key`` gives it, as text; empty for null and without one."""
    word = find(key, overrides)
    return "" if word is None or (word.value is None and not word.is_sweep) else word.word


def values_of(key: str, overrides: Sequence[str]) -> list[str]:
    """The values that the last override of ``key`` lists, as text; empty without one."""
    word = find(key, overrides)
    return [] if word is None else word.values


def plain(value: Any) -> str:
    """A value as text without quotes."""
    return value if isinstance(value, str) else quote(value)


def combinations(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Every combination of the listed values; if too many, each value once beside the first of the others."""
    axes = [parse(text).each() for text in overrides]
    total = 1
    for axis in axes:
        total *= max(len(axis), 1)
    if total <= _MAX_COMBINATIONS:
        yield from (list(combination) for combination in itertools.product(*axes))
        return
    first = [axis[0] for axis in axes]
    yield first
    for index, axis in enumerate(axes):
        for text in axis[1:]:
            yield [*first[:index], text, *first[index + 1 :]]


# ------------------------------------------------------------------------------------------------------------- writing


def _is_group(name: str) -> bool:
    """Whether a config folder of the user's has a group of this name, which then is what the word means."""
    from mimickit_hydra.config.groups import groups

    return name in groups()


def written_out(text: str) -> str:
    """The override with the whole key for a short one, and with ``~`` in its value expanded.

    Bash leaves ``key=~/path`` alone, and Hydra's grammar has no ``~``, and no letters but those of ASCII: both are put
    into quotes. A group that is empty by default may be written with ``+``, as in other projects of Hydra's:
    ``+experiment=NAME``.
    """
    name, equals, value = text.partition("=")
    if equals and name in _EMPTY_BY_DEFAULT:
        return text[1:]
    if equals and name in ALIASES and not _is_group(name):
        text = f"{ALIASES[name]}={value}"
    match = _HOME.match(text)
    if match is None:
        foreign = None if text.isascii() else _FOREIGN_WORDS.match(text)
        return text if foreign is None else foreign[1] + ",".join(map(quote, foreign[2].split(",")))
    key, opening, path, closing = match.groups()
    parts = [quote(os.path.expanduser(part)) if part.startswith("~") else part for part in path.split(",")]
    return f"{key}{opening}{','.join(parts)}{closing}"


def quote(value: Any) -> str:
    """A plain value as Hydra's override grammar writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{quote(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(quote(item) for item in value) + "]"
    text = str(value)
    if _PLAIN_WORD.match(text) and text.lower() not in ("null", "true", "false", "inf", "nan"):
        return text
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"
