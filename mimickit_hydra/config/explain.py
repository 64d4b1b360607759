"""Traces every value of a composed config to the file or override that set it, and to what it replaced.

Hydra's own defaults list says which files are merged in which order. Each is loaded again by itself and every leaf it
sets is written down with its file and line; the last entry of a key is the one in force.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimickit_hydra.config.compose import CONFIG_NAME, config_loader, flatten
from mimickit_hydra.config.defaults import read
from mimickit_hydra.config.fields import declared
from mimickit_hydra.config.roots import conf_dir, find, shown

COMMAND_LINE = "command line"
_INTERPOLATION = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Assignment:
    """One place that gives a key a value."""

    value: Any  # raw: an interpolation is the text ``${...}``
    source: str  # conf/agent/ppo.yaml:12, schema PPOAgentConfig, command line
    config: str = ""  # the config's path in its group folder, e.g. agent/common/policy; empty for the command line


@dataclass(frozen=True)
class Choice:
    """The option of a group in use, who chose it, and which option that replaced."""

    option: str | None
    source: str
    replaced: tuple[tuple[str | None, str], ...] = ()


@dataclass
class Provenance:
    """The composed config with the history of each leaf, oldest assignment first."""

    cfg: DictConfig
    history: dict[str, list[Assignment]] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)
    reasons: dict[str, tuple[str, ...]] = field(default_factory=dict)  # config path -> the groups that bring it in

    def final(self, key: str) -> Any:
        """The value with interpolations resolved."""
        value = OmegaConf.select(self.cfg, key)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

    def references(self, key: str) -> list[str]:
        """The keys that the value in force refers to."""
        value = self.history[key][-1].value
        return (
            [name for name in _INTERPOLATION.findall(value) if name in self.history] if isinstance(value, str) else []
        )


def trace(overrides: Sequence[str] = ()) -> Provenance:
    """Compose with ``overrides`` and write down every assignment. Raises as :func:`compose` does."""
    from hydra.types import RunMode

    from mimickit_hydra.config.compose import compose

    found = Provenance(compose(overrides))
    with config_loader() as loader:
        defaults = loader.compute_defaults_list(CONFIG_NAME, list(overrides), RunMode.RUN)
        for default in defaults.defaults:
            if default.config_path and not default.config_path.startswith("hydra/"):
                _record_config(found, loader.repository, default)
    _record_overrides(found, defaults.config_overrides)
    _record_choices(found, defaults.overrides)
    in_force = flatten(found.cfg)
    for key, history in found.history.items():
        if isinstance(history[-1].value, (bool, int, float, list)):  # what was typed, for keys of text
            history[-1] = replace(history[-1], value=in_force.get(key, history[-1].value))
    return found


# ------------------------------------------------------------------------------------------------------ assignments


def _record_config(found: Provenance, repository: Any, default: Any) -> None:
    loaded = repository.load_config(default.config_path)
    if loaded is None or not isinstance(loaded.config, DictConfig):
        return
    package = default.package if default.package is not None else loaded.header.get("package") or ""
    prefix = "" if package in ("", "_global_") else f"{package}."
    lines = {} if loaded.is_schema_source else read(_file_of(default.config_path, loaded.path)).lines
    for key, value in flatten(loaded.config).items():
        if key == "hydra" or key.startswith(("hydra.", "defaults")) or (loaded.is_schema_source and value == "???"):
            continue
        if loaded.is_schema_source:
            source = _schema_source(loaded.config, key)
        else:
            file = shown(_file_of(default.config_path, loaded.path))
            source = f"{file}:{lines[key]}" if key in lines else file
        found.history.setdefault(prefix + key, []).append(Assignment(value, source, default.config_path))


def _schema_source(node: DictConfig, key: str) -> str:
    kind, _ = declared(node, key) or (node._metadata.object_type, None)
    return f"schema {kind.__name__} ({kind.__module__})"


def _record_overrides(found: Provenance, config_overrides: Sequence[Any]) -> None:
    for override in config_overrides:
        key = override.key_or_group
        if key.startswith("hydra"):
            continue
        value = override.value()
        values = {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
        for name, item in values.items():
            found.history.setdefault(name, []).append(Assignment(item, f"{COMMAND_LINE} ({override.input_line})"))


def _file_of(config_path: str, root: str) -> Path:
    folder = Path(root[len("file://") :]) if root.startswith("file://") else conf_dir()
    return folder / f"{config_path}.yaml"


# ---------------------------------------------------------------------------------------------------------- choices


def _record_choices(found: Provenance, overrides: Any) -> None:
    primary = conf_dir() / f"{CONFIG_NAME}.yaml"
    firsts = {entry.group: entry for entry in read(primary).defaults}
    for key, option in overrides.known_choices.items():
        if key.startswith("hydra/"):
            continue
        group = key.split("@")[0]
        first = firsts.get(group)
        if "/" in group:  # an optional file that other choices bring in
            if first is not None:
                needed = tuple(_INTERPOLATION.findall(first.option or ""))
                found.reasons[f"{group}/{option}"] = needed
            continue
        stages = [(first.option, f"{shown(primary)}:{first.line}")] if first is not None else []
        meta = overrides.override_metadata.get(key)
        if meta is not None and meta.external_override:
            stages.append((overrides.override_choices[key], COMMAND_LINE))
        elif meta is not None:
            inner = find(f"{meta.containing_config_path}.yaml") or primary
            line = next((entry.line for entry in read(inner).defaults if entry.is_override and entry.group == group), 0)
            stages.append((overrides.override_choices[key], f"{shown(inner)}:{line}" if line else shown(inner)))
        if not stages:
            continue
        found.choices[group] = Choice(stages[-1][0], stages[-1][1], tuple(stages[:-1]))
        found.reasons[f"{group}/{option}"] = (group,)
