"""The worker of a hosted engine: builds the engine in this interpreter and serves it to the host.

Started by :mod:`mimickit_hydra.engines.subprocess.process`. Runs on Python 3.8 with numpy, torch and the simulator
alone, and imports none of them before the simulator had its turn: Isaac Gym refuses to be imported after torch.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import os
import platform
import select
import signal
import socket
import sys
import threading
import time
import traceback
from types import SimpleNamespace
from typing import Any, Callable, Dict, List

from mimickit_hydra.engines import catalog
from mimickit_hydra.engines.subprocess import wire
from mimickit_hydra.errors import UserError

_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")  # meant for the host, which ends this process in order
_PR_SET_PDEATHSIG = 1
_GRACE = 2.0  # s between the end of the host and ours, however busy we are


def main(arguments: List[str]) -> None:
    """``arguments``: the descriptor of the socket, and 1 if the host starts workers from its main thread."""
    descriptor, main_thread = (int(argument) for argument in arguments)
    _die_with_host(descriptor, main_thread == 1)
    channel = wire.Channel(socket.socket(fileno=descriptor))
    try:
        Server(channel).serve()
    except EOFError:
        pass  # the host is gone, or has closed us
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # a simulator's own threads and exit handlers may hang for ever


def _die_with_host(descriptor: int, main_thread: bool) -> None:
    """End this process with the host, even if that is killed while the simulator does not return."""
    if main_thread and sys.platform.startswith("linux"):
        # The kernel watches the thread that started us, hence only if that lives as long as the host.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    threading.Thread(target=_watch, args=(descriptor,), daemon=True).start()


def _watch(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, 0)  # nothing but the end of the connection
    poll.poll()
    time.sleep(_GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


def _ignore_signals() -> None:
    """Ctrl-C and Slurm's signals reach every process; a handler instead of SIG_IGN, which children would inherit."""
    for name in _IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: None)


class Server:
    """Answers one host."""

    def __init__(self, channel: wire.Channel) -> None:
        self._channel = channel
        self._engine: Any = None
        self._class: Any = None
        self._tensors: Dict[str, Any] = {}  # shared with the host
        self._resets: List[Any] = []
        self._commands: List[Any] = []
        self._published: List[Any] = []
        self._wait: Callable[[], None] = lambda: None
        self._do: Dict[int, Callable[[wire.Frame], bytes]] = {
            wire.HELLO: self._hello, wire.BUILD: self._build, wire.ATTACH: self._attach, wire.STEP: self._step,
            wire.RESET: self._reset, wire.PLACE: self._place, wire.FORCE: self._force, wire.FLUSH: self._flush,
            wire.STATE: self._state, wire.LOAD: self._load, wire.WARNINGS: self._warnings, wire.CLOSE: self._close,
            wire.NOTHING: self._nothing, wire.NOMINAL: self._nominal, wire.VALUES: self._values,
            wire.ONLY: self._only,
        }  # fmt: skip

    def serve(self) -> None:
        """Answer requests until the host hangs up (EOFError)."""
        _ignore_signals()
        while True:
            frame = self._channel.receive()
            try:
                answer = self._do[frame.code](frame)
            except Exception as error:
                code, answer = _explain(error)
                self._channel.send(code, payload=answer)
            else:
                self._channel.send(wire.DONE, payload=answer)

    def _hello(self, frame: wire.Frame) -> bytes:
        """Import in the simulator's order; answers with the versions on this side."""
        hello = wire.unpack(frame.payload)
        entry = catalog.Entry(**{key: _tuple(value) for key, value in hello["entry"].items()})
        missing = catalog.missing_packages(entry)
        if missing:
            raise _RefusalError(catalog.lacks(hello["engine"], missing, entry.install, sys.executable))
        missing = [name for name in ("numpy", "torch") if not catalog.importable(name)]
        if missing:
            how = "install the version of it that the simulator asks for"
            raise _RefusalError(catalog.lacks(hello["engine"], missing, how, sys.executable))
        for package in entry.import_first:
            importlib.import_module(package)
        import numpy as np
        import torch

        _borrow(*hello["package"])
        self._class = _place(entry.place)
        import mimickit_hydra

        versions = {
            "mimickit_hydra": mimickit_hydra.__version__, "python": platform.python_version(), "numpy": np.__version__,
            "torch": torch.__version__, "cuda": torch.version.cuda or "",
        }  # fmt: skip
        return wire.pack({"protocol": wire.PROTOCOL, "versions": versions})

    def _build(self, frame: wire.Frame) -> bytes:
        import torch

        from mimickit_hydra.engines.interface import ObjectSpec, SceneSpec
        from mimickit_hydra.engines.subprocess.state import describe_model
        from mimickit_hydra.motion.robot import Robot

        order = wire.unpack(frame.payload)
        if torch.device(order["device"]).type == "cpu":
            torch.set_num_threads(1)  # the cores are the simulator's
        for spec in order["objects"]:
            spec["robot"] = spec["robot"] and Robot.from_values(spec["robot"])
        objects = tuple(ObjectSpec(**{k: _tuple(v) for k, v in spec.items()}) for spec in order["objects"])
        config = SimpleNamespace(**order["config"])
        self._engine = self._class(config, SceneSpec(objects), order["num_envs"], order["device"])
        _ignore_signals()  # some simulators install handlers of their own
        gc.collect()
        gc.freeze()  # what a simulator is made of need not be searched for garbage again and again
        engine = self._engine
        return wire.pack(
            {
                "name": engine.name, "num_envs": engine.num_envs, "control_mode": engine.control_mode,
                "control_dt": engine.control_dt, "sim_dt": engine.sim_dt, "device": str(engine.device),
                "models": [describe_model(model) for model in engine.models],
            }
        )  # fmt: skip

    def _attach(self, frame: wire.Frame) -> bytes:
        """Find the shared block and fill it for the first time."""
        import torch

        from mimickit_hydra.engines.subprocess import memory
        from mimickit_hydra.engines.subprocess import state as shared

        engine, handle = self._engine, frame.payload
        layout = memory.Layout(shared.table(engine.num_envs, engine.models))
        if handle:
            self._tensors = memory.open_cuda(layout, engine.device, handle)
            self._wait = lambda: torch.cuda.synchronize(engine.device)
        else:
            descriptor = self._channel.receive_descriptor()
            self._tensors = memory.map_file(layout, descriptor)
            os.close(descriptor)
            self._wait = lambda: None
        self._published = [(self._tensors["diverged"], engine.diverged)]
        for k, state in enumerate(engine.states):
            for field in shared.STATE_FIELDS:
                self._published.append((self._tensors["state.{}.{}".format(k, field)], getattr(state, field)))
        self._resets = [shared.reset_state(self._tensors, k) for k in range(len(engine.models))]
        self._commands = [self._tensors["command.{}".format(k)] for k in range(len(engine.models))]
        self._publish()
        return b""

    def _publish(self) -> None:
        for there, here in self._published:
            there.copy_(here)
        self._wait()

    def _take_commands(self, objects: Any) -> None:
        for obj in objects:
            self._engine.set_command(self._commands[obj], obj)

    def _step(self, frame: wire.Frame) -> bytes:
        self._take_commands(wire.unpack_numbers(frame.payload))
        self._engine.step()
        self._publish()
        return b""

    def _reset(self, frame: wire.Frame) -> bytes:
        numbers = wire.unpack_numbers(frame.payload)
        self._take_commands(numbers[: frame.a])
        states = {obj: self._resets[obj] for obj in numbers[frame.a :]}
        self._engine.reset(self._tensors["mask"], states)
        self._publish()
        return b""

    def _place(self, frame: wire.Frame) -> bytes:
        numbers = wire.unpack_numbers(frame.payload)
        self._take_commands(numbers[: frame.a])
        obj = numbers[-1]
        self._engine.place(obj, self._tensors["mask"], self._resets[obj])
        self._publish()
        return b""

    def _force(self, frame: wire.Frame) -> bytes:
        self._engine.set_body_force(frame.b, self._tensors["force"], frame.a)
        self._wait()  # the host may write the next force into the same place
        return b""

    def _flush(self, frame: wire.Frame) -> bytes:
        self._take_commands(wire.unpack_numbers(frame.payload))
        self._wait()
        return b""

    def _state(self, frame: wire.Frame) -> bytes:
        return wire.pack({name: tensor.cpu().numpy() for name, tensor in self._engine.state_dict().items()})

    def _load(self, frame: wire.Frame) -> bytes:
        import torch

        state = wire.unpack(frame.payload)
        self._engine.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        self._publish()
        return b""

    def _nominal(self, frame: wire.Frame) -> bytes:
        engine, asked = self._engine, wire.unpack(frame.payload)
        told = {"values": engine.model_values(asked["name"], asked["obj"]).cpu().numpy()}
        if asked["name"] == "friction":
            told["shape_bodies"] = engine.shape_bodies(asked["obj"])
        return wire.pack(told)

    def _values(self, frame: wire.Frame) -> bytes:
        import torch

        device = self._engine.device
        values = {name: torch.from_numpy(array).to(device) for name, array in wire.unpack(frame.payload).items()}
        self._engine.set_model_values(values, self._tensors["mask"], frame.a)
        self._wait()
        return b""

    def _only(self, frame: wire.Frame) -> bytes:
        obeyed = self._engine.step_only(self._tensors["mask"].clone() if frame.a else None)
        return wire.pack({"obeyed": bool(obeyed)})

    def _nothing(self, frame: wire.Frame) -> bytes:
        """Do nothing: the request that measures what hosting adds to a command."""
        self._publish()
        return b""

    def _warnings(self, frame: wire.Frame) -> bytes:
        return wire.pack([str(line) for line in self._engine.warnings()])

    def _close(self, frame: wire.Frame) -> bytes:
        engine, self._engine, self._published, self._tensors = self._engine, None, [], {}
        self._resets, self._commands = [], []
        if engine is not None:
            engine.close()
        return b""


class _RefusalError(UserError):
    """An error for the user, before EngineError can be imported."""


def _explain(error: Exception) -> Any:
    """The code and the payload of the answer to a request that failed."""
    if isinstance(error, UserError):
        return wire.REFUSED, wire.pack({"line": str(error)})
    frames = traceback.extract_tb(error.__traceback__)
    where = "{}:{}".format(os.path.basename(frames[-1].filename), frames[-1].lineno) if frames else ""
    line = " ".join("".join(traceback.format_exception_only(type(error), error)).split())
    return wire.FAILED, wire.pack({"line": line, "where": where, "story": traceback.format_exc()})


def _borrow(name: str, file: str, folders: List[str]) -> None:
    """Import the package of another's engine from where the host has it, and nothing beside it."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders or None)
        if spec is None or spec.loader is None:
            raise _RefusalError("{}: not a package that a worker can import ({})".format(name, file))
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


def _place(place: str) -> Any:
    """The object that ``"module:attribute"`` names."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
