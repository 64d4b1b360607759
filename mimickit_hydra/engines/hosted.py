"""An engine that lives in another interpreter, behind the same interface.

The real engine runs in a worker process. States, commands and masks lie in memory both sides share; what is sent is a
few bytes a command. A command of :meth:`set_command` travels with the next request, so a control step is one exchange.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch

from mimickit_hydra.engines import catalog, hosted_memory, hosted_state
from mimickit_hydra.engines import hosted_wire as wire
from mimickit_hydra.engines.hosted_process import Worker
from mimickit_hydra.engines.interface import Engine, EngineError, ObjectModel, ResetState, SceneSpec

START_TIMEOUT = 1800.0  # s; a simulator may compile or download on its first start
TIMEOUT = 300.0  # s
_CLOSING = 10.0  # s


class HostedEngine(Engine):
    """``config`` is the engine's own, of which ``worker_timeout`` and ``worker_start_timeout`` (s) are read here.

    A worker that fails, dies or does not answer in time raises EngineError with one line, and is gone.
    """

    capturable = False  # every request waits for the worker

    def __init__(
        self, config: Any, scene: SceneSpec, num_envs: int, device: str, where: catalog.Interpreter,
        worker: Optional[Worker] = None,
    ) -> None:  # fmt: skip
        """``worker``: one that serves no engine now; it is left running by :meth:`close`."""
        start_timeout = float(getattr(config, "worker_start_timeout", START_TIMEOUT))
        self._timeout = float(getattr(config, "worker_timeout", TIMEOUT))
        self._worker = worker or Worker(config.engine_name, where, start_timeout)
        self._keeps_worker = worker is not None
        self._closed = False
        try:
            self._build(config, scene, num_envs, device, start_timeout)
        except BaseException:
            self.close()
            raise

    def _build(self, config: Any, scene: SceneSpec, num_envs: int, device: str, timeout: float) -> None:
        if torch.device(device).type == "cuda" and not self.worker_versions["cuda"]:
            raise EngineError(
                "engine={}: torch {} in {} has no CUDA, but the run asks for {}: install a CUDA build of torch there, "
                "or use devices=[cpu]".format(
                    config.engine_name, self.worker_versions["torch"], self._worker.where.python, device
                )
            )
        order = {
            "config": _plain(config), "objects": [_plain(spec) for spec in scene.objects], "num_envs": num_envs,
            "device": device,
        }  # fmt: skip
        built = wire.unpack(self._worker.ask(wire.BUILD, payload=wire.pack(order), timeout=timeout))
        self.name = built["name"]
        self.num_envs = built["num_envs"]
        self.device = torch.device(built["device"])
        self.control_mode = built["control_mode"]
        self.control_dt, self.sim_dt = built["control_dt"], built["sim_dt"]
        self.models = [ObjectModel(**model) for model in built["models"]]
        tensors = self._share(timeout)
        self.states = [hosted_state.object_state(tensors, k) for k in range(len(self.models))]
        self.diverged = tensors["diverged"]
        self._mask, self._force = tensors["mask"], tensors["force"]
        self._resets = [hosted_state.reset_state(tensors, k) for k in range(len(self.models))]
        self._commands = [tensors["command.{}".format(k)] for k in range(len(self.models))]
        self._pending: List[int] = []  # objects whose command the worker has not been told to take
        self._on_cpu = self.device.type == "cpu"

    def _share(self, timeout: float) -> Dict[str, torch.Tensor]:
        layout = hosted_memory.Layout(hosted_state.table(self.num_envs, self.models))
        if self.device.type != "cpu":
            tensors, handle = hosted_memory.create_cuda(layout, self.device)
            self._worker.ask(wire.ATTACH, payload=handle, timeout=timeout)
            return tensors
        descriptor = hosted_memory.create_file(layout.nbytes)
        try:
            self._worker.attach_file(descriptor, timeout)
            return hosted_memory.map_file(layout, descriptor)
        finally:
            os.close(descriptor)

    @property
    def worker_versions(self) -> Dict[str, str]:
        """Versions in the worker: ``mimickit_hydra``, ``python``, ``numpy``, ``torch``, ``cuda``."""
        return self._worker.versions

    @property
    def worker_python(self) -> str:
        return self._worker.where.python

    @property
    def worker_pid(self) -> int:
        return self._worker.pid

    # -------------------------------------------------------------------------------------------------- commands

    def set_command(self, command: torch.Tensor, obj: int = 0) -> None:
        shared = self._commands[obj]
        if shared.shape[1] == 0:
            return
        shared.copy_(command.detach())
        if obj not in self._pending:
            self._pending.append(obj)

    def set_body_force(self, body: int, force: torch.Tensor, obj: int = 0) -> None:
        self._force.copy_(force.detach())
        self._ask(wire.FORCE, a=obj, b=body)

    def step(self) -> None:
        pending, self._pending = self._pending, []
        self._ask(wire.STEP, payload=wire.pack_numbers(*pending))

    # -------------------------------------------------------------------------------------------------- reset

    def reset(self, mask: torch.Tensor, states: Mapping[int, ResetState]) -> None:
        if self._on_cpu and not bool(mask.any()):
            return
        self._mask.copy_(mask)
        for obj, new in states.items():
            self._write(obj, new)
        self._ask_moving(wire.RESET, list(states))

    def place(self, obj: int, mask: torch.Tensor, state: ResetState) -> None:
        if self._on_cpu and not bool(mask.any()):
            return
        self._mask.copy_(mask)
        self._write(obj, state)
        self._ask_moving(wire.PLACE, [obj])

    def _write(self, obj: int, new: ResetState) -> None:
        for field in hosted_state.RESET_FIELDS:
            getattr(self._resets[obj], field).copy_(getattr(new, field))

    def _ask_moving(self, code: int, objects: Sequence[int]) -> None:
        """Commands that were set before come first: a reset clears them."""
        pending, self._pending = self._pending, []
        self._ask(code, a=len(pending), payload=wire.pack_numbers(*pending, *objects))

    # -------------------------------------------------------------------------------------------------- checkpoints

    def state_dict(self) -> Dict[str, torch.Tensor]:
        self._flush()
        state = wire.unpack(self._ask(wire.STATE))
        return {name: torch.from_numpy(array) for name, array in state.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        self._flush()
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}
        self._ask(wire.LOAD, payload=wire.pack(arrays))

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending:
            self._ask(wire.FLUSH, payload=wire.pack_numbers(*pending))

    # -------------------------------------------------------------------------------------------------- the worker

    def warnings(self) -> List[str]:
        return list(wire.unpack(self._ask(wire.WARNINGS)))

    def exchange(self) -> None:
        """A request that only refreshes the states, unchanged: what hosting adds to a command."""
        self._ask(wire.NOTHING)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(EngineError):
            self._worker.ask(wire.CLOSE, timeout=_CLOSING)
        if not self._keeps_worker:
            self._worker.end()

    def _ask(self, code: int, a: int = 0, b: int = 0, payload: bytes = b"") -> bytes:
        if self._closed:
            raise EngineError("engine={}: used after it was closed".format(self.name))
        if not self._on_cpu:  # what was written must be there, and what is being read must have been read
            torch.cuda.current_stream(self.device).synchronize()
        return self._worker.ask(code, a, b, payload, self._timeout)


def _plain(config: Any) -> Dict[str, Any]:
    """Attributes of a configuration as JSON can carry them."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    return dict(vars(config))


__all__: List[str] = ["HostedEngine"]
