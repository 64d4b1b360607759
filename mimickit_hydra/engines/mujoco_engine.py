"""MuJoCo's C library as an engine: all environments stepped on a thread pool, states as float32 CPU tensors."""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

from typing import Any, Dict, List, Mapping

import numpy as np
import torch

from mimickit_hydra.engines.interface import Engine, EngineError, ResetState, SceneSpec, check_saved_state
from mimickit_hydra.engines.mujoco_model import SolverOptions, build_model
from mimickit_hydra.engines.mujoco_physics import Physics, make_physics
from mimickit_hydra.engines.mujoco_readout import Readout


class MujocoEngine(Engine):
    """``config`` has the attributes of ``MujocoEngineConfig``; only they are read.

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
        self._forces_pending = False
        self._physics.kinematics()
        for readout in self._readouts:
            readout.refresh()

    # -------------------------------------------------------------------------------------------------- commands

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

    # -------------------------------------------------------------------------------------------------- stepping

    def step(self) -> None:
        failed = self._step_explicit() if self._explicit else self._physics.step(self._substeps)
        if failed is not None:
            self._diverged |= failed
        if self._forces_pending:
            self._physics.xfrc[...] = 0.0
            self._forces_pending = False
        self._physics.kinematics()
        for readout in self._readouts:
            readout.refresh()
            readout.refresh_contacts()
        self._invalidate_diverged()

    def _step_explicit(self) -> Any:
        """Recompute the torque before every substep; MuJoCo clamps it to the limits."""
        failed = None
        for _ in range(self._substeps):
            for readout, target in zip(self._readouts, self._targets):
                where, model = readout.layout.ctrl, readout.layout.model
                if where.stop > where.start:
                    error = target - readout.exp_maps()
                    self._physics.ctrl[:, where] = model.kp * error - model.kd * readout.dof_velocities()
            bad = self._physics.step(1)
            if bad is not None:
                failed = bad if failed is None else failed | bad
        return failed

    def _invalidate_diverged(self) -> None:
        if self._diverged.any():
            rows = np.flatnonzero(self._diverged)
            for readout in self._readouts:
                readout.invalidate(rows)

    # -------------------------------------------------------------------------------------------------- reset

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

    # -------------------------------------------------------------------------------------------------- checkpoints

    def state_dict(self) -> Dict[str, torch.Tensor]:
        state = {"physics": torch.from_numpy(self._physics.state()), "diverged": self.diverged.clone()}
        for k, (readout, target) in enumerate(zip(self._readouts, self._targets)):
            state["contact_forces.{}".format(k)] = readout.state.contact_forces.clone()
            state["ground_contact_forces.{}".format(k)] = readout.state.ground_contact_forces.clone()
            state["targets.{}".format(k)] = torch.from_numpy(target.copy())
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        check_saved_state(state, self.state_dict(), "mujoco's version")
        self._physics.set_state(state["physics"].numpy())
        self._diverged[...] = state["diverged"].numpy()
        self._forces_pending = bool(self._physics.xfrc.any())
        self._physics.kinematics()
        for k, (readout, target) in enumerate(zip(self._readouts, self._targets)):
            readout.refresh()
            readout.state.contact_forces.copy_(state["contact_forces.{}".format(k)])
            readout.state.ground_contact_forces.copy_(state["ground_contact_forces.{}".format(k)])
            target[...] = state["targets.{}".format(k)].numpy()
        self._invalidate_diverged()

    def close(self) -> None:
        self._physics.close()


def _width(where: slice) -> int:
    return int(where.stop - where.start)


__all__: List[str] = ["MujocoEngine"]
