"""What the engines on MuJoCo Warp share: thousands of environments on a GPU, or a few on a CPU.

They differ in who makes the model. A control step runs on MuJoCo Warp's own arrays, with one kernel each for commands,
contacts and read-out, recorded once as a graph. Every tensor is a view of simulator memory.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

import abc
import time
from typing import Any, Dict, List, Mapping, Optional, Tuple

import mujoco_warp as mjw
import torch
import warp as wp

from mimickit_hydra.engines.interface import (
    Engine,
    EngineError,
    ObjectModel,
    ObjectState,
    ResetState,
    SceneSpec,
    check_saved_state,
)
from mimickit_hydra.engines.mujoco.values import OF_INERTIA, ModelNumbers
from mimickit_hydra.engines.warp import kernels
from mimickit_hydra.engines.warp.scene import WarpScene
from mimickit_hydra.engines.warp.values import VariedModel

wp.config.enable_backward = False  # adjoint kernels would only cost compile time
wp.config.log_level = wp.LOG_WARNING  # not a line for every kernel it loads

_SAVED = ("qpos", "qvel", "qacc_warmstart", "ctrl", "xfrc_applied", "mocap_pos", "mocap_quat", "time")


class _Object:
    """One object's tensors and the kernel arguments that share their memory."""

    def __init__(self, model: ObjectModel, num_envs: int, device: Any) -> None:
        n, b, d = num_envs, model.num_bodies, model.num_dofs

        def zeros(shape: Any, kind: Any = wp.float32) -> Any:
            return wp.zeros(shape, dtype=kind, device=device)

        self.pose = kernels.Pose()
        for name, kind in (("pos", wp.vec3), ("rot", wp.quat), ("vel", wp.vec3), ("ang_vel", wp.vec3)):
            setattr(self.pose, "body_" + name, zeros((n, b), kind))
        self.start = kernels.Start()
        for name, kind in (("pos", wp.vec3), ("rot", wp.quat), ("vel", wp.vec3), ("ang_vel", wp.vec3)):
            setattr(self.start, "root_" + name, zeros(n, kind))
        for struct in (self.pose, self.start):
            struct.dof_pos, struct.dof_vel = zeros((n, d)), zeros((n, d))
        self.new = {name: wp.to_torch(getattr(self.start, name)) for name in ResetState.__dataclass_fields__}
        self.target = zeros((n, d))  # of torque and explicit PD
        self.target_tensor = wp.to_torch(self.target)
        self.kp, self.kd, self.torque_limit = (
            wp.array(values[None], dtype=wp.float32, device=device)
            for values in (model.kp, model.kd, model.torque_limits)
        )

    def state(self, total: torch.Tensor, ground: torch.Tensor) -> ObjectState:
        body = {part: wp.to_torch(getattr(self.pose, "body_" + part)) for part in ("pos", "rot", "vel", "ang_vel")}
        return ObjectState(
            root_pos=body["pos"][:, 0], root_rot=body["rot"][:, 0], root_vel=body["vel"][:, 0],
            root_ang_vel=body["ang_vel"][:, 0],
            dof_pos=wp.to_torch(self.pose.dof_pos), dof_vel=wp.to_torch(self.pose.dof_vel),
            body_pos=body["pos"], body_rot=body["rot"], body_vel=body["vel"], body_ang_vel=body["ang_vel"],
            contact_forces=total, ground_contact_forces=ground,
        )  # fmt: skip


class WarpEngine(Engine):
    """MuJoCo Warp behind the engine interface. Of ``config`` the attributes of ``MjwarpEngineConfig`` are read.

    On CUDA nothing here waits for the device. :meth:`step` replays a graph; the other methods launch kernels on torch's
    current stream, so they may run while torch captures a graph of its own. A simulation that blows up is restarted,
    ``diverged`` is set, and its state reads NaN until it is reset. ``build_seconds`` says what building it took.
    """

    @staticmethod
    @abc.abstractmethod
    def build_scene(config: Any, scene: SceneSpec, num_envs: int, device: Any) -> WarpScene:
        """Build ``num_envs`` copies of ``scene`` on ``device``. EngineError for what this engine cannot express."""

    def __init__(self, config: Any, scene: SceneSpec, num_envs: int, device: str = "cpu") -> None:
        self._describe(config, num_envs, torch.device(device))
        self._wp_device = _warp_device(self.name, self.device)
        self._streams: Dict[int, Any] = {}
        self.build_seconds: Dict[str, float] = {}
        with wp.ScopedDevice(self._wp_device):
            began = time.perf_counter()
            self.scene = self.build_scene(config, scene, num_envs, self._wp_device)
            self.models = self.scene.models
            self._allocate([not obj.disable_motors for obj in scene.objects])
            self._initial_state()
            self._lap("model", began)
            self._graph = self._record() if getattr(config, "record_graph", True) else None
            self._initial_state()
        self._synchronize()

    def _lap(self, part: str, began: float) -> float:
        """Note the seconds since ``began`` for ``part`` and return the time now."""
        self._synchronize()
        now = time.perf_counter()
        self.build_seconds[part] = now - began
        return now

    def _allocate(self, motors: List[bool]) -> None:
        """``motors``: whether an object obeys commands. Torques need no gains in its asset."""
        n, device = self.num_envs, self._wp_device
        self._model, self._data = self.scene.warp_model, self.scene.data
        bodies = self.scene.mujoco_model.nbody - 1
        self._total = wp.zeros((n, bodies), dtype=wp.vec3, device=device)
        self._ground = wp.zeros((n, bodies), dtype=wp.vec3, device=device)
        self._everyone = wp.full(n, True, dtype=wp.bool, device=device)
        self._mask = wp.zeros(n, dtype=wp.bool, device=device)
        self._diverged = wp.zeros(n, dtype=wp.bool, device=device)
        self._qpos0 = wp.array(self.scene.mujoco_model.qpos0, dtype=wp.float32, device=device)
        contacts = int(self._data.naconmax)
        self._contact_ids = wp.array(list(range(contacts)), dtype=wp.int32, device=device)
        force_type: Any = wp.spatial_vector
        self._contact_force = wp.zeros(contacts, dtype=force_type, device=device)
        self._mask_tensor = wp.to_torch(self._mask)
        self.diverged = wp.to_torch(self._diverged)
        self._ctrl = wp.to_torch(self._data.ctrl)
        self._forces = wp.to_torch(self._data.xfrc_applied)
        self._overflow = wp.to_torch(self._data.overflow)
        self._values = VariedModel(self.scene, n)
        total, ground = wp.to_torch(self._total), wp.to_torch(self._ground)
        self._objects = [_Object(model, n, device) for model in self.models]
        self.states = [obj.state(total[:, b], ground[:, b]) for obj, b in zip(self._objects, self.scene.bodies)]
        self._drives = [_columns(columns, self.device) for columns in self.scene.ctrl]
        self._torques = self.control_mode in ("torque", "pd_explicit")
        self._moved = [k for k, obj in enumerate(self.models) if obj.num_dofs and self._torques and motors[k]]
        simulator = {name: wp.to_torch(getattr(self._data, name)) for name in _SAVED}
        self._first = {name: tensor.clone() for name, tensor in simulator.items()}
        self._saved = {**simulator, "diverged": self.diverged}
        for k, (obj, live) in enumerate(zip(self._objects, self.states)):
            self._saved["contact_forces.{}".format(k)] = live.contact_forces
            self._saved["ground_contact_forces.{}".format(k)] = live.ground_contact_forces
            self._saved["targets.{}".format(k)] = obj.target_tensor

    def _initial_state(self) -> None:
        """Put every environment into the scene's start, and drop what recording the graph has left behind."""
        for name, tensor in self._first.items():
            self._saved[name].copy_(tensor)
        self._data.qfrc_applied.zero_()
        self._data.overflow.zero_()
        self._total.zero_()
        self._ground.zero_()
        self._diverged.zero_()
        self._read(self._everyone, None)

    def _record(self) -> Any:
        """Record the control step as a graph. A substep runs before, so that no kernel is compiled while recording."""
        began = time.perf_counter()
        self._physics(None, 1)
        began = self._lap("kernels", began)
        with wp.ScopedCapture(device=self._wp_device) as capture:
            self._physics(None, self._substeps)
        self._lap("graph", began)
        return capture.graph

    def set_command(self, command: torch.Tensor, obj: int = 0) -> None:
        columns = self._drives[obj]
        if self._torques:
            self._objects[obj].target_tensor.copy_(command)
        elif isinstance(columns, slice):
            self._ctrl[:, columns].copy_(command)
        elif columns is not None:
            self._ctrl.index_copy_(1, columns, command.to(self._ctrl.dtype))

    def set_body_force(self, body: int, force: torch.Tensor, obj: int = 0) -> None:
        column = 1 + self.scene.bodies[obj].start + body
        self._forces[:, column, :3].copy_(force)

    def step(self) -> None:
        stream = self._stream()
        if self._graph is not None:
            wp.capture_launch(self._graph, stream=stream)
        elif stream is None:
            self._physics(None, self._substeps)
        else:
            with wp.ScopedStream(stream, sync_enter=False):
                self._physics(stream, self._substeps)

    def _physics(self, stream: Any, substeps: int) -> None:
        model, data = self._model, self._data
        explicit = self.control_mode == "pd_explicit"
        commands = [self._objects[k].target for k in self._moved] if self._torques else [data.ctrl]
        with wp.ScopedDevice(self._wp_device):
            for command in commands:
                self._launch(kernels.refuse_bad_commands, command.shape, [], [command, self._diverged], stream)
            for index in range(substeps):
                if explicit or (self._torques and index == 0):
                    self._write_torques(explicit, stream)
                mjw.step(model, data)
            data.xfrc_applied.zero_()
            self._sum_contacts(stream)
        self._read(self._everyone, stream)

    def _write_torques(self, explicit: bool, stream: Any) -> None:
        data = self._data
        driven = data.ctrl.shape[1] > 0  # by actuators of the model, which take torques
        for k in self._moved:
            obj = self._objects[k]
            self._launch(
                kernels.joint_torque, (self.num_envs, self.models[k].num_bodies),
                [obj.target, obj.kp, obj.kd, obj.torque_limit, explicit, self.scene.trees[k], data.qpos, data.qvel],
                [data.ctrl if driven else data.qfrc_applied], stream,
            )  # fmt: skip

    def _sum_contacts(self, stream: Any) -> None:
        data = self._data
        self._total.zero_()
        self._ground.zero_()
        mjw.contact_force(self._model, data, self._contact_ids, True, self._contact_force)
        self._launch(
            kernels.contact_forces, int(data.naconmax),
            [data.nacon, data.contact.worldid, data.contact.geom, data.contact.frame, self._contact_force,
             self.scene.geom_body, self.scene.ground_geom],
            [self._total, self._ground], stream,
        )  # fmt: skip

    def _read(self, mask: Any, stream: Any) -> None:
        """Refresh the tensors of the masked environments from the simulator."""
        data, n = self._data, self.num_envs
        self._launch(
            kernels.restart_lost, n, [mask, self._qpos0],
            [self._diverged, data.qpos, data.qvel, data.qacc_warmstart, data.ctrl], stream,
        )  # fmt: skip
        for obj, tree in zip(self._objects, self.scene.trees):
            inputs = [mask, self._diverged, data.qpos, data.qvel, data.mocap_pos, data.mocap_quat, tree]
            self._launch(kernels.read_out, (n, tree.parent.shape[0]), inputs, [obj.pose], stream)
        self._launch(
            kernels.forget_lost_contacts, self._total.shape, [self._diverged], [self._total, self._ground], stream
        )

    def _launch(self, kernel: Any, dim: Any, inputs: List[Any], outputs: List[Any], stream: Any) -> None:
        wp.launch(kernel, dim=dim, inputs=inputs, outputs=outputs, device=self._wp_device, stream=stream)

    def reset(self, mask: torch.Tensor, states: Mapping[int, ResetState]) -> None:
        if self.device.type == "cpu" and not bool(mask.any()):
            return
        data, n, stream = self._data, self.num_envs, self._stream()
        self._mask_tensor.copy_(mask)
        width = max(data.qvel.shape[1], data.ctrl.shape[1], data.xfrc_applied.shape[1])
        self._launch(
            kernels.clear_worlds, (n, width), [self._mask],
            [self._diverged, data.qacc_warmstart, data.qfrc_applied, data.ctrl, data.xfrc_applied, data.time,
             self._total, self._ground], stream,
        )  # fmt: skip
        if self._torques:
            for obj in self._objects:
                obj.target_tensor.masked_fill_(self._mask_tensor.unsqueeze(-1), 0.0)
        for k, new in states.items():
            self._write(k, new, stream)
        self._read(self._mask, stream)

    def place(self, obj: int, mask: torch.Tensor, state: ResetState) -> None:
        stream = self._stream()
        self._mask_tensor.copy_(mask)
        self._write(obj, state, stream)
        self._read(self._mask, stream)

    def _write(self, k: int, new: ResetState, stream: Any) -> None:
        """Put object ``k`` of the masked environments into its new state."""
        data, obj = self._data, self._objects[k]
        for name, tensor in obj.new.items():
            tensor.copy_(getattr(new, name))
        self._launch(
            kernels.write_state, (self.num_envs, self.models[k].num_bodies),
            [self._mask, obj.start, self.scene.trees[k]],
            [data.qpos, data.qvel, data.mocap_pos, data.mocap_quat], stream,
        )  # fmt: skip

    def model_values(self, name: str, obj: int = 0) -> torch.Tensor:
        return torch.from_numpy(self._numbers(obj).of(self.name, name)).float().to(self.device)

    def shape_bodies(self, obj: int = 0) -> List[int]:
        return self._numbers(obj).shape_bodies

    def set_model_values(
        self, values: Mapping[str, torch.Tensor], mask: Optional[torch.Tensor] = None, obj: int = 0
    ) -> None:
        numbers = self._numbers(obj)
        for name in values:
            numbers.of(self.name, name)
        grown = [self._values.expand(numbers, name) for name in values]
        for name in values:
            if name in self._own_values and getattr(self._objects[obj], name).shape[0] != self.num_envs:
                shared = wp.to_torch(getattr(self._objects[obj], name)).expand(self.num_envs, -1)
                setattr(self._objects[obj], name, wp.from_torch(shared.clone()))
                grown.append(True)
        if any(grown) and self._graph is not None:
            self._record_again()
        for name, tensor in values.items():
            if name in self._own_values:
                live = wp.to_torch(getattr(self._objects[obj], name))
                live.copy_(tensor if mask is None else torch.where(mask[:, None], tensor, live))
            self._values.write(numbers, name, tensor, mask)
        if any(name in OF_INERTIA for name in values):
            self._values.derive(mask)

    def _record_again(self) -> None:
        """The graph has the addresses of arrays that are new now; the state stays."""
        before = self.state_dict()
        self._graph = self._record()
        self._data.overflow.zero_()
        self.load_state_dict(before)

    def _numbers(self, obj: int) -> ModelNumbers:
        return self._values.numbers(obj, self.control_mode, self._own_values)

    @property
    def _own_values(self) -> Tuple[str, ...]:
        """What is applied by a kernel of ours instead of MuJoCo Warp's actuators."""
        return {"pd_explicit": ("kp", "kd", "torque_limit"), "torque": ("torque_limit",)}.get(self.control_mode, ())

    def state_dict(self) -> Dict[str, torch.Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self._saved.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        check_saved_state(state, self.state_dict())
        for name, tensor in self._saved.items():
            tensor.copy_(state[name])
        self._read(self._everyone, self._stream())

    def warnings(self) -> List[str]:
        """Lines about contacts or constraints that did not fit since the last call. Waits for the device."""
        bits = mjw.OverflowType
        serious = int(bits.NEFC | bits.NJMAX_NNZ | bits.BROADPHASE | bits.NARROWPHASE)
        lost = int(((self._overflow & serious) != 0).sum())
        self._overflow.zero_()
        if not lost:
            return []
        return [
            "{} of {} environments had more contacts than engine.nconmax={} or constraints than engine.njmax={} "
            "hold; some were dropped: raise them".format(
                lost, self.num_envs, int(self._data.naconmax) // self.num_envs, int(self._data.njmax)
            )
        ]

    def _stream(self) -> Any:
        """Torch's current stream for Warp; None on the CPU."""
        if self.device.type == "cpu":
            return None
        current = torch.cuda.current_stream(self.device)
        if current.cuda_stream not in self._streams:
            self._streams[current.cuda_stream] = wp.stream_from_torch(current)
        return self._streams[current.cuda_stream]

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            wp.synchronize_device(self._wp_device)
            torch.cuda.synchronize(self.device)


def _warp_device(engine: str, device: torch.device) -> Any:
    """Warp's name for torch's device. EngineError where torch has a GPU and Warp, which needs a newer driver, none."""
    name = "cpu" if device.type == "cpu" else str(_indexed(device))
    try:
        return wp.get_device(name)
    except ValueError:
        raise EngineError(
            "engine={}: Warp {} finds no {}; its CUDA needs a newer driver, or use devices=[cpu]".format(
                engine, wp.__version__, name
            )
        ) from None


def _indexed(device: torch.device) -> torch.device:
    return device if device.index is not None else torch.device(device.type, torch.cuda.current_device())


def _columns(columns: Any, device: torch.device) -> Any:
    """Columns as a slice where they are neighbours, which a copy writes fastest; None where there are none."""
    if len(columns) == 0:
        return None
    if (columns == range(int(columns[0]), int(columns[0]) + len(columns))).all():
        return slice(int(columns[0]), int(columns[0]) + len(columns))
    return torch.as_tensor(columns, device=device)
