"""The worker process of a hosted engine: started, asked with a time limit, and ended with nothing left behind."""

from __future__ import annotations

import collections
import contextlib
import glob
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import weakref
from pathlib import Path
from typing import Any, Deque, Dict, List

import mimickit_hydra
from mimickit_hydra.engines import catalog
from mimickit_hydra.engines.interface import EngineError
from mimickit_hydra.engines.subprocess import wire

# Ends an interpreter that is too old, then imports this package from where the host has it, and nothing beside it: the
# host's other packages are of another Python.
_START = """
import sys
if sys.version_info < (3, 8):
    sys.exit("needs Python 3.8 or newer, this is Python %d.%d" % sys.version_info[:2])
sys.path[:] = [folder for folder in sys.path if folder]
import importlib.util
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "mimickit_hydra", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["mimickit_hydra"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from mimickit_hydra.engines.subprocess.worker import main
arguments, sys.argv[1:] = sys.argv[2:], []  # some simulators read them
main(arguments)
"""
_KEPT_LINES = 40  # of what the worker prints
_CLOSING = 10.0  # s a simulator gets to close


class Worker:
    """One process of another interpreter, for one engine at a time. Not for several threads at once."""

    def __init__(self, engine: str, entry: catalog.Entry, where: catalog.Interpreter, start_timeout: float) -> None:
        """Starts the process and compares versions; EngineError with one line if it cannot serve."""
        if sys.platform == "win32":
            raise EngineError("engine={}: engine.python needs Linux or macOS".format(engine))
        problem = catalog.interpreter_problem(engine, where, entry.packages)
        if problem:
            raise EngineError(problem)
        self.engine = engine
        self.entry = entry
        self.where = where
        self.versions: Dict[str, str] = {}
        self._last_line = "engine={}: its worker has ended".format(engine)
        self._tail: Deque[str] = collections.deque(maxlen=_KEPT_LINES)
        ours, theirs = socket.socketpair()
        self.channel = wire.Channel(ours)
        try:
            with theirs:
                self._process = self._start(theirs.fileno())
        except OSError as error:
            ours.close()
            raise EngineError(
                "engine={}: {}={} cannot be started: {}".format(engine, where.source, where.python, error.strerror)
            ) from None
        self._printer = threading.Thread(target=_forward, args=(self._process.stdout, self._tail), daemon=True)
        self._printer.start()
        self.end = weakref.finalize(self, _end, self._process, ours, os.getpid())
        self._greet(start_timeout)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _start(self, descriptor: int) -> Any:
        main_thread = int(threading.current_thread() is threading.main_thread())
        package = str(Path(mimickit_hydra.__file__).resolve().parent)
        return subprocess.Popen(
            [self.where.python, "-c", _START, package, str(descriptor), str(main_thread)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(descriptor,),
            env=_environment(self.engine, self.entry, self.where.python), start_new_session=True,
        )  # fmt: skip

    def _greet(self, timeout: float) -> None:
        package = importlib.util.find_spec(self.entry.place.split(":")[0].split(".")[0])
        if package is None or package.origin is None:
            raise EngineError(
                "engine={}: {} is in no package that a worker can import".format(self.engine, self.entry.place)
            )
        hello = {
            "engine": self.engine, "entry": dict(vars(self.entry)),
            "package": [package.name, package.origin, list(package.submodule_search_locations or [])],
        }  # fmt: skip
        answer = wire.unpack(self.ask(wire.HELLO, payload=wire.pack(hello), timeout=timeout))
        self.versions = answer["versions"]
        ours, theirs = mimickit_hydra.__version__, self.versions["mimickit_hydra"]
        if (answer["protocol"], theirs) != (wire.PROTOCOL, ours):
            self.end()
            raise EngineError(
                "engine={}: the worker in {} has mimickit-hydra {} (protocol {}), this process {} (protocol {}): "
                "install the same version in both".format(
                    self.engine, self.where.python, theirs, answer["protocol"], ours, wire.PROTOCOL
                )
            )

    def attach_file(self, descriptor: int, timeout: float) -> None:
        """Give the worker the shared block of an engine it has built."""
        self.ask(wire.ATTACH, timeout=timeout, descriptor=descriptor)

    def ask(
        self, code: int, a: int = 0, b: int = 0, payload: bytes = b"", timeout: float = 0.0, descriptor: int = -1
    ) -> bytes:  # fmt: skip
        """Send a request and return its answer's payload. EngineError with the worker's words if none comes in time."""
        if not self.end.alive:
            raise EngineError(self._last_line)
        if timeout:
            self.channel.timeout(timeout)
        try:
            self.channel.send(code, a, b, payload)
            if descriptor >= 0:
                self.channel.send_descriptor(descriptor)
            answer = self.channel.receive()
        except socket.timeout:
            self._last_line = self._hung(code)
            raise EngineError(self._last_line) from None
        except EOFError:
            self._last_line = self._died(code)
            raise EngineError(self._last_line) from None
        except BaseException:  # such as a second Ctrl-C: the answer to come would be taken for the next one's
            self.end()
            raise
        if answer.code == wire.DONE:
            return answer.payload
        story = wire.unpack(answer.payload)
        if answer.code == wire.REFUSED:
            raise EngineError(story["line"])
        line = "{} failed to {}: {} ({})".format(self._who(), wire.NAMES[code], story["line"], story["where"])
        raise EngineError(line) from RemoteTracebackError(story["story"])

    def _who(self) -> str:
        return "engine={}: the worker in {}".format(self.engine, self.where.python)

    def _hung(self, code: int) -> str:
        key = "worker_start_timeout" if code in (wire.HELLO, wire.BUILD) else "worker_timeout"
        seconds = self.channel.seconds
        self.end()
        line = "{} did not {} within engine.{}={:g} s and was ended".format(self._who(), wire.NAMES[code], key, seconds)
        return line + self._last_words()

    def _died(self, code: int) -> str:
        """The line about a worker that died, with its exit status and last lines, which may come a moment later."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        status = self._process.poll()
        self.end()
        if status is not None and status < 0:
            try:
                how = "was killed by {}".format(signal.Signals(-status).name)
            except ValueError:
                how = "was killed by signal {}".format(-status)
        else:
            how = "ended" if status is None else "ended with exit code {}".format(status)
        return "{} {} when asked to {}{}".format(self._who(), how, wire.NAMES[code], self._last_words())

    def _last_words(self) -> str:
        self._printer.join(1.0)
        said = last_words(list(self._tail))
        return "; it said: {}".format(said) if said else ""


class RemoteTracebackError(Exception):
    """The traceback in the worker, as the cause of the host's error."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0])


def last_words(lines: List[str], length: int = 400) -> str:
    """The part of a worker's output worth repeating: the last exception's line, else the last three lines."""
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Exit)\b", line)]
    said = errors[-1] if errors else " | ".join(lines[-3:])
    return said if len(said) <= length else "... " + said[-length:]


def _forward(output: Any, tail: Deque[str]) -> None:
    """Copy what the worker prints to standard error, and keep the end of it."""
    with output:
        for raw in output:
            line = raw.decode("utf-8", "replace")
            tail.append(line.rstrip())
            with contextlib.suppress(ValueError, OSError, AttributeError):  # closed, as at the end of the process
                sys.stderr.write(line)


def _environment(engine: str, entry: catalog.Entry, python: str) -> Dict[str, str]:
    """The worker's environment: ours, without what names our own Python."""
    environment = dict(os.environ)
    for name in ("PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV"):
        environment.pop(name, None)
    own = environment.get(catalog.variable(engine, "PYTHONPATH"))
    if own is None:
        own = _without_our_packages(environment.get("PYTHONPATH", ""))
    if own:
        environment["PYTHONPATH"] = own
    else:
        environment.pop("PYTHONPATH", None)
    if entry.links_python:
        libraries = [folder for folder in _library_folders(python) if glob.glob(os.path.join(folder, "libpython*.so*"))]
        known = environment.get("LD_LIBRARY_PATH", "")
        environment["LD_LIBRARY_PATH"] = os.pathsep.join([*libraries, *filter(None, [known])])
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def _without_our_packages(path: str) -> str:
    """PYTHONPATH without the folders of this package and of this Python's packages.

    Our own launchers put the first there so that runs find the package that submitted them; after a ``pip install`` it
    is the same folder as the second, and a worker would load numpy and torch of another Python from there.
    """
    ours = {Path(mimickit_hydra.__file__).resolve().parent.parent}
    ours.update(Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib"))
    kept = [folder for folder in path.split(os.pathsep) if folder and Path(folder).resolve() not in ours]
    return os.pathsep.join(kept)


def _library_folders(python: str) -> List[str]:
    """Folders that may hold an interpreter's libpython: its own, and that of the one its environment was made from."""
    paths = dict.fromkeys((python, os.path.realpath(python)))
    return [os.path.join(os.path.dirname(os.path.dirname(path)), "lib") for path in paths]


def _end(process: Any, connection: socket.socket, owner: int) -> None:
    """Hang up, and end the worker's process group."""
    connection.close()
    if os.getpid() != owner:
        return  # a fork of the host
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_CLOSING)
