"""Expands a sweep's command line into the frozen config of each run, in a few milliseconds a run.

Hydra's own sweeper composes every run twice. Here runs that choose the same groups are composed once; the values that
differ are then set on copies, in the same order and by the same rules as Hydra applies them. Where nothing else depends
on such a value (a seed, a step size) it is set on the dataclasses themselves.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimickit_hydra.config.compose import OURS, Source, sets
from mimickit_hydra.config.overrides import Override, find, parse, value_of
from mimickit_hydra.config.schema import LaunchConfig, RunConfig
from mimickit_hydra.config.typed import keep, of_override
from mimickit_hydra.errors import UserError
from mimickit_hydra.sweeps.hydra_settings import job_settings, refuse_not_carried, refuse_one_wandb_id
from mimickit_hydra.sweeps.names import Names, resolved, short_name
from mimickit_hydra.sweeps.single import with_absolute_paths

MAX_RUNS = 10_000  # more is a mistake in a range
_INTERPOLATION = re.compile(r"\$\{([^}]*)")
_KEY = re.compile(r"\w[\w.]*")
_SUBDIR = "${hydra.job.num}_${method.name}_${character.name}_${engine.engine_name}"  # of conf/config.yaml
MAXIMIZE = {  # what makes a sweeper maximise, by its name; all of them minimise unless told
    "optuna": "hydra.sweeper.direction=maximize",
    "nevergrad": "hydra.sweeper.optim.maximize=true",
    "ax": "hydra.sweeper.ax_config.experiment.minimize=false",
}
_PRESETS = ("sweep", "model", "experiment", "debug", "launch")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep, ready to be written down."""

    name: str  # of its directory, below that of the sweep
    overrides: list[str]  # all of them
    varied: list[str]  # those that differ between the runs
    frozen: str  # see runs/snapshot.py


@dataclass(frozen=True)
class Plan:
    sweep_dir: str
    runs: list[PlannedRun]


@dataclass(frozen=True)
class SweepSettings:
    """The settings of the sweep itself, from the command line and its presets."""

    params: list[str]  # the values that a preset lists, as overrides
    sweeper: str
    launcher: str
    sweep_dir: str
    launch: LaunchConfig = field(default_factory=lambda: LaunchConfig("local"))
    trials: int | None = None  # how many runs a search has
    sampler_seed: int | None = None
    parallel: int = 1  # how many runs of a search at the same time
    maximizes: bool = True  # whether a search looks for the highest return
    says_direction: bool = False  # whether that was given; the sweepers themselves minimise


def sweep_settings(overrides: Sequence[str], source: Source = OURS) -> SweepSettings:
    """Compose only what names presets or belongs to Hydra. UserError where a sweeper is not installed."""
    from hydra.errors import MissingConfigException

    from mimickit_hydra.config.compose import compose

    named = [text for text in overrides if _belongs_to_the_sweep(parse(text))]
    try:
        cfg = compose(named, with_hydra=True, source=source)
    except MissingConfigException as error:
        if (error.missing_cfg_file or "").startswith("hydra/sweeper/optuna"):
            raise UserError("hydra/sweeper=optuna: not installed; pip install 'mimickit-hydra[optuna]'") from None
        raise
    hydra = cfg.hydra
    choices = hydra.runtime.choices
    params = OmegaConf.select(hydra, "sweeper.params") or {}
    sweep_dir = _sweep_dir(str(hydra.sweep.dir), value_of("out_dir", overrides), overrides)
    maximizes, says_direction = _direction(hydra.sweeper, str(choices["hydra/sweeper"]), named, source)
    return SweepSettings(
        params=[f"{key}={value}" for key, value in params.items()],
        sweeper=str(choices["hydra/sweeper"]),
        launcher=str(choices["hydra/launcher"]),
        sweep_dir=sweep_dir,
        launch=_launch(cfg),
        trials=OmegaConf.select(hydra, "sweeper.n_trials"),
        sampler_seed=OmegaConf.select(hydra, "sweeper.sampler.seed"),
        parallel=max(OmegaConf.select(hydra, "sweeper.n_jobs") or 1, getattr(cfg.launch, "parallel", None) or 1),
        maximizes=maximizes,
        says_direction=says_direction,
    )


def _direction(sweeper: DictConfig, name: str, overrides: Sequence[str], source: Source) -> tuple[bool, bool]:
    """Whether the sweeper maximises what a run returns, and whether that was said by a file or an override."""
    if name not in MAXIMIZE:
        return True, True
    key, wanted = MAXIMIZE[name].split("=")
    value = OmegaConf.select(sweeper, key.removeprefix("hydra.sweeper."))
    if OmegaConf.is_list(value):
        raise UserError(f"{key}: found {list(map(_name, value))}, must be one direction: a run returns one number")
    return _name(value) == wanted, find(key, overrides) is not None or sets(key, overrides, source)


def _name(value: Any) -> str:
    return str(getattr(value, "name", value)).lower()


def _launch(cfg: DictConfig) -> LaunchConfig:
    launch = OmegaConf.to_object(cfg.launch)
    assert isinstance(launch, LaunchConfig)
    return launch


def _belongs_to_the_sweep(word: Override) -> bool:
    return not word.is_sweep and (word.is_hydra or word.key in _PRESETS or word.key.startswith("launch."))


def _sweep_dir(hydra_dir: str, out_dir: str, overrides: Sequence[str]) -> str:
    """The directory of the sweep; UserError where ``out_dir=`` and ``hydra.sweep.dir=`` differ."""
    found = [os.path.abspath(os.path.expanduser(path)) for path in (out_dir or hydra_dir, hydra_dir)]
    if out_dir and find("hydra.sweep.dir", overrides) and found[0] != found[1]:
        raise UserError(f"out_dir={out_dir} and hydra.sweep.dir={hydra_dir}: both name the sweep's directory; give one")
    return found[0]


def plan_sweep(overrides: Sequence[str], *, here: bool = True, source: Source = OURS) -> Plan:
    """Every combination of the values that ``overrides`` list, composed and checked.

    Args:
        here: whether the runs start on this machine, so that its GPU and packages matter.

    Raises:
        UserError, or what Hydra raises while composing, for the first run that cannot work.
    """
    return plan_runs(_combinations(overrides), here=here, source=source)


def plan_runs(runs: Sequence[Sequence[str]], *, first: int = 0, here: bool = True, source: Source = OURS) -> Plan:
    """Plan runs whose overrides are known; the first of them has number ``first``."""
    from mimickit_hydra.checks.check import validate
    from mimickit_hydra.runs.snapshot import freeze

    varying = _varying(runs)
    composer = _Composer(varying, source)
    names = Names()
    width = len(str(first + len(runs) - 1)) if first == 0 else 1
    planned, sweep_dir = [], ""
    for number, chosen in enumerate(runs, first):
        composed, values = composer.compose(chosen)
        run = composed.run_with(values)
        if run.rand_seed is None:  # drawn at submission: a run that is started again is the same run
            values["rand_seed"] = (time.time_ns() + number) % 2**31
        hydra, parsed = composed.hydra, [parse(text).parsed for text in chosen]
        of_hydra = functools.partial(_resolved, composed=composed, values=values, number=number, parsed=parsed)
        if not sweep_dir:
            refuse_not_carried(hydra.node, "of a sweep")
            own = str(run.out_dir) if find("out_dir", chosen) else ""
            sweep_dir = _sweep_dir(of_hydra("sweep.dir"), own, chosen)
        name = of_hydra("sweep.subdir") if hydra.subdir else ""
        name = names.take(name or short_name(run, str(number).zfill(width)), number, hydra.subdir)
        run = composed.run_with({**values, "out_dir": f"{sweep_dir}/{name}"})
        validate(run, machine=here)
        refuse_one_wandb_id(run)
        job = job_settings(hydra.node, of_hydra)
        run = with_absolute_paths(run) if job.chdir else run
        varied = [text for text in chosen if text in varying]
        planned.append(PlannedRun(name, list(chosen), varied, freeze(run, hydra.choices, chosen, job).text))
    return Plan(sweep_dir, planned)


def _resolved(key: str, composed: _Composed, values: Mapping[str, Any], number: int, parsed: Sequence[Any]) -> str:
    return resolved(key, composed.hydra.node, composed.cfg, values, number, parsed)


# ---------------------------------------------------------------------------------------------------------- composing


@dataclass(frozen=True)
class _HydraParts:
    node: DictConfig  # nothing in it is resolved
    subdir: str  # its text, empty unless it is another one than ours
    choices: dict[str, Any]


class _Composed:
    """A composed config, as OmegaConf's nodes and as dataclasses."""

    def __init__(self, cfg: DictConfig, hydra: _HydraParts) -> None:
        from mimickit_hydra.config.compose import to_run

        self.cfg = cfg
        self.hydra = hydra
        self._run = to_run(cfg)
        self._references = _references(cfg)

    def run_with(self, values: Mapping[str, Any]) -> RunConfig:
        """The run with some leaves changed, and with what depends on them."""
        from mimickit_hydra.config.compose import to_run

        if not any(self._is_referred_to(key) for key in values):
            run = self._run
            for key, value in values.items():
                run = _replaced(run, key.split("."), value)
            return run
        cfg = self.cfg.copy()
        for key, value in values.items():
            OmegaConf.update(cfg, key, value)
        return to_run(cfg)

    def _is_referred_to(self, key: str) -> bool:
        parts = key.split(".")
        above = (".".join(parts[: end + 1]) for end in range(len(parts)))
        return self._references is None or any(name in self._references for name in above)

    def leaf(self, word: Override) -> Any:
        """Its value converted as the config's node converts it; KeyError where that is no plain leaf on its own."""
        from omegaconf import StringNode, ValueNode
        from omegaconf.errors import OmegaConfBaseException

        node: Any = self.cfg
        for part in word.key.split("."):
            node = node._get_node(part) if isinstance(node, DictConfig) and not node._is_none() else None
        value = word.word if isinstance(node, StringNode) and word.value is not None else word.value
        if not isinstance(node, ValueNode) or isinstance(value, (list, dict)) or "${" in str(value):
            raise KeyError(word.key)
        try:
            return node.validate_and_convert(value)
        except OmegaConfBaseException:  # said better by the slow way
            raise KeyError(word.key) from None


def _references(cfg: DictConfig) -> set[str] | None:
    """The keys that interpolations in ``cfg`` refer to; None where their text does not tell."""
    found = _INTERPOLATION.findall(OmegaConf.to_yaml(cfg, resolve=False))
    plain = [text for text in found if not text.startswith(("now:", "oc.env:"))]
    return set(plain) if all(map(_KEY.fullmatch, plain)) else None


def _replaced(config: Any, path: Sequence[str], value: Any) -> Any:
    """A frozen dataclass, or a dictionary, with one leaf changed."""
    if len(path) > 1:
        before = config[path[0]] if isinstance(config, dict) else getattr(config, path[0])
        value = _replaced(before, path[1:], value)
    return {**config, path[0]: value} if isinstance(config, dict) else dataclasses.replace(config, **{path[0]: value})


class _Composer:
    """Composes each set of group choices once, with the values that all runs share."""

    def __init__(self, varying: Collection[str], source: Source) -> None:
        self._varying = varying
        self._source = source
        self._bases: dict[tuple[str, ...], tuple[DictConfig, _HydraParts]] = {}
        self._composed: dict[tuple[str, ...], _Composed | None] = {}

    def compose(self, overrides: Sequence[str]) -> tuple[_Composed, dict[str, Any]]:
        """The config, and values of leaves that are to be set on top of it."""
        own = [text for text in overrides if text in self._varying and self._is_plain(text)]
        shared = tuple(text for text in overrides if text not in own)
        if shared not in self._composed:
            self._composed[shared] = self._compose_shared(shared)
        found = self._composed[shared]
        if found is None:
            return self._compose(overrides), {}
        try:
            return found, {word.key: found.leaf(word) for word in map(parse, own)}
        except KeyError:
            return self._compose(overrides), {}

    def _compose_shared(self, overrides: tuple[str, ...]) -> _Composed | None:
        """None where the values that all runs share make no run on their own."""
        try:
            return self._compose(overrides)
        except Exception:
            return None

    def _compose(self, overrides: Sequence[str]) -> _Composed:
        from hydra._internal.config_loader_impl import ConfigLoaderImpl

        plain = [text for text in overrides if self._is_plain(text)]
        base_key = tuple(text for text in overrides if text not in plain)
        if base_key not in self._bases:
            self._bases[base_key] = self._base(base_key)
        base, hydra = self._bases[base_key]
        cfg = base.copy()
        words = [parse(text).parsed for text in plain]
        ConfigLoaderImpl._apply_overrides_to_config(words, cfg)
        keep(cfg, (scalar for word in words for scalar in of_override(word)))
        return _Composed(cfg, hydra)

    def _base(self, overrides: tuple[str, ...]) -> tuple[DictConfig, _HydraParts]:
        from mimickit_hydra.config.compose import compose, drop_hydra

        cfg = compose(list(overrides), with_hydra=True, source=self._source)
        subdir = str(cfg.hydra.sweep._get_node("subdir")._value())
        if subdir == _SUBDIR and not find("hydra.sweep.subdir", overrides):
            subdir = ""
        parts = _HydraParts(cfg.hydra, subdir, dict(cfg.hydra.runtime.choices))
        drop_hydra(cfg)
        return cfg, parts

    def _is_plain(self, text: str) -> bool:
        """``key=value`` of our own config: no group, nothing added or deleted, nothing of Hydra's."""
        from mimickit_hydra.config.groups import groups

        word = parse(text)
        changed = word.is_added or word.is_deleted or word.is_hydra or word.package is not None
        return not (changed or "/" in word.key or word.key in groups())


# ------------------------------------------------------------------------------------------------------- combinations


def _combinations(overrides: Sequence[str]) -> list[list[str]]:
    """Every combination; of a key that is given twice the last counts."""
    axes: dict[str, list[str]] = {}
    for word in map(parse, overrides):
        axes.pop(word.place, None)
        axes[word.place] = _values(word)
    total = math.prod(map(len, axes.values()))
    _refuse_many(total)
    return [list(combination) for combination in itertools.product(*axes.values())]


def _refuse_many(total: int) -> None:
    if total > MAX_RUNS:
        raise UserError(f"this sweep would have {total:,} runs, at most {MAX_RUNS:,} are allowed; narrow a range")


def _values(word: Override) -> list[str]:
    if word.is_interval:
        raise UserError(f"{word.text}: an interval is searched by Optuna; add hydra/sweeper=optuna or list the values")
    if word.is_sweep and word.is_hydra:
        raise UserError(f"{word.text}: Hydra's own settings are the same for all runs of a sweep")
    if word.parsed.is_range_sweep():  # counted before they are listed
        numbers = word.parsed.value()
        _refuse_many(math.ceil((numbers.stop - numbers.start) / numbers.step))
    if not (values := word.each()):
        raise UserError(f"{word.text}: has no value in it")
    return values


def _varying(runs: Sequence[Sequence[str]]) -> set[str]:
    """The overrides that some run has and another has not."""
    common = set(runs[0]).intersection(*map(set, runs)) if runs else set()
    everything = {text for chosen in runs for text in chosen}
    return everything - common if len(runs) > 1 else set()
