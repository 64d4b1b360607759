"""What another choice would change in a composed config, and which choices go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimickit_hydra.checks.compatibility import check_pairs, entries_of, fits, made_for
from mimickit_hydra.config.compose import compose, config_loader, drop_hydra, flatten, load, to_run
from mimickit_hydra.config.defaults import read
from mimickit_hydra.config.groups import default_choices, groups
from mimickit_hydra.config.messages import one_line
from mimickit_hydra.config.overrides import parse
from mimickit_hydra.plugins import AGENTS, ENVS

ABSENT = "–"  # the key is not there
_MEANS_NOTHING = ("out_dir",)  # differs at every start


@dataclass(frozen=True)
class Alternative:
    """An option that could be chosen instead: the keys it changes, with both values, or why it does not fit."""

    option: str
    help: str
    changes: tuple[tuple[str, Any, Any], ...] = ()
    problem: str = ""


def alternatives(group: str, overrides: Sequence[str] = ()) -> list[Alternative]:
    """The options of a group, with what each would change in the config that ``overrides`` compose to."""
    now = flatten(compose(overrides), resolve=True)
    words = [word for word in overrides if parse(word).key != group]
    with config_loader() as loader:
        return [
            Alternative(option.name, option.help, *_compared(loader, [*words, f"{group}={option.name}"], now))
            for option in groups()[group].options
        ]


def _compared(loader: Any, words: list[str], now: Mapping[str, Any]) -> tuple[tuple[tuple[str, Any, Any], ...], str]:
    """The keys that ``words`` change, and the line that refuses them, if one does."""
    changes: tuple[tuple[str, Any, Any], ...] = ()
    try:
        cfg = load(loader, words)
        drop_hydra(cfg)
        then = flatten(cfg, resolve=True)
        keys = [key for key in dict.fromkeys([*now, *then]) if key not in _MEANS_NOTHING]
        rows = ((key, now.get(key, ABSENT), then.get(key, ABSENT)) for key in keys)
        changes = tuple(row for row in rows if row[1] != row[2])
        check_pairs(to_run(cfg))
    except Exception as error:
        line = one_line(error, words)
        if line is None:
            raise
        return changes, line
    return changes, ""


# --------------------------------------------------------------------------------------------------------------- pairs


@dataclass(frozen=True)
class Pairs:
    """Which options of one group go with each option of another; ``own`` is what it chooses by itself."""

    group: str
    other: str
    rows: tuple[tuple[str, tuple[str, ...], str], ...]  # option, what fits, own


def pairs() -> list[Pairs]:
    """The envs of each method and the motions of each character, from the YAMLs and the registries alone."""
    known = groups()
    agents, envs = entries_of("agent", AGENTS), entries_of("env", ENVS)
    methods = []
    for option in known["method"].options:
        chosen = read(option.path).chosen
        names = tuple(name for name, env in envs.items() if fits(agents[chosen["agent"]], env))
        methods.append((option.name, names, chosen["env"]))
    characters = []
    for option in known["character"].options:
        file = read(option.path)
        names = tuple(dict.fromkeys([*made_for(option.name), *made_for(file.values.get("clips_of", option.name))]))
        characters.append((option.name, names, file.chosen.get("motion", default_choices()["motion"])))
    return [Pairs("method", "env", tuple(methods)), Pairs("character", "motion", tuple(characters))]
