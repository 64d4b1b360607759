"""Which engines there are, what each needs, and in which Python it is to run. Imports neither torch nor a simulator."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

IN_PROCESS = "in-process"  # engine.python=in-process: whatever else is set, do not host this engine
SETTINGS_FILE = "mimickit/engines.ini"  # below $XDG_CONFIG_HOME or ~/.config


@dataclass(frozen=True)
class Entry:
    """Where an engine lives and what it needs."""

    module: str
    class_name: str
    packages: Tuple[str, ...]  # importable names
    install: str  # how to get them
    import_first: Tuple[str, ...] = ()  # what a worker imports before torch
    links_python: bool = False  # its binaries look for the interpreter's own libpython


ENGINES: Dict[str, Entry] = {
    "mujoco": Entry(
        "mimickit_hydra.engines.mujoco_engine", "MujocoEngine", ("mujoco",), 'pip install "mimickit-hydra"'
    ),
    "newton": Entry(
        "mimickit_hydra.engines.newton_engine", "NewtonEngine", ("newton", "warp", "mujoco_warp"),
        'pip install "mimickit-hydra[newton]"',
    ),
    "isaac_lab": Entry(
        "mimickit_hydra.engines.isaac_lab_engine", "IsaacLabEngine", ("isaaclab", "mujoco"),
        "see docs/engines/isaac_lab.md, and https://isaac-sim.github.io/IsaacLab for Isaac Lab 3.0 (Python 3.12)",
    ),
    "isaac_gym": Entry(
        "mimickit_hydra.engines.isaac_gym_engine", "IsaacGymEngine", ("isaacgym",),
        "see https://developer.nvidia.com/isaac-gym for how to get it (Python 3.8)",
        import_first=("isaacgym",),
        links_python=True,
    ),
}  # fmt: skip


class Interpreter(NamedTuple):
    """The Python an engine is hosted in, and who said so. An empty ``python`` means this process."""

    python: str = ""
    source: str = ""
    problem: str = ""  # why it cannot be told, one line


def importable(name: str) -> bool:
    """Whether a module of this name can be found, without importing it (but its parent packages)."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def missing_packages(entry: Entry) -> List[str]:
    """The packages of an engine that this interpreter lacks."""
    return [package for package in entry.packages if not importable(package)]


def lacks(name: str, missing: List[str], install: str, where: str = "") -> str:
    """The line for missing packages."""
    plural = "s" if len(missing) > 1 else ""
    place = "not found in {}".format(where) if where else "not found"
    return "engine={} needs the Python package{} {}, {}: {}".format(name, plural, ", ".join(missing), place, install)


# ------------------------------------------------------------------------------------------------ other interpreters


def variable(name: str, what: str = "PYTHON") -> str:
    """``isaac_lab`` -> ``MIMICKIT_ISAAC_LAB_PYTHON``."""
    return "MIMICKIT_{}_{}".format(name.upper(), what)


def settings_file() -> Path:
    """The user's own file that says once where the engines' interpreters are::

    [python]
    isaac_gym = /opt/isaacgym/bin/python
    """
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / SETTINGS_FILE


def interpreter(name: str, configured: Any = None) -> Interpreter:
    """Where engine ``name`` runs: ``engine.python``, else ``MIMICKIT_<ENGINE>_PYTHON``, else the user's settings."""
    found = Interpreter()
    for python, source in (
        (configured, "engine.python"),
        (os.environ.get(variable(name)), variable(name)),
    ):
        if python:
            found = Interpreter(str(python), source)
            break
    else:
        found = _from_settings(name)
    if found.problem:
        return found
    if found.python in ("", IN_PROCESS):
        return Interpreter()
    return Interpreter(os.path.abspath(os.path.expanduser(found.python)), found.source)


def interpreter_problem(name: str, where: Interpreter) -> str:
    """One line saying why ``where`` is no interpreter, or an empty string. Starts nothing."""
    path = where.python
    if where.problem:
        return where.problem
    if os.path.isdir(path):
        inside = os.path.join(path, "bin", "python")
        hint = "; did you mean {}?".format(inside) if os.path.exists(inside) else ""
        return "engine={}: {}={} is a folder, must be a Python interpreter{}".format(name, where.source, path, hint)
    if not os.path.exists(path):
        return "engine={}: {}={} does not exist, must be a Python interpreter that has {}".format(
            name, where.source, path, ", ".join(ENGINES[name].packages) if name in ENGINES else "the simulator"
        )
    if not os.access(path, os.X_OK):
        return "engine={}: {}={} cannot be executed, must be a Python interpreter".format(name, where.source, path)
    return ""


def next_step(name: str) -> str:
    """What to do about an engine whose packages this interpreter lacks but another one may have."""
    return "or, if another Python has it, engine.python=/path/to/python or {}=/path/to/python".format(variable(name))


def _from_settings(name: str) -> Interpreter:
    path = settings_file()
    if not path.is_file():
        return Interpreter()
    import configparser  # rarely needed, and this module is read at every start

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(str(path), encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        return Interpreter(source=str(path), problem="{}: {}".format(path, " ".join(str(error).split())))
    return Interpreter(parser.get("python", name, fallback=""), str(path))
