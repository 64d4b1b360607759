"""From a sweep's command line to the frozen config of each of its runs, a few milliseconds a run.

Hydra's own sweeper composes every run twice. Here runs that choose the same groups are composed once; the values that
differ are then set on copies, in the same order and by the same rules as Hydra applies them. Where nothing else depends
on such a value (a seed, a step size) it is set on the dataclasses themselves.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.plan_names import Names, resolved, short_name
from mimickit_hydra.config.schema import LaunchConfig, LocalLaunchConfig, RunConfig

MAX_RUNS = 10_000  # more is a mistake in a range
_LAUNCH = re.compile(r"^\+?launch(\.[\w-]+)*=")
_INTERPOLATION = re.compile(r"\$\{([^}]*)")
_KEY = re.compile(r"\w[\w.]*")
_PRESET = re.compile(r"^(sweep|experiment|debug|hydra[./][\w./]+)=[^,()]*$")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep, ready to be written down."""

    name: str  # of its directory, below that of the sweep
    overrides: list[str]  # all of them
    varied: list[str]  # those that differ between the runs
    frozen: str  # see config/frozen.py


@dataclass(frozen=True)
class Plan:
    sweep_dir: str
    runs: list[PlannedRun]


@dataclass(frozen=True)
class SweepSettings:
    """What the command line and its presets say about the sweep itself."""

    params: list[str]  # the values that a preset lists, as overrides
    sweeper: str
    launcher: str
    sweep_dir: str
    launch: LaunchConfig = field(default_factory=lambda: LocalLaunchConfig("local"))
    trials: int | None = None  # how many runs a search has
    sampler_seed: int | None = None
    parallel: int = 1  # how many runs of a search at the same time


def sweep_settings(overrides: Sequence[str]) -> SweepSettings:
    """Compose only what names presets or belongs to Hydra. UserError where a sweeper is not installed."""
    from hydra.errors import MissingConfigException

    from mimickit_hydra.config.compose import compose

    named = [text for text in overrides if _PRESET.match(text) or _LAUNCH.match(text)]
    try:
        cfg = compose(named, with_hydra=True)
    except MissingConfigException as error:
        if (error.missing_cfg_file or "").startswith("hydra/sweeper/optuna"):
            raise UserError("hydra/sweeper=optuna: not installed; pip install 'mimickit-hydra[optuna]'") from None
        raise
    hydra = cfg.hydra
    choices = hydra.runtime.choices
    params = OmegaConf.select(hydra, "sweeper.params") or {}
    given = _last_value("out_dir", overrides)
    return SweepSettings(
        params=[f"{key}={value}" for key, value in params.items()],
        sweeper=str(choices["hydra/sweeper"]),
        launcher=str(choices["hydra/launcher"]),
        sweep_dir=os.path.abspath(os.path.expanduser(given or str(hydra.sweep.dir))),
        launch=_launch(cfg),
        trials=OmegaConf.select(hydra, "sweeper.n_trials"),
        sampler_seed=OmegaConf.select(hydra, "sweeper.sampler.seed"),
        parallel=max(OmegaConf.select(hydra, "sweeper.n_jobs") or 1, getattr(cfg.launch, "parallel", None) or 1),
    )


def _launch(cfg: DictConfig) -> LaunchConfig:
    launch = OmegaConf.to_object(cfg.launch)
    assert isinstance(launch, LaunchConfig)
    return launch


def _last_value(key: str, overrides: Sequence[str]) -> str:
    found = [text.partition("=")[2].strip("'\"") for text in overrides if text.partition("=")[0] == key]
    return found[-1] if found else ""


def plan_sweep(overrides: Sequence[str], *, here: bool = True) -> Plan:
    """Every combination of the values that ``overrides`` list, composed and checked.

    Args:
        here: whether the runs start on this machine, so that its GPU and packages matter.

    Raises:
        UserError, or what Hydra raises while composing, for the first run that cannot work.
    """
    return plan_runs(_combinations(overrides), here=here)


def plan_runs(runs: Sequence[Sequence[str]], *, first: int = 0, here: bool = True) -> Plan:
    """The same for runs whose overrides are known; the first of them has number ``first``."""
    from mimickit_hydra.config.frozen import freeze
    from mimickit_hydra.config.validate import validate

    varying = _varying(runs)
    composer = _Composer(varying)
    names = Names()
    width = len(str(first + len(runs) - 1)) if first == 0 else 1
    planned, sweep_dir = [], ""
    for number, chosen in enumerate(runs, first):
        composed, values = composer.compose(chosen)
        run = composed.run_with(values)
        if run.rand_seed is None:  # drawn at submission: a run that is started again is the same run
            values["rand_seed"] = (time.time_ns() + number) % 2**31
        hydra, parsed = composed.hydra, composer.parsed(chosen)
        if not sweep_dir:
            own = any(override.key_or_group == "out_dir" for override in parsed)
            given = str(run.out_dir) if own else _resolved("sweep.dir", composed, values, number, parsed)
            sweep_dir = os.path.abspath(os.path.expanduser(given))
        name = _resolved("sweep.subdir", composed, values, number, parsed) if hydra.subdir else ""
        name = names.take(name or short_name(run, str(number).zfill(width)), number, hydra.subdir)
        run = composed.run_with({**values, "out_dir": f"{sweep_dir}/{name}"})
        validate(run, machine=here)
        varied = [text for text in chosen if text in varying]
        planned.append(PlannedRun(name, list(chosen), varied, freeze(composed.cfg, hydra.choices, chosen, run)))
    return Plan(sweep_dir, planned)


def _resolved(key: str, composed: _Composed, values: Mapping[str, Any], number: int, parsed: Sequence[Any]) -> str:
    return resolved(key, composed.hydra.node, composed.cfg, values, number, parsed)


# ---------------------------------------------------------------------------------------------------------- composing


@dataclass(frozen=True)
class _HydraParts:
    node: DictConfig  # nothing in it is resolved
    subdir: str  # its text, empty unless the command line names it
    choices: dict[str, Any]


class _Composed:
    """A composed config, and the same as dataclasses."""

    def __init__(self, cfg: DictConfig, hydra: _HydraParts) -> None:
        from mimickit_hydra.config.compose import to_run

        self.cfg = cfg
        self.hydra = hydra
        self._run = to_run(cfg)
        self._references = _references(cfg)

    def run_with(self, values: Mapping[str, Any]) -> RunConfig:
        """The run with other values of leaves; other values follow where they depend on one of these."""
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

    def leaf(self, key: str, value: Any) -> Any:
        """``value`` converted as the config's node converts it; KeyError where that is no plain leaf on its own."""
        from omegaconf import ValueNode
        from omegaconf.errors import OmegaConfBaseException

        node: Any = self.cfg
        for part in key.split("."):
            node = node._get_node(part) if isinstance(node, DictConfig) and not node._is_none() else None
        if not isinstance(node, ValueNode) or isinstance(value, (list, dict)) or "${" in str(value):
            raise KeyError(key)
        try:
            return node.validate_and_convert(value)
        except OmegaConfBaseException:  # said better by the slow way
            raise KeyError(key) from None


def _references(cfg: DictConfig) -> set[str] | None:
    """What interpolations in ``cfg`` refer to; None where that cannot be read off their text."""
    found = _INTERPOLATION.findall(OmegaConf.to_yaml(cfg, resolve=False))
    plain = [text for text in found if not text.startswith("now:")]
    return set(plain) if all(map(_KEY.fullmatch, plain)) else None


def _replaced(config: Any, path: Sequence[str], value: Any) -> Any:
    """A frozen dataclass, or a dictionary, with one leaf changed."""
    if len(path) > 1:
        before = config[path[0]] if isinstance(config, dict) else getattr(config, path[0])
        value = _replaced(before, path[1:], value)
    return {**config, path[0]: value} if isinstance(config, dict) else dataclasses.replace(config, **{path[0]: value})


class _Composer:
    """Composes each set of group choices once, with the values that all runs share."""

    def __init__(self, varying: Collection[str]) -> None:
        self._varying = varying
        self._bases: dict[tuple[str, ...], tuple[DictConfig, _HydraParts]] = {}
        self._composed: dict[tuple[str, ...], _Composed | None] = {}
        self._parsed: dict[str, Any] = {}

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
            return found, {key: found.leaf(key, value) for key, value in map(self._key_and_value, own)}
        except KeyError:
            return self._compose(overrides), {}

    def _compose_shared(self, overrides: tuple[str, ...]) -> _Composed | None:
        """None where the values that all runs share make no run on their own."""
        try:
            return self._compose(overrides)
        except Exception:
            return None

    def _key_and_value(self, text: str) -> tuple[str, Any]:
        parsed = self._parse(text)
        return parsed.key_or_group, parsed.value()

    def _compose(self, overrides: Sequence[str]) -> _Composed:
        from hydra._internal.config_loader_impl import ConfigLoaderImpl

        plain = [text for text in overrides if self._is_plain(text)]
        base_key = tuple(text for text in overrides if text not in plain)
        if base_key not in self._bases:
            self._bases[base_key] = self._base(base_key)
        base, hydra = self._bases[base_key]
        cfg = base.copy()
        ConfigLoaderImpl._apply_overrides_to_config([self._parse(text) for text in plain], cfg)
        return _Composed(cfg, hydra)

    def parsed(self, overrides: Sequence[str]) -> list[Any]:
        return [self._parse(text) for text in overrides]

    def _base(self, overrides: tuple[str, ...]) -> tuple[DictConfig, _HydraParts]:
        from mimickit_hydra.config.compose import compose, drop_hydra

        cfg = compose(list(overrides), with_hydra=True)
        subdir = ""
        if any(self._parse(text).key_or_group == "hydra.sweep.subdir" for text in overrides):
            subdir = str(cfg.hydra.sweep._get_node("subdir")._value())
        parts = _HydraParts(cfg.hydra, subdir, dict(cfg.hydra.runtime.choices))
        drop_hydra(cfg)
        return cfg, parts

    def _is_plain(self, text: str) -> bool:
        """``key=value`` of our own config: no group, nothing added or deleted, nothing of Hydra's."""
        from mimickit_hydra.config.catalog import groups

        parsed = self._parse(text)
        key = parsed.key_or_group
        added = parsed.is_delete() or parsed.is_add() or parsed.is_force_add()
        return not (added or "@" in text.split("=")[0] or "/" in key or key in groups() or key.startswith("hydra."))

    def _parse(self, text: str) -> Any:
        from hydra.core.override_parser.overrides_parser import OverridesParser

        if text not in self._parsed:
            self._parsed[text] = OverridesParser.create().parse_override(text)
        return self._parsed[text]


# ------------------------------------------------------------------------------------------------------- combinations


def _combinations(overrides: Sequence[str]) -> list[list[str]]:
    """Every combination; of a key that is given twice the last counts."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from mimickit_hydra.config.compose import config_loader

    axes: dict[str, list[str]] = {}
    with config_loader() as loader:  # glob() asks it for the options of a group
        for parsed in OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)):
            key = parsed.get_key_element()
            axes.pop(key, None)
            axes[key] = _values(parsed, key)
    total = 1
    for axis in axes.values():
        total *= len(axis)
    if total > MAX_RUNS:
        raise UserError(f"this sweep would have {total:,} runs, at most {MAX_RUNS:,} are allowed; narrow a range")
    return [list(combination) for combination in itertools.product(*axes.values())]


def _values(parsed: Any, key: str) -> list[str]:
    if not parsed.is_sweep_override():
        return [parsed.input_line]
    if not parsed.is_discrete_sweep():
        raise UserError(
            f"{parsed.input_line}: an interval is searched by Optuna; add hydra/sweeper=optuna or list the values"
        )
    values = [f"{key}={value}" for value in parsed.sweep_string_iterator()]
    if not values:
        raise UserError(f"{parsed.input_line}: has no value in it")
    return list(dict.fromkeys(values))


def _varying(runs: Sequence[Sequence[str]]) -> set[str]:
    """The overrides that some run has and another has not."""
    common = set(runs[0]).intersection(*map(set, runs)) if runs else set()
    everything = {text for chosen in runs for text in chosen}
    return everything - common if len(runs) > 1 else set()
