"""The packages of others that a run was made with: written into its config, and asked for when it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mimickit_hydra.config.resolved import CONFIG_FILE
from mimickit_hydra.config.roots import find
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.envs.event_schema import read_events
from mimickit_hydra.envs.term_schema import KINDS, read_table, read_terms
from mimickit_hydra.errors import UserError
from mimickit_hydra.plugins import AGENTS, ENGINES, ENVS, SCHEMAS, conf_roots, installed

_LINE = "# plugins: "


def plugins_header(run: RunConfig, choices: Mapping[str, Any]) -> str:
    """A comment with name and version of every plugin that the run needs; empty without any."""
    if not installed():
        return ""
    names = set(_needed(run, choices))
    found = [f"{name} {version}" for name, _, version in installed() if name in names]
    return f"{_LINE}{', '.join(found)}\n" if found else ""


def _needed(run: RunConfig, choices: Mapping[str, Any]) -> Iterator[str]:
    """The plugins whose code, keys or options take part."""
    yield from (ENGINES[run.engine.engine_name].plugin, AGENTS[run.agent.agent_name].plugin)
    yield ENVS[run.env.env_name].plugin
    for kind in KINDS:
        yield from (term.entry.plugin for term in read_terms(run.env, kind))
    yield from (term.entry.plugin for term in read_table(run.env, "critic_observations", "observations"))
    yield from (event.entry.plugin for event in read_events(run.env))
    parts = [getattr(run, field.name) for field in dataclasses.fields(run)]
    places = {f"{type(part).__module__}:{type(part).__qualname__}" for part in parts}
    yield from (entry.plugin for entry in SCHEMAS.entries() if entry.place in places)
    files = [find(f"{group}/{option}.yaml") for group, option in choices.items() if "@" not in group]
    yield from (name for name, root in conf_roots() if any(file and file.is_relative_to(root) for file in files))


def refuse_gone(text: str, path: Path) -> None:
    """UserError in one line where the config ``text``, read from ``path``, names a plugin that is not installed."""
    here = {name for name, _, _ in installed()}
    for line in text.splitlines():
        for plugin in line.removeprefix(_LINE).split(", ") if line.startswith(_LINE) else ():
            if plugin.split()[0] not in here:
                run = path.parent if path.name == CONFIG_FILE else path
                raise UserError(f"plugin {plugin}, which {run} was made with, is not installed")
        if not line.startswith("#"):
            break
