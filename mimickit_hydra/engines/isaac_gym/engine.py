"""NVIDIA Isaac Gym (Preview 4, PhysX) as an engine, on a GPU or a CPU, without a viewer.

Isaac Gym must be imported before torch, which a hosted engine's worker does; in the process of the trainer that is too
late. The simulator's calls take the number of actors they change as a number, so a reset waits for the device once.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
# ruff: noqa: I001  (isaacgym refuses to be imported after torch)
from __future__ import annotations

from typing import Any, Dict, List, Mapping

from mimickit_hydra.engines.isaac_gym.sim import EMULATED, GymSim

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import Engine, ObjectState, ResetState, SceneSpec, check_saved_state
from mimickit_hydra.engines.isaac_gym.kinematics import Kinematics, Motion, normalized, quat_rotate

_BODY = ("pos", "rot", "vel", "ang_vel")
_CONTACTS = ("contact_forces", "ground_contact_forces")


class _Object:
    """One object: its columns in the simulator's tensors, its kinematics, and the state that others read."""

    def __init__(self, sim: GymSim, k: int) -> None:
        actor, device = sim.actors[k], sim.root.device
        self.actor = k
        self.model = actor.asset.model(actor.spec, actor.masses)
        self.bodies, self.dofs = _columns(actor.bodies, actor.body_order), _columns(actor.dofs, actor.dof_order)
        self.coms = torch.as_tensor(actor.coms, dtype=torch.float32, device=device)
        self.kinematics = Kinematics(actor.asset, device)
        n, b, d = sim.num_envs, self.model.num_bodies, self.model.num_dofs
        self.state = ObjectState.zeros(n, b, d, device)
        for part in _BODY:  # root and body 0 are the same numbers
            setattr(self.state, "root_" + part, getattr(self.state, "body_" + part)[:, 0])
        self.start = torch.zeros(13, device=device)
        self.start[:7] = torch.tensor([*actor.spec.start_pos, *actor.spec.start_rot])
        self.command = torch.zeros((n, d), device=device)
        self.driven = d > 0 and not actor.spec.disable_motors
        self.kp, self.kd, self.limit = (
            torch.as_tensor(values, dtype=torch.float32, device=device)
            for values in (self.model.kp, self.model.kd, self.model.torque_limits)
        )

    @property
    def saved(self) -> Dict[str, Tensor]:
        """What a checkpoint holds of the object, besides the simulator's own tensors."""
        names = ["body_" + part for part in _BODY] + ["dof_pos", "dof_vel", *_CONTACTS]
        return {**{name: getattr(self.state, name) for name in names}, "command": self.command}


class IsaacGymEngine(Engine):
    """Isaac Gym behind the engine interface. Of ``config`` the attributes of ``IsaacGymEngineConfig`` are read.

    Ground contact is Isaac Gym's net contact force of bodies whose origin is not above ``ground_contact_height``. An
    environment whose numbers are lost is put back to its start at once, ``diverged`` is set, and its state reads NaN
    until it is reset. A restored checkpoint continues with equal states and commands; whether to the bit is PhysX's
    affair.
    """

    name = "isaac_gym"
    capturable = False  # a reset waits for the device

    def __init__(self, config: Any, scene: SceneSpec, num_envs: int, device: str = "cpu") -> None:
        self._describe(config, num_envs, torch.device(device))
        self._ground_height = float(config.ground_contact_height)
        self._sim = GymSim(config, scene, num_envs, self.device)
        self._objects = [_Object(self._sim, k) for k in range(len(scene.objects))]
        self.models = [obj.model for obj in self._objects]
        self.states = [obj.state for obj in self._objects]
        self._warnings = ["this isaacgym is the emulation of the tests, not NVIDIA's simulator"] if EMULATED else []
        self._allocate()
        everyone = torch.arange(num_envs, device=self._root.device)
        for obj in self._objects:
            self._write(obj, everyone, *self._at_start(obj, num_envs))

    def _allocate(self) -> None:
        sim = self._sim
        n, actors = self.num_envs, len(self._objects)
        # What the next step is to put into the simulator, and for which actors.
        self._root, self._dof = torch.zeros_like(sim.root), torch.zeros_like(sim.dof)
        self._changed = torch.zeros((n, actors), dtype=torch.bool, device=self._root.device)
        self._actor_ids = torch.arange(n * actors, dtype=torch.int32, device=self._root.device).view(n, actors)
        have_dofs = [obj.model.num_dofs > 0 for obj in self._objects]
        self._has_dofs, self._all_have_dofs = torch.tensor(have_dofs, device=self._root.device), all(have_dofs)
        self._dof_actor = torch.zeros(sim.dof.shape[1], dtype=torch.long, device=self._root.device)
        for obj in self._objects:
            self._dof_actor[obj.dofs] = obj.actor
        self._command = torch.zeros(sim.dof.shape[:2], device=self._root.device)
        self._forces = torch.zeros(sim.contact.shape, device=self._root.device)
        self._forces_pending = False
        self.diverged = torch.zeros(n, dtype=torch.bool, device=self._root.device)

    def set_command(self, command: Tensor, obj: int = 0) -> None:
        if self._objects[obj].driven:
            self._objects[obj].command.copy_(command)

    def set_body_force(self, body: int, force: Tensor, obj: int = 0) -> None:
        columns = self._objects[obj].bodies
        column = columns.start + body if isinstance(columns, slice) else int(columns[body])
        self._forces[:, column] = force.to(self._forces.device)
        self._forces_pending = True

    def step(self) -> None:
        sim = self._sim
        self._refuse_bad_commands()
        dof = self._current_dofs() if self.control_mode == "pd_explicit" else sim.dof
        self._hand_over_states()
        for index in range(self._substeps):
            if index == 0 or self.control_mode in ("torque", "pd_explicit"):
                if index and self.control_mode == "pd_explicit":
                    sim.refresh_dofs()
                    dof = sim.dof
                self._hand_over_commands(dof)
            if self._forces_pending:
                sim.write_forces(self._forces)
            sim.simulate()
        if self._forces_pending:
            self._forces.zero_()
            self._forces_pending = False
        sim.refresh()
        for obj in self._objects:
            self._read(obj)
        self._restart_lost()
        self._invalidate_diverged()

    def _refuse_bad_commands(self) -> None:
        """Keep commands that are not numbers from the simulator; their environments count as lost."""
        if self.control_mode == "none":
            return
        for obj in self._objects:
            if obj.driven:
                self.diverged |= ~torch.isfinite(obj.command).all(dim=1)

    def _current_dofs(self) -> Tensor:
        """DoF states ``[N, D, 2]`` the next substep starts from, in the simulator's order."""
        changed = self._changed[:, self._dof_actor].unsqueeze(-1)
        return torch.where(changed, self._dof, self._sim.dof)

    def _hand_over_states(self) -> None:
        actors = self._actor_ids[self._changed]
        with_dofs = actors if self._all_have_dofs else self._actor_ids[self._changed & self._has_dofs]
        self._sim.write_states(self._root, self._dof, actors, with_dofs)
        self._changed.zero_()

    def _hand_over_commands(self, dof: Tensor) -> None:
        for obj in self._objects:
            if obj.driven:
                self._command[:, obj.dofs] = self._drive(obj, dof)
        self._sim.write_command(self.control_mode, self._command)

    def _drive(self, obj: _Object, dof: Tensor) -> Tensor:
        """Targets ``[N, D]``, or clamped torques in the modes that send them; zero where a command is no number."""
        command = torch.nan_to_num(obj.command, nan=0.0, posinf=0.0, neginf=0.0)
        if self.control_mode == "pd_explicit":
            now = torch.nan_to_num(dof[:, obj.dofs])
            command = obj.kp * (command - now[..., 0]) - obj.kd * now[..., 1]
        if self.control_mode in ("torque", "pd_explicit"):
            command = torch.max(torch.min(command, obj.limit), -obj.limit)
        return command

    def _read(self, obj: _Object) -> None:
        """Copy what the simulator says of an object; body velocities move from centres of mass to link origins."""
        sim, state = self._sim, obj.state
        body = sim.body[:, obj.bodies]
        state.body_pos.copy_(body[..., 0:3])
        state.body_rot.copy_(body[..., 3:7])
        state.body_ang_vel.copy_(body[..., 10:13])
        arm = quat_rotate(state.body_rot, obj.coms.expand_as(state.body_pos))
        state.body_vel.copy_(body[..., 7:10] - torch.cross(state.body_ang_vel, arm, dim=-1))
        dof = sim.dof[:, obj.dofs]
        state.dof_pos.copy_(dof[..., 0])
        state.dof_vel.copy_(dof[..., 1])
        state.contact_forces.copy_(sim.contact[:, obj.bodies])
        low = (state.body_pos[..., 2:] <= self._ground_height).to(torch.float32)
        state.ground_contact_forces.copy_(state.contact_forces * low)

    def _restart_lost(self) -> None:
        """Restart, with the next step, the environments whose numbers are not finite."""
        n = self.num_envs
        fine = torch.isfinite(self._sim.body).view(n, -1).all(dim=1) & torch.isfinite(self._sim.dof).view(n, -1).all(1)
        if not self._sim.on_gpu and bool(fine.all()):
            return
        self.diverged |= ~fine
        self._changed |= ~fine.unsqueeze(-1)
        for obj in self._objects:
            self._root[:, obj.actor] = torch.where(fine.unsqueeze(-1), self._root[:, obj.actor], obj.start)
        self._dof.masked_fill_(~fine.view(n, 1, 1), 0.0)

    def _invalidate_diverged(self) -> None:
        if not self._sim.on_gpu and not bool(self.diverged.any()):
            return
        for obj in self._objects:
            for name, tensor in obj.saved.items():
                if name != "command":
                    tensor.masked_fill_(self.diverged.view(-1, *[1] * (tensor.dim() - 1)), float("nan"))

    def reset(self, mask: Tensor, states: Mapping[int, ResetState]) -> None:
        rows = mask.to(self._changed.device).nonzero().flatten()
        if rows.numel() == 0:
            return
        self._revive(rows, states)
        self._forces[rows] = 0.0
        for obj in self._objects:
            obj.command[rows] = 0.0
            for name in _CONTACTS:
                getattr(obj.state, name)[rows] = 0.0
        for k, new in states.items():
            self._put(self._objects[k], rows, new)
        self._invalidate_diverged()

    def place(self, obj: int, mask: Tensor, state: ResetState) -> None:
        rows = mask.to(self._changed.device).nonzero().flatten()
        if rows.numel():
            self._put(self._objects[obj], rows, state)
            self._invalidate_diverged()

    def _revive(self, rows: Tensor, states: Mapping[int, ResetState]) -> None:
        """Lost environments that are reset count again; their objects that get no state go to their starts."""
        lost = rows[self.diverged[rows]]
        self.diverged[rows] = False
        for k, obj in enumerate(self._objects):
            if k not in states and lost.numel():
                self._write(obj, lost, *self._at_start(obj, lost.numel()))

    def _put(self, obj: _Object, rows: Tensor, new: ResetState) -> None:
        values = [getattr(new, name).to(self._root.device)[rows] for name in ResetState.__dataclass_fields__]
        fine = torch.stack([torch.isfinite(value).all(dim=1) for value in values]).all(dim=0)
        self.diverged[rows] |= ~fine
        start = self._at_start(obj, rows.numel())
        chosen = [torch.where(fine.unsqueeze(-1), a, b) for a, b in zip(values, start)]
        self._write(obj, rows, *chosen)

    def _at_start(self, obj: _Object, count: int) -> List[Tensor]:
        """The fields of a reset state where the scene puts the object, at rest."""
        start = obj.start.expand(count, -1)
        still = start.new_zeros((count, obj.model.num_dofs))
        return [start[:, 0:3], start[:, 3:7], start[:, 7:10], start[:, 10:13], still, still]

    def _write(
        self, obj: _Object, rows: Tensor, root_pos: Tensor, root_rot: Tensor, root_vel: Tensor, root_ang_vel: Tensor,
        dof_pos: Tensor, dof_vel: Tensor,
    ) -> None:  # fmt: skip
        """Show a new state at once, and note it for the next step."""
        root_rot, dof_pos = normalized(root_rot), obj.kinematics.shortest(dof_pos)
        state = obj.state
        motion: Motion = obj.kinematics(root_pos, root_rot, root_vel, root_ang_vel, dof_pos, dof_vel)
        for part, value in zip(_BODY, motion):
            getattr(state, "body_" + part)[rows] = value
        state.dof_pos[rows], state.dof_vel[rows] = dof_pos, dof_vel
        com_vel = root_vel + torch.cross(root_ang_vel, quat_rotate(root_rot, obj.coms[0].expand_as(root_pos)), dim=-1)
        self._root[rows, obj.actor] = torch.cat([root_pos, root_rot, com_vel, root_ang_vel], dim=1)
        if obj.model.num_dofs:
            both = self._dof[rows]
            both[:, obj.dofs] = torch.stack([dof_pos, dof_vel], dim=-1)
            self._dof[rows] = both
        self._changed[rows, obj.actor] = True

    def state_dict(self) -> Dict[str, Tensor]:
        root = torch.where(self._changed.unsqueeze(-1), self._root, self._sim.root)
        state = {"root": root, "dof": self._current_dofs(), "forces": self._forces, "diverged": self.diverged}
        for k, obj in enumerate(self._objects):
            state.update({"{}.{}".format(name, k): tensor for name, tensor in obj.saved.items()})
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        check_saved_state(state, self.state_dict())
        for name, tensor in (
            ("root", self._root), ("dof", self._dof), ("forces", self._forces), ("diverged", self.diverged)
        ):  # fmt: skip
            tensor.copy_(state[name])
        for k, obj in enumerate(self._objects):
            for name, tensor in obj.saved.items():
                tensor.copy_(state["{}.{}".format(name, k)])
        self._forces_pending = bool((state["forces"] != 0).any())
        self._changed.fill_(True)

    def warnings(self) -> List[str]:
        lines, self._warnings = self._warnings, []
        return lines

    def close(self) -> None:
        self._sim.close()


def _columns(where: slice, order: Any) -> Any:
    """Columns of an object in our order: a slice where the simulator's order is the same."""
    return where if order is None else [where.start + int(i) for i in order]
