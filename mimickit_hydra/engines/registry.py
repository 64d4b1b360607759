"""Engines by name, imported only when one is asked for."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

from mimickit_hydra.engines.interface import Engine, EngineError, SceneSpec


@dataclass(frozen=True)
class _Entry:
    """Where an engine lives and what it needs."""

    module: str
    class_name: str
    packages: Tuple[str, ...]  # importable names
    install: str  # how to get them


_ENGINES: Dict[str, _Entry] = {
    "mujoco": _Entry(
        "mimickit_hydra.engines.mujoco_engine", "MujocoEngine", ("mujoco",), 'pip install "mimickit-hydra"'
    ),
    "newton": _Entry(
        "mimickit_hydra.engines.newton_engine", "NewtonEngine", ("newton", "warp", "mujoco_warp"),
        'pip install "mimickit-hydra[newton]"',
    ),
    "isaac_lab": _Entry(
        "mimickit_hydra.engines.isaac_lab_engine", "IsaacLabEngine", ("isaaclab",),
        "see https://isaac-sim.github.io/IsaacLab for how to install it",
    ),
    "isaac_gym": _Entry(
        "mimickit_hydra.engines.isaac_gym_engine", "IsaacGymEngine", ("isaacgym",),
        "see https://developer.nvidia.com/isaac-gym for how to get it (Python 3.8)",
    ),
}  # fmt: skip


def engine_names() -> List[str]:
    """All engines a configuration may name, whether or not they are installed."""
    return list(_ENGINES)


def engine_requirements(name: str) -> List[str]:
    """Python packages that ``name`` needs and that are not importable. Imports no simulator.

    Raises EngineError for an unknown name.
    """
    return [package for package in _entry(name).packages if not _importable(package)]


def engine_problem(name: str) -> str:
    """One line saying why engine ``name`` cannot run here, or an empty string. Imports no simulator."""
    entry = _entry(name)
    missing = engine_requirements(name)
    if missing:
        return "engine={} needs the Python package{} {}, not found: {}".format(
            name, "s" if len(missing) > 1 else "", ", ".join(missing), entry.install
        )
    if not _importable(entry.module):
        ready = ", ".join(other for other, e in _ENGINES.items() if _importable(e.module))
        return "engine={} is installed, but this version of mimickit-hydra cannot drive it yet; engines: {}".format(
            name, ready
        )
    return ""


def make_engine(config: Any, scene: SceneSpec, num_envs: int, device: str = "cpu") -> Engine:
    """Build the engine that ``config.engine_name`` names.

    ``config`` is any object with the attributes of the engine's configuration. Raises EngineError with one line when
    the engine is unknown, not installed, not part of this version, or cannot build the scene.
    """
    problem = engine_problem(config.engine_name)
    if problem:
        raise EngineError(problem)
    entry = _entry(config.engine_name)
    engine_class = getattr(importlib.import_module(entry.module), entry.class_name)
    return engine_class(config, scene, num_envs, device)


def _entry(name: str) -> _Entry:
    if name in _ENGINES:
        return _ENGINES[name]
    near = difflib.get_close_matches(str(name), _ENGINES, n=1)
    hint = "; did you mean {}?".format(near[0]) if near else ""
    raise EngineError("engine_name={!r} is unknown; engines: {}{}".format(name, ", ".join(_ENGINES), hint))


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
