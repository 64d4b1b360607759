"""From the resolved config of a run directory back to overrides, so that a run can be repeated, varied or continued.

The saved YAML holds no interpolations. Feeding it in as it is would freeze every derived value: ``motion=humanoid_run``
on top would change the motion's name but not the env's file. So the run's group choices are composed afresh, and only
the values that differ from that composition become overrides.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.config.catalog import groups
from mimickit_hydra.config.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONFIG_FILE = "config.yaml"
_CHOICES_LINE = "# groups:"
_PLAIN_WORD = re.compile(r"^[A-Za-z_][\w./-]*$")
_HOME = re.compile(r"^(\+*[\w.]+=)(\[?)(~(?:/[^\[\]]*)?)(\]?)$")  # a list or a sweep may follow: ~/a,~/b
_NEVER_REPEATED = ("out_dir", "resume")  # they belong to the old run, not to what it computed
_OPEN = ("core.engine.", "core.env.", "core.agent.", "core.args.")  # tables without a schema
_UNNAMED = ("experiment", "debug", "sweep", "launch")  # their effect is in the values; where it ran is not repeated


def choices_header(choices: Mapping[str, Any]) -> str:
    """The comment that :func:`read_run` reads back."""
    named = [f"{name}={choices[name]}" for name in groups() if choices.get(name) and name not in _UNNAMED]
    return f"# repeat this run: mimickit train --from <this directory>\n{_CHOICES_LINE} {' '.join(named)}\n"


@dataclass(frozen=True)
class SavedRun:
    """A run directory read back: the option of each group, and the values that those alone do not give."""

    choices: dict[str, str]
    values: list[str]  # overrides
    engine: dict[str, Any] = field(default_factory=dict)  # all values of its engine, also those that the option gives

    @property
    def overrides(self) -> list[str]:
        return [*(f"{group}={option}" for group, option in self.choices.items()), *self.values]


def read_run(run_dir: str | Path) -> SavedRun:
    """The run saved in ``run_dir`` (a directory, or the YAML itself).

    Raises:
        UserError: no such directory or file, unreadable YAML, or a key this version does not know.
    """
    from mimickit_hydra.config.compose import flatten

    path = config_of_run(run_dir)
    saved = flatten(saved_config(path), resolve=True)
    saved = {key: value for key, value in saved.items() if not key.startswith("launch.")}
    choices = _recorded_choices(path) or _inferred_choices(saved)
    pairs = (text.partition("=") for text in choices)
    engine = {key.removeprefix("engine."): value for key, value in saved.items() if key.startswith("engine.")}
    return SavedRun({group: option for group, _, option in pairs}, _differences(path, saved, choices), engine)


def overrides_of_run(run_dir: str | Path) -> list[str]:
    """Overrides that compose to the config saved in ``run_dir``. Raises as :func:`read_run` does."""
    return read_run(run_dir).overrides


def under_preset(overrides: Sequence[str], name: str) -> list[str]:
    """A saved run's overrides without those that ``debug=name`` sets: what is given on top of a run wins."""
    from mimickit_hydra.config.regroup import preset_keys

    keys = preset_keys([f"debug={name}"])
    return [text for text in overrides if text.partition("=")[0] not in keys]


def config_of_run(run_dir: str | Path) -> Path:
    """The resolved config in a run directory."""
    path = Path(run_dir).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{run_dir}: no such run directory")
    if not (path / CONFIG_FILE).is_file():
        raise UserError(f"{run_dir}: no {CONFIG_FILE} in it, so it is not a run directory")
    return path / CONFIG_FILE


def saved_config(run_dir: str | Path) -> DictConfig:
    """The resolved config in a run directory. UserError where it is no such thing."""
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError

    path = config_of_run(run_dir)
    try:
        cfg = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(cfg, DictConfig) or not isinstance(cfg.get("engine"), DictConfig):
        raise UserError(f"{path}: not the resolved config of a run")
    return cfg


def with_home(override: str) -> str:
    """``key=~/path`` as the path it means: bash leaves it alone there, and Hydra's grammar has no ``~``."""
    match = _HOME.match(override)
    if match is None:
        return override
    key, opening, text, closing = match.groups()
    parts = [quote(os.path.expanduser(part)) if part.startswith("~") else part for part in text.split(",")]
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


def _recorded_choices(path: Path) -> list[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(_CHOICES_LINE):
            return line[len(_CHOICES_LINE) :].split()
        if not line.startswith("#"):
            break
    return []


def _inferred_choices(saved: Mapping[str, Any]) -> list[str]:
    """For a YAML without the comment: the options that carry the names of its values."""
    named = {
        "engine": saved.get("engine.engine_name"),
        "method": saved.get("method.name"),
        "character": saved.get("character.name"),
        "motion": saved.get("motion.name"),
        "env": saved.get("env.env_name"),
        "agent": str(saved.get("agent.agent_name", "")).lower(),
    }
    return [f"{name}={option}" for name, option in named.items() if option in groups()[name].option_names()]


def _differences(path: Path, saved: Mapping[str, Any], choices: Sequence[str]) -> list[str]:
    """``key=value`` for what the choices alone do not give; derived values only where they were set by themselves."""
    from omegaconf import OmegaConf

    from mimickit_hydra.config.compose import as_text, compose, flatten
    from mimickit_hydra.config.one_line import suggestion

    cfg = compose(choices)
    raw = flatten(cfg)
    added = [key for key in saved if key not in raw and key.startswith(_OPEN)]
    for key in saved:
        if key not in raw and key not in added:
            raise UserError(f"{path}: {key}: unknown key{suggestion(key, list(raw))}")
    derived = [key for key in saved if isinstance(raw.get(key), str) and "${" in raw[key]]
    found = [f"{key}={quote(as_text(saved[key]))}" for key in added]
    for key in [key for key in saved if key not in derived and key not in added] + derived:
        if key in _NEVER_REPEATED or _same(OmegaConf.select(cfg, key), saved[key]):
            continue
        found.append(f"{key}={quote(as_text(saved[key]))}")
        if key not in derived:
            OmegaConf.update(cfg, key, as_text(saved[key]))
    return found


def _same(ours: Any, saved: Any) -> bool:
    from omegaconf import OmegaConf

    if OmegaConf.is_config(ours):
        ours = OmegaConf.to_container(ours, resolve=True)
    if isinstance(ours, float) and isinstance(saved, float) and math.isnan(ours) and math.isnan(saved):
        return True
    return bool(ours == saved)
