"""Runs what may crash or hang in a process of its own, with a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def last_line(text: str) -> str:
    """The line of a program's output that is worth repeating."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def run_python(
    arguments: Sequence[str], timeout: float, python: str = sys.executable, python_path: str | None = None
) -> dict[str, Any]:
    """Run an interpreter and return the JSON object on the last line it prints.

    ``{"error": line}`` where it crashes, hangs or prints something else. What it started ends with it. ``python_path``
    replaces PYTHONPATH; this package is found in any case where the interpreter is this one.
    """
    error, output = _run([python, *arguments], timeout, _environment(python, python_path))
    lines = output.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        found = None
    if isinstance(found, dict) and (error is None or "error" in found):
        return found
    return {"error": error or f"printed no result: {last_line(output)}"}


def run_program(command: Sequence[str], timeout: float) -> str | None:
    """Run a command of this interpreter's; None if it ends well, otherwise a line saying how it ended."""
    return _run(command, timeout, _environment(sys.executable, None))[0]


def _environment(python: str, python_path: str | None) -> dict[str, str]:
    given = os.environ.get("PYTHONPATH") if python_path is None else python_path
    environment = {**os.environ, "PYTHONPATH": given or ""}
    if python == sys.executable:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[2]), given]))
    else:
        environment.pop("PYTHONHOME", None)
    return environment


def _run(command: Sequence[str], timeout: float, environment: dict[str, str]) -> tuple[str | None, str]:
    """Run a command; returns how it failed, or None, and what it printed."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as err,
    ):
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, start_new_session=True
            )
        except OSError as error:
            return f"cannot be started: {error.strerror or error}", ""
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"did not answer within {timeout:g} s", ""
        finally:
            _end(process)
        out.seek(0)
        err.seek(0)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return (f"{how}: {last_line(err.read())}" if code else None), out.read()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process, if it still runs, and what it started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
