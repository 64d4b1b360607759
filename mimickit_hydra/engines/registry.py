"""Builds engines by name; a simulator is imported only when its engine is asked for."""

from __future__ import annotations

from typing import Any

from mimickit_hydra.engines import catalog
from mimickit_hydra.engines.interface import Engine, EngineError, SceneSpec
from mimickit_hydra.plugins import ENGINES


def entry_of(name: str) -> catalog.Entry:
    """The code and the needs of engine ``name``. UserError for an unknown name."""
    found = ENGINES[name]
    needs = {key: found.facts[key] for key in ("import_first", "links_python", "takes_values") if key in found.facts}
    return catalog.Entry(found.place, tuple(found.facts.get("packages", ())), found.facts.get("install", ""), **needs)


def engine_requirements(name: str) -> list[str]:
    """Python packages that ``name`` needs and that this interpreter lacks. Imports no simulator.

    Raises UserError for an unknown name.
    """
    return catalog.missing_packages(entry_of(name))


def engine_problem(name: str, python: Any = None) -> str:
    """One line saying why engine ``name`` cannot run here, or an empty string. Imports no simulator.

    ``python`` is the configuration's ``engine.python``. Whether another interpreter has the packages shows when it
    starts.
    """
    entry = entry_of(name)
    where = catalog.interpreter(name, python)
    if where != catalog.Interpreter():
        return catalog.interpreter_problem(name, where, entry.packages)
    missing = engine_requirements(name)
    if missing:
        return f"{catalog.lacks(name, missing, entry.install)}; {catalog.next_step(name)}"
    return ""


def make_engine(config: Any, scene: SceneSpec, num_envs: int, device: str = "cpu") -> Engine:
    """Build the engine that ``config.engine_name`` names, in the interpreter that ``config.python`` or the user names.

    ``config`` is any object with the attributes of the engine's configuration. Raises UserError with one line when the
    engine is unknown, not installed, or cannot build the scene.
    """
    name, python = config.engine_name, getattr(config, "python", None)
    problem = engine_problem(name, python)
    if problem:
        raise EngineError(problem)
    where = catalog.interpreter(name, python)
    if where.python:
        from mimickit_hydra.engines.subprocess.engine import HostedEngine

        return HostedEngine(config, scene, num_envs, device, entry_of(name), where)
    engine: Engine = ENGINES[name].load()(config, scene, num_envs, device)
    return engine
