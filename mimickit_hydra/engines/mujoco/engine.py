"""The engine for MuJoCo's C library: environments stepped on a thread pool, states as float32 tensors on the CPU."""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

import numpy as np
import torch

from mimickit_hydra.engines.interface import Engine, EngineError, ResetState, SceneSpec, check_saved_state
from mimickit_hydra.engines.mujoco.model import SolverOptions, build_model
from mimickit_hydra.engines.mujoco.physics import Physics, make_physics
from mimickit_hydra.engines.mujoco.readout import Readout
from mimickit_hydra.engines.mujoco.values import OF_INERTIA, ModelNumbers, frame_flags, free_friction

EXPLICIT = ("kp", "kd")  # what this engine applies itself in the control mode pd_explicit


class MujocoEngine(Engine):
    """MuJoCo behind the engine interface. Of ``config`` the attributes of ``MujocoEngineConfig`` are read.

    A simulation that blows up does not stop the others: MuJoCo restarts it, ``diverged`` is set, and its state reads
    NaN until it is reset. The command of an environment that was reset is zero until the next ``set_command``.
    """

    name = "mujoco"

    def __init__(self, config: Any, scene: SceneSpec, num_envs: int, device: str = "cpu") -> None:
        if torch.device(device).type != "cpu":
            raise EngineError("engine=mujoco runs on the CPU, found device {!r}; use devices=[cpu]".format(str(device)))
        self._describe(config, num_envs, torch.device("cpu"))
        options = SolverOptions(config.iterations, config.ls_iterations, config.impratio)
        self.scene = build_model(scene, config.control_mode, self.sim_dt, options)
        self.models = [layout.model for layout in self.scene.layouts]
        self._physics: Physics = make_physics(self.scene.model, num_envs, config.num_threads)
        roots = self.scene.model.body_rootid
        self._readouts = [Readout(layout, self._physics, roots) for layout in self.scene.layouts]
        self.states = [readout.state for readout in self._readouts]
        self.diverged = torch.zeros(num_envs, dtype=torch.bool)
        self._diverged = self.diverged.numpy()
        self._explicit = self.control_mode == "pd_explicit"
        self._targets = [np.zeros((num_envs, _width(layout.ctrl))) for layout in self.scene.layouts]
        self._gains = [(layout.model.kp, layout.model.kd) for layout in self.scene.layouts]
        self._numbers: Dict[int, ModelNumbers] = {}
        self._prepared: List[str] = []
        self._forces_pending = False
        self._only: Optional[np.ndarray] = None
        self._physics.kinematics()
        for readout in self._readouts:
            readout.refresh()

    def set_command(self, command: torch.Tensor, obj: int = 0) -> None:
        where = self.scene.layouts[obj].ctrl
        if where.stop == where.start:
            return  # control mode none, or motors disabled
        target = self._targets[obj] if self._explicit else self._physics.ctrl[:, where]
        target[...] = command.detach().cpu().numpy()

    def set_body_force(self, body: int, force: torch.Tensor, obj: int = 0) -> None:
        body_id = int(self.scene.layouts[obj].body_ids[body])
        self._physics.xfrc[:, body_id, :3] = force.detach().cpu().numpy()
        self._forces_pending = True

    def step_only(self, rows: Optional[torch.Tensor]) -> bool:
        self._only = None if rows is None else np.flatnonzero(rows.detach().cpu().numpy())
        return True

    def step(self) -> None:
        only = self._only
        failed = self._step_explicit() if self._explicit else self._physics.step(self._substeps, only)
        if failed is not None:
            self._diverged |= failed
        if self._forces_pending:
            self._physics.xfrc[...] = 0.0
            self._forces_pending = False
        self._physics.kinematics(only)
        for readout in self._readouts:
            readout.refresh(only)
            readout.refresh_contacts()
        self._invalidate_diverged()

    def _step_explicit(self) -> Any:
        """Recompute the torque before every substep; MuJoCo clamps it to the limits."""
        failed = None
        for _ in range(self._substeps):
            for readout, target, (kp, kd) in zip(self._readouts, self._targets, self._gains):
                where = readout.layout.ctrl
                if where.stop > where.start:
                    error = target - readout.exp_maps()
                    self._physics.ctrl[:, where] = kp * error - kd * readout.dof_velocities()
            bad = self._physics.step(1, self._only)
            if bad is not None:
                failed = bad if failed is None else failed | bad
        return failed

    def _invalidate_diverged(self) -> None:
        if self._diverged.any():
            rows = np.flatnonzero(self._diverged)
            for readout in self._readouts:
                readout.invalidate(rows)

    def reset(self, mask: torch.Tensor, states: Mapping[int, ResetState]) -> None:
        rows = np.flatnonzero(mask.detach().cpu().numpy())
        if rows.size == 0:
            return
        physics = self._physics
        for array in (physics.warmstart, physics.ctrl, physics.xfrc, physics.time, *self._targets):
            array[rows] = 0.0
        for obj, new in states.items():
            self._readouts[obj].write(rows, new)
        self._diverged[rows] = False
        physics.kinematics(rows)
        for readout in self._readouts:
            readout.refresh(rows)
            readout.clear_contacts(rows)

    def place(self, obj: int, mask: torch.Tensor, state: ResetState) -> None:
        rows = np.flatnonzero(mask.detach().cpu().numpy())
        if rows.size == 0:
            return
        self._readouts[obj].write(rows, state)
        self._physics.kinematics(rows)
        self._readouts[obj].refresh(rows)
        self._invalidate_diverged()

    def model_values(self, name: str, obj: int = 0) -> torch.Tensor:
        return torch.from_numpy(self._values(obj).of(self.name, name)).float()

    def shape_bodies(self, obj: int = 0) -> List[int]:
        return self._values(obj).shape_bodies

    def set_model_values(
        self, values: Mapping[str, torch.Tensor], mask: Optional[torch.Tensor] = None, obj: int = 0
    ) -> None:
        rows = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask.detach().cpu().numpy())
        if rows.size == 0:
            return
        numbers = self._values(obj)
        for name, tensor in values.items():
            own = numbers.of(self.name, name)
            new = numbers.exact(name, tensor.detach().cpu().numpy().reshape(self.num_envs, *own.shape)[rows])
            self._prepare(name)
            if self._explicit and name in EXPLICIT:
                gains = list(self._gains[obj])
                kind = EXPLICIT.index(name)
                gains[kind] = np.array(np.broadcast_to(gains[kind], (self.num_envs, own.size)))
                gains[kind][rows] = new
                self._gains[obj] = (gains[0], gains[1])
            for place in numbers.places[name]:
                wanted = place.factor * new.reshape(rows.size, -1)[:, place.column]
                self._physics.write(place.field, rows, place.at, wanted)
        if any(name in OF_INERTIA for name in values):
            self._physics.derive(rows)

    def _prepare(self, name: str) -> None:
        """What the model of all environments needs before a value is first set."""
        if name in self._prepared:
            return
        self._prepared.append(name)
        model, everyone = self.scene.model, np.arange(self.num_envs)
        if name == "friction":
            index, sliding = free_friction(model)
            self._physics.write("geom_friction", everyone, index, np.tile(sliding, (self.num_envs, 1)))
        if name == "com":
            for field, size in frame_flags(model):
                self._physics.write(field, everyone, np.arange(size), np.zeros((self.num_envs, size)))

    def _values(self, obj: int) -> ModelNumbers:
        if obj not in self._numbers:
            layout = self.scene.layouts[obj]
            own = EXPLICIT if self._explicit else ()
            self._numbers[obj] = ModelNumbers(
                self.scene.model, int(layout.body_ids[0]), layout.model, self.control_mode, own
            )
        return self._numbers[obj]

    def _saved(self) -> Dict[str, torch.Tensor]:
        """Live tensors that a checkpoint holds besides the physics."""
        saved = {"diverged": self.diverged}
        for k, (readout, target) in enumerate(zip(self._readouts, self._targets)):
            saved["contact_forces.{}".format(k)] = readout.state.contact_forces
            saved["ground_contact_forces.{}".format(k)] = readout.state.ground_contact_forces
            saved["targets.{}".format(k)] = torch.from_numpy(target)
        return saved

    def state_dict(self) -> Dict[str, torch.Tensor]:
        own = {name: tensor.clone() for name, tensor in self._saved().items()}
        return {"physics": torch.from_numpy(self._physics.state()), **own}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        check_saved_state(state, self.state_dict(), "mujoco's version")
        self._physics.set_state(state["physics"].numpy())
        self._forces_pending = bool(self._physics.xfrc.any())
        self._physics.kinematics()
        for readout in self._readouts:
            readout.refresh()
        for name, tensor in self._saved().items():
            tensor.copy_(state[name])
        self._invalidate_diverged()

    def close(self) -> None:
        self._physics.close()


def _width(where: slice) -> int:
    return int(where.stop - where.start)
