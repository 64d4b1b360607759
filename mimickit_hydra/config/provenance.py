"""Where every value of a composed config came from, and what it replaced on the way.

Hydra's own defaults list says which files are merged in which order. Each is loaded again by itself and every leaf it
sets is written down with its file and line; the last entry of a key is the one in force.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimickit_hydra.config.catalog import schema_fields
from mimickit_hydra.config.compose import CONFIG_NAME, config_loader, flatten
from mimickit_hydra.config.paths import conf_dir

COMMAND_LINE = "command line"
_INTERPOLATION = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Assignment:
    """One place that gives a key a value."""

    value: Any  # raw: an interpolation is the text ``${...}``
    source: str  # conf/agent/ppo.yaml:12, schema PPOAgentConfig, command line
    config: str = ""  # the config's path in its group folder, e.g. agent/compute/cpu_ppo; empty for the command line


@dataclass(frozen=True)
class Choice:
    """Which option of a group is in use, who chose it, and whom that replaced."""

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
    return found


# ------------------------------------------------------------------------------------------------------ assignments


def _record_config(found: Provenance, repository: Any, default: Any) -> None:
    loaded = repository.load_config(default.config_path)
    if loaded is None or not isinstance(loaded.config, DictConfig):
        return
    package = default.package if default.package is not None else loaded.header.get("package") or ""
    prefix = "" if package in ("", "_global_") else f"{package}."
    lines = {} if loaded.is_schema_source else _lines_of(_file_of(default.config_path, loaded.path))
    for key, value in flatten(loaded.config).items():
        if key == "hydra" or key.startswith(("hydra.", "defaults")) or (loaded.is_schema_source and value == "???"):
            continue
        if loaded.is_schema_source:
            source = _schema_source(loaded.config, key)
        else:
            file = _shown(_file_of(default.config_path, loaded.path))
            source = f"{file}:{lines[key]}" if key in lines else file
        found.history.setdefault(prefix + key, []).append(Assignment(value, source, default.config_path))


def _schema_source(node: DictConfig, key: str) -> str:
    kind = node._metadata.object_type
    parents, _, leaf = key.rpartition(".")
    if parents:
        kind = OmegaConf.select(node, parents)._metadata.object_type
    name = getattr(kind, "__name__", str(kind))
    line = schema_fields().get(name, {}).get(leaf, ("", 0))[1]
    return f"schema {name}" + (f" (schema.py:{line})" if line else "")


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


def _shown(path: Path) -> str:
    """``conf/...`` for our own files, the whole path for others."""
    try:
        return str(Path("conf") / path.relative_to(conf_dir()))
    except ValueError:
        return str(path)


@functools.cache
def _lines_of(path: Path) -> dict[str, int]:
    """``{dotted key: line}`` of a YAML."""
    import yaml

    if not path.is_file():
        return {}
    root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    return dict(_key_lines(root, "")) if isinstance(root, yaml.MappingNode) else {}


def _key_lines(node: Any, prefix: str) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for key, value in node.value:
        found.append((f"{prefix}{key.value}", key.start_mark.line + 1))
        if value.id == "mapping":
            found += _key_lines(value, f"{prefix}{key.value}.")
    return found


# ---------------------------------------------------------------------------------------------------------- choices


def _record_choices(found: Provenance, overrides: Any) -> None:
    primary = conf_dir() / f"{CONFIG_NAME}.yaml"
    default_lines = _default_lines(primary)
    for key, option in overrides.known_choices.items():
        if key.startswith("hydra/"):
            continue
        group = key.split("@")[0]
        first = default_lines.get(group)
        if "/" in group:  # an optional file that other choices bring in
            if first is not None:
                needed = tuple(_INTERPOLATION.findall(first[0] or ""))
                found.reasons[f"{group}/{option}"] = needed
            continue
        stages = [(first[0], f"{_shown(primary)}:{first[1]}")] if first is not None else []
        meta = overrides.override_metadata.get(key)
        if meta is not None and meta.external_override:
            stages.append((overrides.override_choices[key], COMMAND_LINE))
        elif meta is not None:
            inner = conf_dir() / f"{meta.containing_config_path}.yaml"
            line = _override_line(inner, group)
            stages.append((overrides.override_choices[key], f"{_shown(inner)}:{line}" if line else _shown(inner)))
        if not stages:
            continue
        found.choices[group] = Choice(stages[-1][0], stages[-1][1], tuple(stages[:-1]))
        found.reasons[f"{group}/{option}"] = (group,)


def _default_lines(path: Path) -> dict[str, tuple[str | None, int]]:
    """``{group: (option, line)}`` of a primary config's defaults list."""
    found: dict[str, tuple[str | None, int]] = {}
    pattern = re.compile(r"^\s*-\s+(?:optional\s+)?([\w/]+)(?:@\w+)?:\s*(\S+)")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if match := pattern.match(line):
            found[match.group(1)] = (None if match.group(2) == "null" else match.group(2), number)
    return found


def _override_line(path: Path, group: str) -> int:
    if path.is_file():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.match(rf"^\s*-\s+override\s+/?{re.escape(group)}(@\S+)?:", line):
                return number
    return 0
