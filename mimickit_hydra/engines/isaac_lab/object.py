"""An object of the scene in Isaac Lab: reads, resets, commands and pushes it, in our order and conventions.

Isaac Lab puts bodies and joints in the order it is given; its contact sensors have one of their own. A three-DoF joint
is a rotation vector in every physics, which is an exponential map up to the choice of the shortest one. Its velocity is
given in the parent's side of the joint by Newton and in the child's by PhysX; the interface wants the child's.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

from dataclasses import fields
from typing import Any, Dict, Optional

import torch

from mimickit_hydra.engines.interface import EngineError, ObjectSpec, ObjectState, ResetState
from mimickit_hydra.engines.isaac_lab.mjcf_usd import UsdAsset

_FIELDS = tuple(field.name for field in fields(ResetState))


class LabObject:
    """``asset`` is an Articulation or a RigidObject, ``sensor`` a ContactSensor or None; ``origins`` ``[N, 3]`` m."""

    def __init__(
        self, spec: ObjectSpec, usd: UsdAsset, asset: Any, sensor: Any, origins: torch.Tensor, parent_velocities: bool
    ) -> None:
        self.usd, self.model = usd, usd.model
        self._asset, self._sensor = asset, sensor
        self._origins = origins
        self._fixed = spec.fix_root
        self.driven = usd.model.num_dofs > 0 and not spec.disable_motors
        n, device = origins.shape[0], origins.device
        self.state = ObjectState.zeros(n, self.model.num_bodies, self.model.num_dofs, device)
        self.command = torch.zeros(n, self.model.num_dofs, device=device)
        self.forces = torch.zeros(n, self.model.num_bodies, 3, device=device)
        self._no_torques = torch.zeros_like(self.forces)
        self._balls = _ball_columns(usd).to(device)
        self._parent_velocities = parent_velocities
        self._fresh = ObjectState.zeros(n, self.model.num_bodies, self.model.num_dofs, device)
        self._start = self._start_state()
        self._check_order()
        self._sensed, self._sensor_order = self._sensor_columns(device)
        self._efforts = tuple(
            torch.as_tensor(v, dtype=torch.float32, device=device)
            for v in (self.model.kp, self.model.kd, self.model.torque_limits)
        )

    def _check_order(self) -> None:
        if self.usd.articulated:
            found = (tuple(self._asset.body_names), tuple(self._asset.joint_names))
            if found != (self.usd.body_names, self.usd.dof_names):
                raise EngineError("{}: Isaac Lab reads other bodies or joints from its USD file".format(self.usd.path))

    def _sensor_columns(self, device: torch.device) -> Any:
        """Our body of each of the sensor's columns that is ours, and these columns."""
        if self._sensor is None:
            return None, None
        names = list(getattr(self._sensor, "sensor_names", None) or self._sensor.body_names)
        if not self.usd.articulated:
            return torch.zeros(1, dtype=torch.long, device=device), torch.zeros(1, dtype=torch.long, device=device)
        bodies = [k for k, name in enumerate(self.usd.body_names) if name in names]
        columns = [names.index(self.usd.body_names[k]) for k in bodies]
        return torch.tensor(bodies, device=device), torch.tensor(columns, device=device)

    def _start_state(self) -> ResetState:
        """Where the scene puts the object, at rest."""
        data, n = self._asset.data, self._origins.shape[0]
        pose = _tensor(data.default_root_pose).clone()
        zeros = torch.zeros(n, 3, device=self._origins.device)
        dofs = torch.zeros(n, self.model.num_dofs, device=self._origins.device)
        return ResetState(pose[:, :3].clone(), pose[:, 3:7].clone(), zeros, zeros.clone(), dofs, dofs.clone())

    def read(self, rows: Optional[torch.Tensor] = None) -> None:
        """Refresh poses and velocities from the simulator, of the masked environments ``[N]`` or of all."""
        data, fresh = self._asset.data, self._fresh
        # The root's own arrays are not used: with ovphysx its link velocity is that of the centre of mass.
        pose, vel = _tensor(data.body_link_pose_w), _tensor(data.body_link_vel_w)
        root_pose, root_vel = pose[:, 0], vel[:, 0]
        torch.sub(pose[..., :3], self._origins.unsqueeze(1), out=fresh.body_pos)
        torch.sub(root_pose[:, :3], self._origins, out=fresh.root_pos)
        fresh.body_rot.copy_(pose[..., 3:7])
        fresh.body_vel.copy_(vel[..., :3])
        fresh.body_ang_vel.copy_(vel[..., 3:6])
        fresh.root_rot.copy_(root_pose[:, 3:7])
        fresh.root_vel.copy_(root_vel[:, :3])
        fresh.root_ang_vel.copy_(root_vel[:, 3:6])
        if self.usd.articulated:
            self._read_dofs(data)
        if self._fixed:
            for part in (fresh.root_vel, fresh.root_ang_vel, fresh.body_vel[:, 0], fresh.body_ang_vel[:, 0]):
                part.zero_()
        for name in (*_FIELDS, "body_pos", "body_rot", "body_vel", "body_ang_vel"):
            _put(getattr(self.state, name), getattr(fresh, name), rows)

    def _read_dofs(self, data: Any) -> None:
        fresh, balls = self._fresh, self._balls
        fresh.dof_pos.copy_(_tensor(data.joint_pos))
        fresh.dof_vel.copy_(_tensor(data.joint_vel))
        if balls.numel():
            exp_map = shortest(fresh.dof_pos[:, balls])
            fresh.dof_pos[:, balls] = exp_map
            if self._parent_velocities:
                fresh.dof_vel[:, balls] = rotate(-exp_map, fresh.dof_vel[:, balls])

    def read_contacts(self) -> None:
        """Refresh the contact forces of all environments."""
        if self._sensor is None:
            return
        data = self._sensor.data
        total = _tensor(data.net_forces_w)[:, self._sensor_order]
        ground = _tensor(data.force_matrix_w)[:, self._sensor_order].sum(2)
        self.state.contact_forces[:, self._sensed] = total
        self.state.ground_contact_forces[:, self._sensed] = ground

    def finite(self) -> torch.Tensor:
        """Environments ``[N]`` (bool) in which every number read last is a number and not a huge one."""
        state = self.state
        ok = (state.body_pos.abs() < HUGE).flatten(1).all(1) & (state.body_vel.abs() < HUGE).flatten(1).all(1)
        if state.dof_vel.shape[1]:
            ok &= (state.dof_pos.abs() < HUGE).all(1) & (state.dof_vel.abs() < HUGE).all(1)
        return ok & (state.body_rot.abs() < HUGE).flatten(1).all(1)

    def invalidate(self, rows: torch.Tensor) -> None:
        """Mark the state of these environments ``[N]`` (bool) as unknown."""
        for tensor in vars(self.state).values():
            tensor.masked_fill_(rows.view(-1, *[1] * (tensor.dim() - 1)), float("nan"))

    def write(self, mask: torch.Tensor, new: ResetState) -> None:
        """Put the environments of ``mask`` ``[N]`` (bool) into a new state."""
        asset = self._asset
        pose = torch.cat([new.root_pos + self._origins, torch.nn.functional.normalize(new.root_rot, dim=-1)], dim=-1)
        asset.write_root_link_pose_to_sim_mask(root_pose=pose.contiguous(), env_mask=mask)
        if not self._fixed:
            velocity = torch.cat([new.root_vel, new.root_ang_vel], dim=-1)
            asset.write_root_link_velocity_to_sim_mask(root_velocity=velocity.contiguous(), env_mask=mask)
        if self.usd.articulated:
            velocity = self._given(new.dof_pos, new.dof_vel)
            asset.write_joint_position_to_sim_mask(position=new.dof_pos.contiguous(), env_mask=mask)
            asset.write_joint_velocity_to_sim_mask(velocity=velocity.contiguous(), env_mask=mask)

    def _given(self, pose: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        """Velocities or torques ``[N, D]`` of our convention as the simulator takes them at ``pose``."""
        vector = vector.nan_to_num(0.0).contiguous()
        if self._balls.numel() and self._parent_velocities:
            vector[:, self._balls] = rotate(pose[:, self._balls].nan_to_num(0.0), vector[:, self._balls])
        return vector

    def or_start(self, new: ResetState) -> "tuple[ResetState, torch.Tensor]":
        """The state, with the start of the scene where it holds something that is no number; and where ``[N]``."""
        parts = [getattr(new, name) for name in _FIELDS]
        bad = ~torch.stack([(part.abs() < HUGE).flatten(1).all(1) for part in parts if part.shape[1]]).all(0)
        kept = [torch.where(bad.unsqueeze(1), getattr(self._start, n), part) for n, part in zip(_FIELDS, parts)]
        return ResetState(*kept), bad

    @property
    def start(self) -> ResetState:
        return self._start

    def forget(self, mask: torch.Tensor) -> None:
        """Drop the commands, pushes and contacts of the environments of ``mask`` ``[N]`` (bool)."""
        rows = mask.unsqueeze(1)
        self.command.masked_fill_(rows, 0.0)
        for tensor in (self.forces, self.state.contact_forces, self.state.ground_contact_forces):
            tensor.masked_fill_(rows.unsqueeze(2), 0.0)

    def drive(self, mode: str) -> None:
        """Hand the command to the simulator: targets of its drives, or torques within their limits."""
        if not self.driven or mode == "none":
            return
        target = self._asset.actuators.target_command
        if mode == "pos":
            target.set_position_mask(value=self.command)
        elif mode == "vel":
            target.set_velocity_mask(value=self._given(self.state.dof_pos, self.command))
        else:
            target.set_effort_mask(value=self._given(self.state.dof_pos, self._torque(mode)))

    def _torque(self, mode: str) -> torch.Tensor:
        kp, kd, limit = self._efforts
        torque = self.command
        if mode == "pd_explicit":
            torque = kp * (self.command - self.state.dof_pos) - kd * self.state.dof_vel
        return torque.clamp(-limit, limit)

    def push(self) -> None:
        """Hand the external forces to the simulator, for its next step only."""
        self._asset.instantaneous_wrench_composer.set_forces_and_torques_mask(
            forces=self.forces, torques=self._no_torques, is_global=True
        )

    def saved(self) -> Dict[str, torch.Tensor]:
        """The live tensors that belong in a checkpoint."""
        return {"command": self.command, "forces": self.forces, **vars(self.state)}

    def as_reset(self) -> ResetState:
        return ResetState(*(getattr(self.state, name) for name in _FIELDS))


HUGE = 1e10  # what MuJoCo calls an unstable simulation


def shortest(exp_map: torch.Tensor) -> torch.Tensor:
    """Rotation vectors ``[N, 3 K]`` (rad) as exponential maps with angles of at most half a turn."""
    e = exp_map.unflatten(1, (-1, 3))
    angle = e.norm(dim=-1, keepdim=True)
    turned = angle - 2.0 * torch.pi * torch.round(angle / (2.0 * torch.pi))
    scale = torch.where(angle > torch.pi, turned / angle.clamp(min=1e-9), torch.ones_like(angle))
    return (e * scale).flatten(1)


def rotate(exp_map: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Vectors ``[N, 3 K]`` turned by exponential maps ``[N, 3 K]`` (rad): Rodrigues' formula."""
    e, v = exp_map.unflatten(1, (-1, 3)), vector.unflatten(1, (-1, 3))
    angle = e.norm(dim=-1, keepdim=True)
    # sin(a) / a and (1 - cos(a)) / a^2, which are smooth at zero
    s = torch.sinc(angle / torch.pi)
    c = 0.5 * torch.sinc(0.5 * angle / torch.pi).square()
    across = torch.linalg.cross(e, v)
    return (v + s * across + c * torch.linalg.cross(e, across)).flatten(1)


def _ball_columns(usd: UsdAsset) -> torch.Tensor:
    columns, dof = [], 0
    for dim in usd.model.dof_dims:
        if int(dim) == 3:
            columns += [dof, dof + 1, dof + 2]
        dof += int(dim)
    return torch.tensor(columns, dtype=torch.long)


def _put(out: torch.Tensor, new: torch.Tensor, rows: Optional[torch.Tensor]) -> None:
    if rows is None:
        out.copy_(new)
    else:
        torch.where(rows.view(-1, *[1] * (new.dim() - 1)), new, out, out=out)


def _tensor(array: Any) -> torch.Tensor:
    """Isaac Lab's arrays as torch tensors without a copy."""
    return array.torch if hasattr(array, "torch") else torch.as_tensor(array)
