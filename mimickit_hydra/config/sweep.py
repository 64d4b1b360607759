"""The runs that a command line starts: one, or every combination of a sweep."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

_MAX_COMBINATIONS = 32  # beyond it each value is tried once, beside the first value of the others


def is_sweep(args: argparse.Namespace) -> bool:
    """Whether Hydra's arguments ask for several runs."""
    return bool(args.multirun) or "hydra.mode=MULTIRUN" in args.overrides


def runs_of(overrides: Sequence[str], *, sweep: bool) -> Iterator[tuple[list[str], bool]]:
    """Yield ``(overrides of one run, runs on this machine)``.

    A sweeper that chooses values as it goes (Optuna) is asked for nothing: its runs are checked when they start.
    Another launcher than Hydra's own starts them elsewhere, so this machine's GPU and packages say nothing.
    """
    if not sweep:
        yield list(overrides), True
        return
    if any(text.startswith("hydra/sweeper=") and text != "hydra/sweeper=basic" for text in overrides):
        return
    here = not any(text.startswith("hydra/launcher=") and text != "hydra/launcher=basic" for text in overrides)
    for chosen in _combinations([_values(parsed) for parsed in _parse(overrides)]):
        yield chosen, here


def _parse(overrides: Sequence[str]) -> list[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return list(OverridesParser.create().parse_overrides(list(overrides)))


def _values(parsed: Any) -> list[str]:
    """One override per value of a sweep; an override without a sweep is itself."""
    if not parsed.is_sweep_override() or not parsed.is_discrete_sweep():
        return [parsed.input_line]
    key = parsed.get_key_element()
    return [f"{key}={value}" for value in parsed.sweep_string_iterator()]


def _combinations(axes: list[list[str]]) -> Iterator[list[str]]:
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
