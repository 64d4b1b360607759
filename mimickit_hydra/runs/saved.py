"""Turns the resolved config of a run directory back into overrides, to repeat, vary or continue the run.

The saved YAML holds no interpolations. Feeding it in as it is would freeze every derived value: ``motion=humanoid_run``
on top would change the motion's name but not the env's file. So the run's group choices are composed afresh, and only
the values that differ from that composition become overrides.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.config.groups import groups
from mimickit_hydra.config.messages import one_line
from mimickit_hydra.config.overrides import parse, quote
from mimickit_hydra.config.resolved import config_of_run, header, header_words, parse_config
from mimickit_hydra.config.roots import add, further
from mimickit_hydra.envs.term_schema import TABLES
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_text
from mimickit_hydra.runs.plugins import refuse_gone

if TYPE_CHECKING:
    from omegaconf import DictConfig

_CHOICES_LINE = "# groups:"
_ROOTS_LINE = "# config folders:"
_NEVER_REPEATED = ("out_dir", "resume")  # they belong to the old run, not to what it computed
_TABLES = ("core.engine", "core.env", "core.agent", "core.args", *(f"env.{table}" for table in TABLES))
_OPEN = tuple(f"{table}." for table in _TABLES)  # keys of tables without a schema
# Their effect is in the values; where it ran is not repeated.
_UNNAMED = (
    "model",
    "experiment",
    "debug",
    "sweep",
    "launch",
)


def choices_header(choices: Mapping[str, Any]) -> str:
    """The comment with the choices and config folders that :func:`read_run` reads back."""
    named = [f"{name}={choices[name]}" for name in groups() if choices.get(name) and name not in _UNNAMED]
    lines = ["# repeat this run: mimickit train --from <this directory>", f"{_CHOICES_LINE} {' '.join(named)}"]
    if folders := [str(root.path) for root in further() if not root.name.startswith("plugin ")]:
        lines.append(f"{_ROOTS_LINE} {json.dumps(folders)}")
    return "\n".join(lines) + "\n"


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
        UserError: no such directory or file, unreadable YAML, a key this version does not know, a plugin that is gone.
    """
    path = config_of_run(run_dir)
    text = read_text(path)
    refuse_gone(text, path)
    try:
        return _read(path, text)
    except Exception as error:  # of OmegaConf and Hydra, about what stands in the file
        line = one_line(error)
        if line is None:
            raise
        raise UserError(line if str(path) in line else f"{path}: {line}") from None


def _read(path: Path, text: str) -> SavedRun:
    from mimickit_hydra.config.compose import flatten

    _return_to_roots(path, text)
    saved = flatten(parse_config(text, path), resolve=True)
    saved = {key: value for key, value in saved.items() if not key.startswith("launch.")}
    choices = _recorded_choices(text) or _inferred_choices(saved)
    engine = {key.removeprefix("engine."): value for key, value in saved.items() if key.startswith("engine.")}
    named = {word.key: word.word for word in map(parse, choices)}
    return SavedRun(named, _differences(path, saved, choices), engine)


def overrides_of_run(run_dir: str | Path) -> list[str]:
    """Overrides that compose to the config saved in ``run_dir``. Raises as :func:`read_run` does."""
    return read_run(run_dir).overrides


def _recorded_choices(text: str) -> list[str]:
    return (header(text, _CHOICES_LINE) or "").split()


def _return_to_roots(path: Path, text: str) -> None:
    """Look in the config folders that the run was composed from. UserError where a choice was in one that is gone."""
    folders = header_words(text, _ROOTS_LINE, path)
    there = [folder for folder in folders if Path(folder).is_dir()]
    add(there)
    gone = [folder for folder in folders if folder not in there]
    known = groups() if gone else {}
    for word in map(parse, _recorded_choices(text)) if gone else ():
        if word.key not in known or word.word not in known[word.key].option_names():
            raise UserError(
                f"{path}: {word.text} came with the config folder {', '.join(gone)}, which is gone; "
                "name its new place with --config-dir"
            )


def _inferred_choices(saved: Mapping[str, Any]) -> list[str]:
    """The options whose names stand among the values, for a YAML without the comment."""
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
    """Overrides for the values that the choices alone do not give; a derived value only if it was set by hand."""
    from omegaconf import OmegaConf

    from mimickit_hydra.config import typed
    from mimickit_hydra.config.compose import as_text, compose, flatten
    from mimickit_hydra.config.loader import parse_yaml
    from mimickit_hydra.errors import suggestion

    cfg = compose(choices)
    raw = flatten(cfg)
    saved = typed.put_back(saved, cfg, parse_yaml(read_text(path), path)[1])
    added = [key for key in saved if key not in raw and key.startswith(_OPEN)]
    for key in saved:
        if key not in raw and key not in added and key not in _TABLES:
            raise UserError(f"{path}: {key}: unknown key{suggestion(key, list(raw))}")
    derived = [key for key in saved if isinstance(raw.get(key), str) and "${" in raw[key]]
    found = [*_deletions(raw, saved), *(f"{key}={quote(as_text(saved[key]))}" for key in added)]
    for key in [key for key in saved if key not in derived and key not in added and key not in _TABLES] + derived:
        if key in _NEVER_REPEATED or _same(OmegaConf.select(cfg, key), saved[key]):
            continue
        found.append(f"{key}={quote(as_text(saved[key]))}")
        if key not in derived:
            OmegaConf.update(cfg, key, as_text(saved[key]))
    return [*found, *(_before_there_was(cfg, raw, saved) if _recorded_choices(read_text(path)) else [])]


def _before_there_was(cfg: DictConfig, raw: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    """Overrides for keys that came after the run was saved: what their schema says, whatever presets say today."""
    from omegaconf import MISSING, OmegaConf

    from mimickit_hydra.config.compose import as_text

    found = []
    for key in (key for key in raw if key not in saved and not key.startswith(_OPEN)):
        section, _, name = key.rpartition(".")
        schema = OmegaConf.get_type(OmegaConf.select(cfg, section)) if section else None
        if not dataclasses.is_dataclass(schema) or not any(other.startswith(f"{section}.") for other in saved):
            continue
        default = {one.name: one.default for one in dataclasses.fields(schema)}.get(name, dataclasses.MISSING)
        if isinstance(default, str | int | float) and default not in (MISSING, OmegaConf.select(cfg, key)):
            found.append(f"{key}={quote(as_text(default))}")
    return found


def _deletions(raw: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    """``~key`` for what the choices put into an open table and the run had taken out of it."""
    found = []
    for key in (key for key in raw if key.startswith(_OPEN) and key not in saved):
        table = next(table for table in _TABLES if key.startswith(f"{table}."))
        words = key.removeprefix(f"{table}.").split(".")
        parents = [f"{table}.{'.'.join(words[:count])}" for count in range(1, len(words) + 1)]
        found.append(next(f"~{one}" for one in parents if not any(f"{k}.".startswith(f"{one}.") for k in saved)))
    return list(dict.fromkeys(found))


def _same(ours: Any, saved: Any) -> bool:
    from omegaconf import OmegaConf

    if OmegaConf.is_config(ours):
        ours = OmegaConf.to_container(ours, resolve=True)
    if isinstance(ours, float) and isinstance(saved, float) and math.isnan(ours) and math.isnan(saved):
        return True
    return bool(ours == saved)
