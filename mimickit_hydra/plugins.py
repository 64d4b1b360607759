"""Registries of everything that is chosen by name; user packages register in the same way as this package does.

A package that brings something names a function in the entry point group ``mimickit_hydra.plugins``. It is called once
with a :class:`Plugin` and registers names, each with the place of its code as ``"module:attribute"``. The code is
imported when the name is first used, so that neither torch nor a simulator is loaded to list or to check a name.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import mimickit_hydra
from mimickit_hydra.errors import UserError, must_be_one_of

GROUP = "mimickit_hydra.plugins"  # of entry points


@dataclass(frozen=True)
class Entry:
    """One thing that can be chosen by name.

    Attributes:
        kind: what it is, such as ``engine`` or ``reward``.
        name: what a configuration calls it.
        place: its code, ``"module:attribute"``.
        schema: the dataclass of its keys, ``"module:class"``; empty if it has none.
        plugin: the package that brings it.
        facts: what else is said about it; which, depends on the kind.
    """

    kind: str
    name: str
    place: str
    schema: str = ""
    plugin: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Any:
        """Import the code. UserError where the place that its package gave is wrong."""
        return load_place(self.place, f"{self.kind} {self.name} of {self.plugin}")

    def load_schema(self) -> type:
        """Import the dataclass of its keys."""
        what = f"schema of {self.kind} {self.name} of {self.plugin}"
        cls: type = load_place(self.schema, what)
        if not (isinstance(cls, type) and is_dataclass(cls)):
            raise UserError(f"{what}: {self.schema} is no dataclass")
        return cls


def load_place(place: str, what: str) -> Any:
    """Import what ``"module:attribute"`` names; ``what`` is for the message of the UserError."""
    module, _, attribute = place.partition(":")
    try:
        code = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not (error.name and f"{module}.".startswith(f"{error.name}.")):
            raise  # something that it imports is not installed
        raise UserError(f"{what}: nothing at {place} ({error})") from None
    if not hasattr(code, attribute):
        raise UserError(f"{what}: nothing at {place} (module {module!r} has no attribute {attribute!r})")
    return getattr(code, attribute)


class Registry:
    """The entries of one kind, by name. ``key`` is where a configuration names one."""

    def __init__(self, kind: str, key: str = "") -> None:
        self.kind = kind
        self.key = key or kind
        self._entries: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Add an entry; UserError where another package has taken the name."""
        other = self._entries.setdefault(entry.name, entry)
        if other != entry:
            raise UserError(f"{self.kind} {entry.name}: brought by {other.plugin} and by {entry.plugin}; remove one")

    def __getitem__(self, name: str) -> Entry:
        """The entry called ``name``; UserError with the nearest names if there is none."""
        load_plugins()
        if name not in self._entries:
            raise must_be_one_of(self.key, str(name), list(self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        load_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(list(self._entries))

    def entries(self) -> list[Entry]:
        load_plugins()
        return list(self._entries.values())


ENGINES = Registry("engine", "engine.engine_name")
AGENTS = Registry("agent", "agent.agent_name")
ENVS = Registry("env", "env.env_name")
OBSERVATIONS = Registry("observation", "env.observations")
REWARDS = Registry("reward", "env.rewards")
TERMINATIONS = Registry("termination", "env.terminations")
EVENTS = Registry("event", "env.events")
SAMPLERS = Registry("sampler", "env.sampling")
IMPORTERS = Registry("importer")
EXPORTERS = Registry("exporter", "--to")
SKELETONS = Registry("skeleton")
SCHEMAS = Registry("schema")  # every dataclass that a YAML may extend, by "group/name"
CONF_ROOTS = Registry("config folder")  # a package's own conf/; place is the folder
DATA_ROOTS = Registry("data folder")  # likewise, of its assets and clips


class Plugin:
    """The object with which a plugin registers what it brings. ``name`` is that of the entry point."""

    def __init__(self, name: str) -> None:
        self.name = name

    def engine(self, name: str, place: str, *, schema: str, **facts: Any) -> None:
        """Register a subclass of ``engines.interface.Engine``.

        Facts: ``packages`` (importable names that it needs), ``install`` (how to get them), ``devices`` (``cpu``,
        ``cuda``, or both), ``import_first``, ``links_python``, ``takes_values``, ``varies`` (what of
        ``engines.interface.MODEL_VALUES`` its environments may differ in), ``varies_at_start`` (what of it is drawn
        once, not with every episode).
        """
        self._named(ENGINES, "engine", name, place, schema, facts)

    def agent(self, name: str, place: str, *, schema: str, drives: tuple[str, ...]) -> None:
        """Register a subclass of ``agents.agent.Agent``; ``drives`` names the envs, or kinds of env, it learns in."""
        self._named(AGENTS, "agent", name, place, schema, {"drives": drives})

    def env(self, name: str, place: str, *, schema: str, kinds: tuple[str, ...] = (), base: str = "") -> None:
        """Register a function ``(config, engine, character, library, timers)`` that builds an ``envs.env.Env``.

        ``kinds`` are what agents may drive it as: ``rewarded`` for any that learns from the env's own reward,
        ``imagined`` for one that learns in a model of the world, where states alone tell what the env shows and pays.
        """
        self._named(ENVS, "env", name, place, schema, {"kinds": kinds}, base)

    def task(self, name: str, place: str, *, schema: str, base: str = "", **facts: Any) -> None:
        """Register a subclass of ``envs.tasks.task.Task``: an env on top of the imitation that the method needs."""
        self._named(ENVS, "env", name, place, schema, {"kinds": ("task", "rewarded"), "task": True, **facts}, base)

    def observation(self, name: str, place: str, *, schema: str = "", size: int = 1, **facts: Any) -> None:
        """Register a term of the observation, ``size`` numbers; see ``envs.terms``, also for the facts.

        ``measured``: a robot's sensors give it, with noise of up to ``noise``, which events then add and delay.
        """
        OBSERVATIONS.add(Entry("observation", name, place, schema, self.name, {"size": size, **facts}))

    def reward(self, name: str, place: str, *, schema: str = "", **facts: Any) -> None:
        """Register a term of the reward, see ``envs.terms``."""
        REWARDS.add(Entry("reward", name, place, schema, self.name, facts))

    def termination(self, name: str, place: str, *, schema: str = "", **facts: Any) -> None:
        """Register a condition that ends an episode, see ``envs.terms``."""
        TERMINATIONS.add(Entry("termination", name, place, schema, self.name, facts))

    def event(self, name: str, place: str, *, schema: str = "", when: tuple[str, ...], **facts: Any) -> None:
        """Register a subclass of ``envs.events.Event``; ``when`` are its moments, the first one by default.

        Facts: ``varies`` (what of ``engines.interface.MODEL_VALUES`` it draws), ``control_modes`` (where it means
        something).
        """
        EVENTS.add(Entry("event", name, place, schema, self.name, {"when": when, **facts}))

    def sampler(self, name: str, place: str, *, schema: str = "", **facts: Any) -> None:
        """Register a subclass of ``envs.sampling.StartSampler``, which draws where episodes start.

        Facts: ``of_failures`` (it learns from them), ``of_reward`` (it needs an env that pays for following the clip).
        """
        SAMPLERS.add(Entry("sampler", name, place, schema, self.name, facts))

    def importer(self, name: str, place: str, *, suffixes: tuple[str, ...], title: str, knows: str = "") -> None:
        """Register a reader of motion files with one of ``suffixes``, see ``motion.importers``.

        ``knows`` is the place of a function from a ``motion.importers.glance.Glance`` to whether a file is of this
        format; without it, all files with the suffix are that nobody else recognises.
        """
        facts = {"suffixes": suffixes, "title": title, "knows": knows}
        IMPORTERS.add(Entry("importer", name, place, "", self.name, facts))

    def exporter(self, name: str, place: str, *, suffix: str, title: str) -> None:
        """Register a function of a path, a clip and its character that writes a file with ``suffix``.

        It returns a line on what the file cannot hold, empty if nothing; see ``motion.export``.
        """
        EXPORTERS.add(Entry("exporter", name, place, "", self.name, {"suffixes": (suffix,), "title": title}))

    def skeleton(self, name: str, file: str | Path) -> None:
        """Register a YAML that says which joints of a body are its limbs, see ``motion.retarget.skeletons``."""
        SKELETONS.add(Entry("skeleton", name, str(file), "", self.name))

    def schema(self, group: str, name: str, place: str) -> None:
        """Register a dataclass that YAMLs of ``group`` (empty for the top level) extend as ``- name``."""
        SCHEMAS.add(Entry("schema", f"{group}/{name}" if group else name, place, place, self.name))

    def conf(self, folder: str | Path) -> None:
        """Register a folder laid out as ``conf/``, whose characters, motions, methods ... are chosen by name."""
        CONF_ROOTS.add(Entry("config folder", self.name, str(folder), "", self.name))

    def data(self, folder: str | Path) -> None:
        """Register a folder in which the files that a config names as ``data/...`` are looked for."""
        DATA_ROOTS.add(Entry("data folder", self.name, str(folder), "", self.name))

    def _named(
        self, registry: Registry, group: str, name: str, place: str, schema: str, facts: dict[str, Any], base: str = ""
    ) -> None:
        registry.add(Entry(registry.kind, name, place, schema, self.name, facts))
        self.schema(group, base or f"base_{name.lower()}", schema)


# ------------------------------------------------------------------------------------------------------------- loading


@functools.cache
def load_plugins() -> None:
    """Let this package, and then every installed plugin, register what it brings; only the first call does anything."""
    load_place(mimickit_hydra.PLUGIN, "mimickit_hydra")(Plugin("mimickit_hydra"))
    for name, value, _ in installed():
        _register(name, value)


def _register(name: str, value: str) -> None:
    try:
        register: Callable[[Plugin], None] = load_place(value, "its entry point")
        register(Plugin(name))
    except UserError as error:
        raise UserError(f"plugin {name} ({value}): {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"plugin {name} ({value}) cannot be loaded: {type(error).__name__}: {reason}") from error


@functools.cache
def installed() -> tuple[tuple[str, str, str], ...]:
    """Name, place and version of every plugin that other packages bring."""
    if not _any_entry_point():
        return ()
    from importlib.metadata import entry_points

    found: dict[str, tuple[str, str, str]] = {}
    for point in entry_points(group=GROUP):
        if point.value != mimickit_hydra.PLUGIN:
            other = found.setdefault(point.name, (point.name, point.value, point.dist.version if point.dist else ""))
            if other[1] != point.value:
                raise UserError(f"plugin {point.name}: brought by {other[1]} and by {point.value}; remove one")
    return tuple(sorted(found.values()))


def _any_entry_point() -> bool:
    """Whether some installed package names the group; reading files is ten times faster than ``entry_points``."""
    for folder in sys.path:
        try:
            names = [name for name in os.listdir(folder or ".") if name.endswith((".dist-info", ".egg-info"))]
        except OSError:
            continue
        for name in names:
            if name.startswith("mimickit_hydra-"):
                continue
            try:
                with open(os.path.join(folder, name, "entry_points.txt"), encoding="utf-8") as file:
                    if GROUP in file.read():
                        return True
            except OSError:
                continue
    return False


def conf_roots() -> list[tuple[str, Path]]:
    """The name and the config folder of every plugin that has one."""
    return [(entry.name, Path(entry.place)) for entry in CONF_ROOTS.entries()]
