"""Compares a run with the experiment that it starts from, or with the one most like it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.config.compare import Difference, differences
from mimickit_hydra.config.defaults import read
from mimickit_hydra.config.groups import groups
from mimickit_hydra.config.overrides import value_of
from mimickit_hydra.config.schema import RunConfig

# What makes two runs alike, the weightiest first; motion alone matters least
_WEIGHTS = {"method": 8, "character": 4, "env": 2, "motion": 1}
_MACHINE = ("core", "engine", "compute", "recipe")  # chosen for the machine: compared with the preset on the same one


@dataclass(frozen=True)
class Preset:
    """An experiment beside a run: ``named`` if the run was composed from it."""

    name: str
    named: bool
    overrides: list[str]  # that the run is compared with
    differences: list[Difference]


def compare_with_preset(overrides: Sequence[str], run: RunConfig, choices: Mapping[str, str]) -> Preset | None:
    """What ``run``, composed from ``overrides``, changes in its experiment or, without one, in the nearest.

    ``choices`` are the run's options by group. None where no experiment has the same method and character.
    """
    named = value_of("experiment", overrides)
    name = named if named in groups()["experiment"].option_names() else nearest_preset(choices)
    if name is None:
        return None
    chosen = read(_file(name)).chosen
    same = [f"{group}={choices[group]}" for group in _MACHINE if group in choices and group not in chosen]
    same = [word for word in same if word != "core=native"]
    beside = [f"experiment={name}", *same, "out_dir=null"]
    ignored = ("rand_seed",) if run.rand_seed is None else ()
    found = differences(shlex.join(beside), shlex.join([*overrides, "out_dir=null"]))
    kept = [one for one in found if one.key not in ignored and not one.key.startswith("core.")]
    return Preset(name, name == named, beside[:-1], kept)


def nearest_preset(choices: Mapping[str, str]) -> str | None:
    """The experiment of the same method and character that shares most with ``choices``."""
    best, most = None, 0.0
    for option in groups()["experiment"].options:
        theirs = read(option.path).chosen
        if any(theirs.get(group) != choices.get(group) for group in ("method", "character")):
            continue
        score = sum(
            weight * (theirs.get(group) == choices.get(group) if group in theirs else 0.5)
            for group, weight in _WEIGHTS.items()
        )
        if score > most:
            best, most = option.name, score
    return best


def _file(name: str) -> Path:
    return next(option.path for option in groups()["experiment"].options if option.name == name)
