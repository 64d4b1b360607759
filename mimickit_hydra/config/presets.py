"""The experiment that a run starts from, or the one most like it, and what differs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.config.catalog import groups
from mimickit_hydra.config.compare import Difference, differences
from mimickit_hydra.config.schema import RunConfig

_CHOICE = re.compile(r"^\s*-\s+override\s+/(\w+)(?:@\S+)?:\s*(\S+)", re.MULTILINE)
# What makes two runs alike, the weightiest first; motion alone matters least
_WEIGHTS = {"method": 8, "character": 4, "env": 2, "motion": 1}
_MACHINE = ("core", "engine", "compute")  # chosen for the machine: compared with the preset on the same one


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
    named = next((text.partition("=")[2] for text in overrides if text.startswith("experiment=")), "")
    name = named if named in groups()["experiment"].option_names() else nearest_preset(choices)
    if name is None:
        return None
    chosen = choices_of(_file(name))
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
        theirs = choices_of(option.path)
        if any(theirs.get(group) != choices.get(group) for group in ("method", "character")):
            continue
        score = sum(
            weight * (theirs.get(group) == choices.get(group) if group in theirs else 0.5)
            for group, weight in _WEIGHTS.items()
        )
        if score > most:
            best, most = option.name, score
    return best


def choices_of(path: Path) -> dict[str, str]:
    """The options that a preset chooses, by group."""
    return dict(_CHOICE.findall(path.read_text(encoding="utf-8")))


def _file(name: str) -> Path:
    return next(option.path for option in groups()["experiment"].options if option.name == name)
