"""What each engine needs, and which Python interpreter it runs in. Imports neither torch nor a simulator."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, NamedTuple, Sequence, Tuple

IN_PROCESS = "in-process"  # engine.python=in-process: whatever else is set, do not host this engine
SETTINGS_FILE = "mimickit/engines.ini"  # below $XDG_CONFIG_HOME or ~/.config


CONTROL_MODES = ("none", "pos", "vel", "torque", "pd_explicit")


@dataclass(frozen=True)
class Entry:
    """Where an engine's code is and what it needs; a worker gets it from its host."""

    place: str  # "module:class"
    packages: Tuple[str, ...]  # importable names
    install: str  # how to get them
    import_first: Tuple[str, ...] = ()  # what a worker imports before torch
    links_python: bool = False  # its binaries look for the interpreter's own libpython
    takes_values: bool = False  # its worker, which has no MuJoCo, is given the values of a robot's file


class Interpreter(NamedTuple):
    """The interpreter that an engine runs in, and the setting that names it. An empty ``python`` means this process."""

    python: str = ""
    source: str = ""
    problem: str = ""  # why it cannot be told, one line


def available_cores() -> int:
    """Number of cores this process may use, which in a container or under Slurm is fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS, Windows


def importable(name: str) -> bool:
    """Whether a module of this name can be found, without importing it (its parent packages are imported)."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def missing_packages(entry: Entry) -> List[str]:
    """The packages of an engine that this interpreter lacks."""
    return [package for package in entry.packages if not importable(package)]


def lacks(name: str, missing: List[str], install: str, where: str = "") -> str:
    """The line that says which packages an engine lacks and how to install them."""
    plural = "s" if len(missing) > 1 else ""
    place = "not found in {}".format(where) if where else "not found"
    return "engine={} needs the Python package{} {}, {}: {}".format(name, plural, ", ".join(missing), place, install)


def variable(name: str, what: str = "PYTHON") -> str:
    """The environment variable that names an engine's interpreter, such as ``MIMICKIT_ISAAC_LAB_PYTHON``."""
    return "MIMICKIT_{}_{}".format(name.upper(), what)


def settings_file() -> Path:
    """The user's own file that says once where the engines' interpreters are::

    [python]
    isaac_gym = /opt/isaacgym/bin/python
    """
    return Path(os.path.expanduser(os.environ.get("XDG_CONFIG_HOME") or "~/.config")) / SETTINGS_FILE


def interpreter(name: str, configured: Any = None) -> Interpreter:
    """The interpreter of engine ``name``: ``engine.python``, ``MIMICKIT_<ENGINE>_PYTHON``, or the user's settings."""
    found = Interpreter()
    for python, source in ((configured, "engine.python"), (os.environ.get(variable(name)), variable(name))):
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


def interpreter_problem(name: str, where: Interpreter, packages: Sequence[str] = ("the simulator",)) -> str:
    """One line saying why ``where``, which is to have ``packages``, is no interpreter, or an empty string."""
    path = where.python
    if where.problem:
        return where.problem
    if os.path.isdir(path):
        inside = os.path.join(path, "bin", "python")
        hint = "; did you mean {}?".format(inside) if os.path.exists(inside) else ""
        return "engine={}: {}={} is a folder, must be a Python interpreter{}".format(name, where.source, path, hint)
    if not os.path.exists(path):
        return "engine={}: {}={} does not exist, must be a Python interpreter that has {}".format(
            name, where.source, path, ", ".join(packages)
        )
    if not os.access(path, os.X_OK):
        return "engine={}: {}={} cannot be executed, must be a Python interpreter".format(name, where.source, path)
    return ""


def next_step(name: str) -> str:
    """What to do about an engine whose packages this interpreter lacks but another one may have."""
    return "or, if another Python has it, engine.python=/path/to/python or {}=/path/to/python".format(variable(name))


def _from_settings(name: str) -> Interpreter:
    path = settings_file()
    if not os.path.isfile(str(path)):  # also where the folder may not be entered
        return Interpreter()
    import configparser  # rarely needed, and this module is read at every start

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(str(path), encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        return Interpreter(source=str(path), problem="{}: {}".format(path, " ".join(str(error).split())))
    return Interpreter(parser.get("python", name, fallback=""), str(path))
