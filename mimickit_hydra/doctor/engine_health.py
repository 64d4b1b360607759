"""Finds out whether an engine can be used: where it is, with which versions, and one real step of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from mimickit_hydra.doctor.health import ABSENT, FAIL, OK, WARN, Finding
from mimickit_hydra.doctor.trial import run_python
from mimickit_hydra.engines import catalog
from mimickit_hydra.engines.tested import EMULATED, OPTIONAL, TESTED, Tested, is_tested
from mimickit_hydra.plugins import ENGINES

LOOK_TIMEOUT = 60.0  # s to look at another interpreter's packages
STEP_TIMEOUT = 300.0  # s; a GPU simulator compiles its kernels at its first start
TRIAL = "mimickit_hydra.doctor.engine_trial"

# Runs in any Python from 3.8 on, and imports nothing of what it looks at.
_LOOK = """
import importlib.metadata, importlib.util, json, platform, sys
modules, names = json.loads(sys.argv[1])
def there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({"python": platform.python_version(), "missing": [name for name in modules if not there(name)],
                  "versions": {name: version(name) for name in names}}))
"""


def check_engine(
    name: str, overrides: Sequence[str], *, python: str | None = None, needed: bool = False, step: bool = True,
    timeout: float = STEP_TIMEOUT,
) -> Finding:  # fmt: skip
    """Look for engine ``name`` and, where it is, take one step with the run that ``overrides`` compose.

    ``python`` is the configuration's ``engine.python``. An engine that is not installed is a failure only where it is
    ``needed``.
    """
    absent = FAIL if needed else ABSENT
    where = catalog.interpreter(name, python)
    if where != catalog.Interpreter():
        problem = catalog.interpreter_problem(name, where, ENGINES[name].facts["packages"])
        if problem:
            return Finding(name, FAIL, problem, f"set {where.source} to the Python that has it")
    look = _look(name, where)
    details: dict[str, Any] = {"interpreter": where.python or sys.executable, "chosen_by": where.source, **look}
    if "error" in look:
        text = f"{where.python} {look['error']}"
        return Finding(name, FAIL, text, f"set {where.source} to a Python 3.8 or newer", details)
    if look["missing"]:
        fix = f"{ENGINES[name].facts['install']}; {catalog.next_step(name)}"
        text = f"not installed in {where.python or 'this Python'} (no module {', '.join(look['missing'])})"
        return Finding(name, absent, text, fix, details)
    details["untested"] = odd = untested(_tested(name), look)
    text = f"{_versions(name, look)}{f' in {where.python}' if where.python else ''}"
    if step:
        details["step"] = trial = run_python(["-m", TRIAL, *overrides], timeout)
        if "error" in trial:
            return Finding(name, FAIL, f"{text}: {trial['error']}", _next(odd, trial["error"], timeout), details)
        text += f"; {_timing(trial)}"
    if odd:
        return Finding(name, WARN, text, f"not tested with {', '.join(odd)}", details)
    return Finding(name, OK, text, details=details)


def _tested(name: str) -> Tested:
    """What the engine was tested with; what another package's engine was tested with is not known here."""
    return TESTED.get(name) or Tested((), dict.fromkeys(ENGINES[name].facts["packages"], ()), (), "")


def _look(name: str, where: catalog.Interpreter) -> dict[str, Any]:
    question = json.dumps([ENGINES[name].facts["packages"], [*_tested(name).packages, "torch", "numpy"]])
    own_path = os.environ.get(catalog.variable(name, "PYTHONPATH")) if where.python else None
    return run_python(["-c", _LOOK, question], LOOK_TIMEOUT, where.python or sys.executable, own_path)


def untested(tested: Tested, look: dict[str, Any]) -> list[str]:
    """A line ``package version (tested: ...)`` for each version found that the engine was not tested with."""
    found = [("Python", look["python"], tested.python)]
    found += [(package, look["versions"].get(package), versions) for package, versions in tested.packages.items()]
    return [
        f"{package} {version} (tested: {', '.join(versions)})"
        for package, version, versions in found
        if version is not None and versions and not is_tested(version, versions)
    ]


def _versions(name: str, look: dict[str, Any]) -> str:
    shown = [
        f"{package} {look['versions'][package] or 'of unknown version'}"
        for package in _tested(name).packages
        if look["versions"][package] or package not in OPTIONAL.get(name, ())
    ]
    emulated = "" if _tested(name).verified != EMULATED else " (tested on an emulator alone)"
    return f"{', '.join(shown)}, Python {look['python']}{emulated}"


def _timing(trial: dict[str, Any]) -> str:
    return (
        f"{trial['num_envs']} environments on {trial['device']}: built in {trial['build_s']:.1f} s, "
        f"{trial['step_ms']:.1f} ms a step"
    )


def _next(odd: Sequence[str], error: str, timeout: float) -> str:
    if "did not answer" in error:
        return f"try again: kernels that were compiled are kept; or allow more than --timeout {timeout:g}"
    return f"install the versions that were tested: {', '.join(odd)}" if odd else "see docs/engines"
