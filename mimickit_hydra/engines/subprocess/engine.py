"""An engine that runs in a worker process with another interpreter, behind the same interface.

The real engine runs in a worker process. States, commands and masks lie in memory both sides share; what is sent is a
few bytes a command. A command of :meth:`set_command` travels with the next request, so a control step is one exchange.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch

from mimickit_hydra.engines import catalog
from mimickit_hydra.engines.interface import Engine, EngineError, ObjectModel, ObjectSpec, ResetState, SceneSpec
from mimickit_hydra.engines.subprocess import memory as hosted_memory
from mimickit_hydra.engines.subprocess import state as hosted_state
from mimickit_hydra.engines.subprocess import wire
from mimickit_hydra.engines.subprocess.process import Worker

START_TIMEOUT = 1800.0  # s; a simulator may compile or download on its first start
TIMEOUT = 300.0  # s
_CLOSING = 10.0  # s


class HostedEngine(Engine):
    """An engine hosted in a worker. Of ``config`` the timeouts (s) are read here, the rest goes to the worker.

    A worker that fails, dies or does not answer in time raises EngineError with one line, and is gone.
    """

    capturable = False  # every request waits for the worker

    def __init__(
        self, config: Any, scene: SceneSpec, num_envs: int, device: str, entry: catalog.Entry,
        where: catalog.Interpreter, worker: Optional[Worker] = None,
    ) -> None:  # fmt: skip
        """``worker``: one that serves no engine now; it is left running by :meth:`close`."""
        start_timeout = float(getattr(config, "worker_start_timeout", START_TIMEOUT))
        self._timeout = float(getattr(config, "worker_timeout", TIMEOUT))
        self._worker = worker or Worker(config.engine_name, entry, where, start_timeout)
        self._keeps_worker = worker is not None
        # mimickit_hydra, python, numpy, torch, cuda
        self.worker_versions = {"executable": self._worker.where.python, **self._worker.versions}
        self._closed = False
        try:
            self._build(config, scene, num_envs, device, start_timeout)
        except BaseException:
            self.close()
            raise

    def _build(self, config: Any, scene: SceneSpec, num_envs: int, device: str, timeout: float) -> None:
        if torch.device(device).type == "cuda" and not self._worker.versions["cuda"]:
            raise EngineError(
                "engine={}: torch {} in {} has no CUDA, but the run asks for {}: install a CUDA build of torch there, "
                "or use devices=[cpu]".format(
                    config.engine_name, self._worker.versions["torch"], self._worker.where.python, device
                )
            )
        objects = [_read(spec) for spec in scene.objects] if self._worker.entry.takes_values else scene.objects
        order = {
            "config": _plain(config), "objects": [_plain(spec) for spec in objects], "num_envs": num_envs,
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
        self._only: Optional[torch.Tensor] = None  # [N] bool

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
    def worker_pid(self) -> int:
        return self._worker.pid

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

    def step_only(self, rows: Optional[torch.Tensor]) -> bool:
        if not self._on_cpu or (rows is None and self._only is None):
            return rows is None
        if rows is not None and self._only is not None and torch.equal(rows, self._only):
            return True  # asked in every step of a test
        if rows is not None:
            self._mask.copy_(rows)
        answer = wire.unpack(self._ask(wire.ONLY, a=int(rows is not None)))
        self._only = rows.clone() if rows is not None and answer["obeyed"] else None
        return bool(answer["obeyed"])

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
        """Send a request that moves the simulation, after the commands that were set before it."""
        pending, self._pending = self._pending, []
        self._ask(code, a=len(pending), payload=wire.pack_numbers(*pending, *objects))

    def model_values(self, name: str, obj: int = 0) -> torch.Tensor:
        return torch.from_numpy(self._nominal(name, obj)["values"]).to(self.device)

    def shape_bodies(self, obj: int = 0) -> List[int]:
        return list(self._nominal("friction", obj)["shape_bodies"])

    def _nominal(self, name: str, obj: int) -> Dict[str, Any]:
        answer: Dict[str, Any] = wire.unpack(self._ask(wire.NOMINAL, payload=wire.pack({"name": name, "obj": obj})))
        return answer

    def set_model_values(
        self, values: Mapping[str, torch.Tensor], mask: Optional[torch.Tensor] = None, obj: int = 0
    ) -> None:
        chosen = torch.ones_like(self._mask) if mask is None else mask
        if self._on_cpu and not bool(chosen.any()):
            return
        self._mask.copy_(chosen)
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in values.items()}
        self._ask(wire.VALUES, a=obj, payload=wire.pack(arrays))

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

    def warnings(self) -> List[str]:
        return list(wire.unpack(self._ask(wire.WARNINGS)))

    def exchange(self) -> None:
        """Send a request that changes nothing and refreshes the states, to measure what hosting adds to a command."""
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


def _read(obj: ObjectSpec) -> ObjectSpec:
    """The object with the values of its file, which the worker's interpreter may have no MuJoCo to read."""
    from mimickit_hydra.engines.mujoco.model import read_values

    return dataclasses.replace(obj, robot=read_values(obj))


def _plain(config: Any) -> Dict[str, Any]:
    """The attributes of a configuration as plain data for JSON."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    return dict(vars(config))
