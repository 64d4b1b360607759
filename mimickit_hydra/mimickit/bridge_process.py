"""Runs the checkout's process: shows and keeps what it prints, passes signals on, leaves no process behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import open_plain
from mimickit_hydra.mimickit import bridge_child
from mimickit_hydra.mimickit.checkout import Checkout
from mimickit_hydra.training.signals import StopSignal

GRACE_S = 20.0  # what it gets between being asked to stop and being ended
POLL_S = 0.2
_SECTION_OF = {"envs": "env", "engines": "engine", "learning": "agent"}  # folder of the code -> section it reads


@dataclass(frozen=True)
class Outcome:
    """How the process ended: by itself, or by ``stopped_by`` (a signal's name, ``max_minutes`` or None)."""

    code: int
    stopped_by: str | None
    output: Path  # everything it printed


def drive(checkout: Checkout, flags: Sequence[str], folder: Path, *, max_seconds: float = float("inf")) -> Outcome:
    """Run the checkout's entry script from its root and wait for it. ``folder`` gets ``output.log``.

    UserError, with the last exception in one line, when it fails.
    """
    output, report = folder / "output.log", folder / "error.json"
    report.unlink(missing_ok=True)
    command = [checkout.python, "-u", bridge_child.__file__, str(report), str(checkout.entry), *flags]
    with StopSignal() as stop:
        process = _start(command, checkout.root)
        try:
            copy = threading.Thread(target=_copy_output, args=(process, output), daemon=True)
            copy.start()
            stopped_by = _wait(process, stop, max_seconds)
            copy.join(5.0)
        finally:
            _end(process)
    code = int(process.returncode or 0)
    if code != 0 and stopped_by is None:
        raise UserError(_failure(checkout, code, report, output))
    return Outcome(code, stopped_by, output)


def _start(command: list[str], root: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    try:
        return subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,  # never written: it closes when this process dies, and the child goes with it
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: Ctrl-C comes from us, once, and the whole group can be ended
        )
    except OSError as error:
        raise UserError(f"core.python: cannot start {command[0]}: {error.strerror or error}") from None


def _copy_output(process: subprocess.Popen[bytes], path: Path) -> None:
    """Copy everything the process prints to this one's standard output and to a file, as it comes."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    with open(path, "wb") as file:
        while chunk := os.read(descriptor, 1 << 16):
            file.write(chunk)
            file.flush()
            with contextlib.suppress(OSError, ValueError):  # a closed pipe of ours must not stop theirs
                sys.stdout.write(chunk.decode("utf-8", "replace"))
                sys.stdout.flush()


def _wait(process: subprocess.Popen[bytes], stop: StopSignal, max_seconds: float) -> str | None:
    started, asked, reason = time.monotonic(), 0.0, None
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)
            return reason
        now = time.monotonic()
        if reason is None and (stop.requested or now - started > max_seconds):
            reason = stop.name or "max_minutes"
            asked = now
            _signal_group(process, signal.SIGINT)
        elif reason is not None and now - asked > GRACE_S:
            return reason


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the process group, ranks and helpers included."""
    _signal_group(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _failure(checkout: Checkout, code: int, report: Path, output: Path) -> str:
    """One line on a failure: the checkout's last exception, its place, what it may mean, where to read the rest."""
    try:
        told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    what = _what(told, output) if told else ""
    if not what or told.get("rank"):
        last = _last_exception(output)
        ending = told.get("message") or (
            f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        )
        what = f"{ending} ({last})" if last else ending
    return f"MimicKit at {checkout.root} failed: {what}{_hint(told)}; all it printed: {output}"


def _what(told: dict[str, Any], output: Path) -> str:
    message = " ".join(str(told.get("message", "")).split())
    if message in ("", "None"):  # an assert that printed its reason
        message = _last_printed(output)
    where = f" ({told['where']})" if told.get("where") else ""
    return f"{told.get('type') or 'error'}: {_short(message)}{where}".replace(": (", " (")


def _hint(told: dict[str, Any]) -> str:
    if told.get("key"):
        folder = Path(str(told.get("where", ""))).parts
        section = next((_SECTION_OF[part] for part in folder if part in _SECTION_OF), "env")
        return (
            f"; its code wants a key that the composed config lacks: add core.{section}.{told['key']}=VALUE "
            "if it is read from there"
        )
    if told.get("module"):
        return (
            f"; this interpreter has no {told['module']}: give the one that has MimicKit's packages, core.python=PATH"
        )
    return ""


def _last_exception(output: Path) -> str:
    """The last line of a traceback among what was printed."""
    for line in reversed(_tail(output)):
        name, _, _ = line.partition(":")
        if name.replace(".", "").isidentifier() and name.endswith(("Error", "Exception", "Interrupt")):
            return _short(line)
    return ""


def _last_printed(output: Path) -> str:
    """What was printed right before the last traceback."""
    lines = _tail(output)
    starts = [index for index, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    before = [line.strip() for line in lines[: starts[-1]] if line.strip()] if starts else []
    return before[-1] if before else "no reason given"


def _tail(output: Path, size: int = 1 << 16) -> list[str]:
    try:
        with open_plain(output) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read().decode("utf-8", "replace").splitlines()
    except (UserError, OSError):
        return []


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:297] + "..."
