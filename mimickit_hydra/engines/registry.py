"""Engines by name, imported only when one is asked for."""

from __future__ import annotations

import difflib
import importlib
from typing import Any, List

from mimickit_hydra.engines import catalog
from mimickit_hydra.engines.interface import Engine, EngineError, SceneSpec


def engine_names() -> List[str]:
    """All engines a configuration may name, whether or not they are installed."""
    return list(catalog.ENGINES)


def engine_requirements(name: str) -> List[str]:
    """Python packages that ``name`` needs and that this interpreter lacks. Imports no simulator.

    Raises EngineError for an unknown name.
    """
    return [package for package in _entry(name).packages if not _importable(package)]


def engine_problem(name: str, python: Any = None) -> str:
    """One line saying why engine ``name`` cannot run here, or an empty string. Imports no simulator.

    ``python`` is the configuration's ``engine.python``. Whether another interpreter has the packages shows when it
    starts.
    """
    entry = _entry(name)
    if not _importable(entry.module):
        ready = ", ".join(other for other, e in catalog.ENGINES.items() if _importable(e.module))
        return "engine={}: this version of mimickit-hydra cannot drive it yet; engines: {}".format(name, ready)
    where = catalog.interpreter(name, python)
    if where != catalog.Interpreter():
        return catalog.interpreter_problem(name, where)
    missing = engine_requirements(name)
    if missing:
        return "{}; {}".format(catalog.lacks(name, missing, entry.install), catalog.next_step(name))
    return ""


def make_engine(config: Any, scene: SceneSpec, num_envs: int, device: str = "cpu") -> Engine:
    """Build the engine that ``config.engine_name`` names, in the interpreter that ``config.python`` or the user names.

    ``config`` is any object with the attributes of the engine's configuration. Raises EngineError with one line when
    the engine is unknown, not installed, not part of this version, or cannot build the scene.
    """
    name, python = config.engine_name, getattr(config, "python", None)
    problem = engine_problem(name, python)
    if problem:
        raise EngineError(problem)
    where = catalog.interpreter(name, python)
    if where.python:
        from mimickit_hydra.engines.hosted import HostedEngine

        return HostedEngine(config, scene, num_envs, device, where)
    entry = _entry(name)
    engine_class = getattr(importlib.import_module(entry.module), entry.class_name)
    return engine_class(config, scene, num_envs, device)


def _entry(name: str) -> catalog.Entry:
    if name in catalog.ENGINES:
        return catalog.ENGINES[name]
    near = difflib.get_close_matches(str(name), catalog.ENGINES, n=1)
    hint = "; did you mean {}?".format(near[0]) if near else ""
    raise EngineError("engine_name={!r} is unknown; engines: {}{}".format(name, ", ".join(catalog.ENGINES), hint))


def _importable(name: str) -> bool:
    return catalog.importable(name)
