"""Carries a saved run over to other group options: which of its choices and values still apply.

The header of a saved config names the option of every group, also of those that another group chose: method=amp chooses
env=amp and agent=amp. On the command line all of them would win over what a new word chooses. So an option that another
one chose is left out when the user names another group's option, and the new options choose afresh. Of the saved values
those are left out that have no place any more, or that describe what the new word replaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mimickit_hydra.config.defaults import read
from mimickit_hydra.config.groups import Group, first_defaults, groups
from mimickit_hydra.config.overrides import combinations, parse, quote, value_of, values_of
from mimickit_hydra.envs.term_schema import TABLES
from mimickit_hydra.errors import UserError

# The groups whose options lead to other options or other keys.
_STRUCTURE = ("core", "engine", "method", "character", "motion", "env", "agent", "recipe", "compute")
_FIXED = ("engine", "method", "env", "agent", "character")  # a checkpoint holds the state of each
_DESCRIBED = ("character", "motion")  # their values say what the named thing is, so they go with it
_NAMES = ("core.name", "method.name", "env.env_name", "agent.agent_name", "engine.engine_name")
_OF_ANY_ENGINE = ("control_mode", "control_freq", "sim_freq", "env_spacing")
_OF_THE_ENGINES_MACHINE = ("devices", "compute.devices")
_TERMS = tuple(f"env.{table}." for table in TABLES)
_WHOLE = ("model", "experiment")  # name options of other groups
_PRESETS = (*_WHOLE, "debug")


def chosen_by(group: str, option: str | None) -> dict[str, str]:
    """The options of other groups that ``option`` of ``group`` chooses."""
    path = _path(groups().get(group), option)
    return read(path).chosen if path else {}


def preset_keys(overrides: Sequence[str]) -> set[str]:
    """The keys that ``model=``, ``experiment=`` and ``debug=`` among the overrides set."""
    from omegaconf import DictConfig, OmegaConf

    from mimickit_hydra.config.compose import flatten

    keys: set[str] = set()
    for group in _PRESETS:
        for option in values_of(group, overrides):
            if path := _path(groups().get(group), option):
                preset = OmegaConf.load(path)
                keys |= set(flatten(preset)) if isinstance(preset, DictConfig) else set()
    return keys - {"defaults"}


def named_options(overrides: Sequence[str]) -> dict[str, list[str]]:
    """The options that overrides choose by group, directly or through an experiment or a model."""
    named = {group: values_of(group, overrides) for group in _STRUCTURE if value_of(group, overrides)}
    by_preset: dict[str, list[str]] = {}
    for preset, option in _presets(overrides):
        for group, chosen in chosen_by(preset, option).items():
            by_preset.setdefault(group, []).append(chosen)
    return {**by_preset, **named}


def _presets(overrides: Sequence[str]) -> list[tuple[str, str]]:
    return [(group, option) for group in _WHOLE for option in values_of(group, overrides)]


def refuse_other(run_dir: str, choices: Mapping[str, str], overrides: Sequence[str]) -> None:
    """UserError for an override that would turn the resumed run into another one."""
    for group, options in named_options(overrides).items():
        was = choices.get(group)
        if group in _FIXED and was is not None and options != [was]:
            word = f"{group}={','.join(options)}"
            raise UserError(
                f"resume={run_dir}: {word} differs from the run's {group}={was}, which cannot change; "
                f"a new run from its settings: --from {run_dir} {word}"
            )


def regroup(
    run_dir: str,
    choices: Mapping[str, str],
    values: Sequence[str],
    overrides: Sequence[str],
    *,
    keep: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """A saved run's choices and values as overrides for a command line that goes on with ``overrides``.

    Args:
        run_dir: for messages.
        choices: the run's option of each group.
        values: what the run sets beside them.
        overrides: the words of the command line.
        keep: groups that stay as they were whatever would choose them.

    Returns:
        The overrides that go before the user's, and those of ``values`` that are left out.

    Raises:
        UserError: a value has a place in some runs of a sweep and none in others.
    """
    preset = preset_keys(overrides)
    candidates = [text for text in values if parse(text).key not in preset]
    named = named_options(overrides)
    presets = _presets(overrides)
    if not presets and all(options == [choices.get(group)] for group, options in named.items()):
        return [*_words(choices), *candidates], []
    whole = {group for preset in presets for group in chosen_by(*preset)}
    whole |= {led for group in whole for option in groups()[group].option_names() for led in chosen_by(group, option)}
    kept = {
        group: option
        for group, option in choices.items()
        if group in keep or (group not in whole and option != derived(group, choices))
    }
    words = [text for text in overrides if parse(text).key in (*_STRUCTURE, *_WHOLE)]
    fitting, runs = _fitting(candidates, choices, [*_words(kept), *words])
    for text in candidates:
        if 0 < fitting[text] < runs:
            raise UserError(
                f"{text}: set in {run_dir}, but not every one of {' '.join(words)} has a place for it; "
                "start one command for each, or set it on the command line"
            )
    fits = [text for text in candidates if fitting[text]]
    return [*_words(kept), *fits], [text for text in candidates if not fitting[text]]


def on_its_machine(choices: Mapping[str, str], values: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """``devices`` and ``num_envs`` for a test on another engine than the run's; ``compute`` stays, for the networks.

    Nothing where the command line names a device or a machine itself.
    """
    from omegaconf import OmegaConf

    from mimickit_hydra.gpus import gpu_count

    engines = values_of("engine", overrides)
    if engines in ([], [choices.get("engine")]) or any(
        value_of(key, overrides) for key in ("compute", "core", *_OF_THE_ENGINES_MACHINE)
    ):
        return []
    presets = {chosen_by("engine", engine).get("compute", first_defaults()["compute"]) for engine in engines}
    found = [OmegaConf.load(path) for name in presets if (path := _path(groups()["compute"], name))]
    on_cpu = next((one for one in found if list(one.devices) == ["cpu"]), None)  # with several engines all can do that
    elsewhere = "slurm" in values_of("launch", overrides)
    if on_cpu is None:
        devices = ["cpu"] if gpu_count() == 0 and not elsewhere else list(found[0].devices) if found else []
        return [f"devices={quote(devices)}"] if devices else []
    given = {parse(text).key for text in (*values, *overrides)} | preset_keys(overrides)
    num_envs = [] if given & {"num_envs", "compute.num_envs"} else [f"num_envs={on_cpu.num_envs}"]
    return [f"devices={quote(list(on_cpu.devices))}", *num_envs]


def rates_of_training(engine: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Overrides that keep the engine rates of the training, at which the policy has learned to act, on any engine."""
    if values_of("engine", overrides) in ([], [engine.get("engine_name")]):
        return []
    return [f"engine.{key}={quote(engine[key])}" for key in _OF_ANY_ENGINE if key in engine]


def _fitting(
    candidates: Sequence[str], choices: Mapping[str, str], chosen: Sequence[str]
) -> tuple[dict[str, int], int]:
    """In how many of the runs that the choices lead to each value has its place, and how many runs there are."""
    from mimickit_hydra.config.compose import compose, drop_hydra, flatten

    found, runs = dict.fromkeys(candidates, 0), 0
    for overrides in combinations(chosen):
        cfg = compose(overrides, with_hydra=True)
        now = cfg.hydra.runtime.choices
        changed = {group for group in _STRUCTURE if group in choices and now.get(group) != choices[group]}
        drop_hydra(cfg)
        runs += 1
        raw = flatten(cfg)
        for text in candidates:
            found[text] += _has_place(parse(text).key, raw, changed)
    return found, runs


def _has_place(key: str, raw: Mapping[str, Any], changed: set[str]) -> bool:
    group, _, name = key.partition(".")
    if key.startswith(_TERMS):  # any env takes them
        return True
    if key in _NAMES or group in (*_DESCRIBED, "core"):
        return group not in changed and (key in raw or group == "core")
    if "engine" in changed and (key in _OF_THE_ENGINES_MACHINE or (group == "engine" and name not in _OF_ANY_ENGINE)):
        return False
    follows = re.findall(r"\$\{(\w+)\.", raw[key]) if isinstance(raw.get(key), str) else []
    return key in raw and not changed & set(_DESCRIBED) & set(follows)


def derived(group: str, choices: Mapping[str, str]) -> str | None:
    """The option of ``group`` that the other choices lead to when no override names one."""
    option = first_defaults().get(group)
    for other, chosen in choices.items():
        option = chosen_by(other, chosen).get(group, option)
    return option


def _path(group: Group | None, option: str | None) -> Any:
    return next((found.path for found in (group.options if group else ()) if found.name == option), None)


def _words(choices: Mapping[str, str]) -> list[str]:
    return [f"{group}={option}" for group, option in choices.items()]


def under_preset(overrides: Sequence[str], name: str) -> list[str]:
    """A saved run's overrides without those that ``debug=name`` sets: what is given on top of a run wins."""
    keys = preset_keys([f"debug={name}"])
    return [text for text in overrides if parse(text).key not in keys]
