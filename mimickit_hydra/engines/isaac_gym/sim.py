"""An Isaac Gym simulation: built from a scene, and driven through the tensor API.

Written to Preview 4. Environments are alike, so every tensor of the simulator is a view ``[N, ...]``. Positions in
these tensors are relative to the environment, quaternions are xyzw, linear velocities are those of centres of mass
(as PhysX keeps them), and a joint of three hinges has the coordinates of an exponential map.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from typing import Any, List, Optional

try:
    import isaacgym
    from isaacgym import gymapi, gymtorch
except ImportError as error:
    from mimickit_hydra.engines.interface import EngineError as _Refusal

    raise _Refusal(
        "engine=isaac_gym: isaacgym cannot be imported here ({}); run it in a Python 3.8 of its own, with "
        "engine.python=/path/to/python or MIMICKIT_ISAAC_GYM_PYTHON=/path/to/python".format(
            " ".join(str(error).split())
        )
    ) from error

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.engines.interface import EngineError, ObjectSpec, SceneSpec
from mimickit_hydra.engines.isaac_gym.asset import Asset, edited_copy, has_world_geoms, is_plain, read_asset

EMULATED = bool(getattr(isaacgym, "EMULATED", False))  # the stand-in of the tests, not the simulator
_DRIVES = {
    "none": gymapi.DOF_MODE_NONE, "pos": gymapi.DOF_MODE_POS, "vel": gymapi.DOF_MODE_VEL,
    "torque": gymapi.DOF_MODE_EFFORT, "pd_explicit": gymapi.DOF_MODE_EFFORT,
}  # fmt: skip


@dataclass
class Actor:
    """One object of the scene in the simulator's tensors. Columns are in our order; ``None``: all of them, in order."""

    spec: ObjectSpec
    asset: Asset
    masses: np.ndarray  # [B] kg
    coms: np.ndarray  # [B, 3] m, centres of mass in the bodies' frames
    bodies: slice
    dofs: slice
    body_order: Optional[np.ndarray]  # [B] where our bodies are among the actor's
    dof_order: Optional[np.ndarray]  # [D]


class GymSim:
    """``N`` environments of a scene. ``A`` actors, ``D`` DoFs and ``B`` bodies in each."""

    root: Tensor  # [N, A, 13] position, quaternion, linear and angular velocity
    dof: Tensor  # [N, D, 2] position, velocity
    body: Tensor  # [N, B, 13] as root
    contact: Tensor  # [N, B, 3] N, net contact force

    def __init__(self, config: Any, scene: SceneSpec, num_envs: int, device: torch.device) -> None:
        assets = [read_asset(obj) for obj in scene.objects]
        self.num_envs = num_envs
        self.on_gpu = device.type == "cuda"
        self.gym = gymapi.acquire_gym()
        self.sim = self.gym.create_sim(device.index or 0, -1, gymapi.SIM_PHYSX, _sim_params(config, self.on_gpu))
        if self.sim is None:
            raise EngineError("engine=isaac_gym: Isaac Gym could not create a simulation on {}".format(device))
        self._add_ground()
        with tempfile.TemporaryDirectory(prefix="isaac_gym_") as folder:
            handles = [self._load_asset(obj, asset, folder) for obj, asset in zip(scene.objects, assets)]
            self._populate(config, scene, assets, handles)
            if not self.gym.prepare_sim(self.sim):
                raise EngineError("engine=isaac_gym: Isaac Gym could not prepare the simulation of the scene")
        self._acquire()
        self._alive: List[Tensor] = []  # tensors of the calls that the next step still reads

    def _add_ground(self) -> None:
        plane = gymapi.PlaneParams()
        plane.normal = gymapi.Vec3(0.0, 0.0, 1.0)
        plane.static_friction = 1.0
        plane.dynamic_friction = 1.0
        plane.restitution = 0.0
        self.gym.add_ground(self.sim, plane)

    def _load_asset(self, obj: ObjectSpec, asset: Asset, folder: str) -> Any:
        options = gymapi.AssetOptions()
        options.angular_damping = 0.01
        options.max_linear_velocity = 1000.0
        options.max_angular_velocity = 1000.0
        options.fix_base_link = obj.fix_root
        path = os.path.abspath(asset.path)
        if not is_plain(path):
            path = os.path.join(tempfile.mkdtemp(dir=folder), os.path.basename(path))
            with open(path, "w", encoding="utf-8") as file:
                file.write(asset.plain)
        if obj.is_visual or has_world_geoms(path):
            path = edited_copy(path, tempfile.mkdtemp(dir=folder), obj.is_visual)
        handle = self.gym.load_asset(self.sim, os.path.dirname(path), os.path.basename(path), options)
        if handle is None:
            raise EngineError("{}: Isaac Gym cannot load it".format(asset.path))
        return handle

    def _populate(self, config: Any, scene: SceneSpec, assets: List[Asset], handles: List[Any]) -> None:
        properties = [self._drives(config.control_mode, *triple) for triple in zip(scene.objects, assets, handles)]
        half = 0.5 * config.env_spacing
        low, high = gymapi.Vec3(-half, -half, 0.0), gymapi.Vec3(half, half, half)
        per_row = max(1, int(math.sqrt(self.num_envs)))
        for index in range(self.num_envs):
            env = self.gym.create_env(self.sim, low, high, per_row)
            for k, (obj, handle) in enumerate(zip(scene.objects, handles)):
                # Visual objects are a group of their own, which meets nothing of the environment.
                group = self.num_envs + index if obj.is_visual else index
                # Shapes whose filters share a bit do not collide.
                own_bit = 0 if obj.enable_self_collisions else 1 << (k % 30)
                actor = self.gym.create_actor(env, handle, _pose(obj), obj.name, group, own_bit, 0)
                if assets[k].num_dofs:
                    self.gym.set_actor_dof_properties(env, actor, properties[k])
                if self.gym.get_actor_index(env, actor, gymapi.DOMAIN_SIM) != index * len(handles) + k:
                    raise EngineError("engine=isaac_gym: Isaac Gym numbers its actors otherwise than expected")
                if index == 0:
                    self._describe(env, actor, obj, assets[k], handle)

    def _drives(self, control_mode: str, obj: ObjectSpec, asset: Asset, handle: Any) -> Any:
        """DoF properties of an object in the simulator's order: limits and gains of the asset, drives of the mode."""
        properties = self.gym.get_asset_dof_properties(handle)
        order = _order(asset, "DoF", asset.dof_names, self.gym.get_asset_dof_names(handle))
        place = np.arange(asset.num_dofs) if order is None else order
        mode = "none" if obj.disable_motors else control_mode
        limited = asset.dof_high < 1e9
        for name, values in (
            ("hasLimits", limited),
            ("lower", np.where(limited, asset.dof_low, 0.0)),
            ("upper", np.where(limited, asset.dof_high, 0.0)),
            ("effort", asset.torque_limits),
            ("stiffness", asset.kp if mode == "pos" else np.zeros(asset.num_dofs)),
            ("damping", asset.damping + (asset.kd if mode in ("pos", "vel") else 0.0)),
            ("armature", asset.armature),
            ("driveMode", np.full(asset.num_dofs, int(_DRIVES[mode]))),
        ):
            if asset.num_dofs:
                properties[name][place] = values
        return properties

    def _describe(self, env: Any, actor: int, obj: ObjectSpec, asset: Asset, handle: Any) -> None:
        """Where an actor of the first environment is in the tensors, by the names of its bodies and joints."""
        if not hasattr(self, "actors"):
            self.actors: List[Actor] = []
        first_body = self.actors[-1].bodies.stop if self.actors else 0
        first_dof = self.actors[-1].dofs.stop if self.actors else 0
        bodies = self.gym.get_actor_rigid_body_properties(env, actor)
        body_order = _order(asset, "body", asset.body_names, self.gym.get_asset_rigid_body_names(handle))
        place = range(asset.num_bodies) if body_order is None else body_order
        self.actors.append(
            Actor(
                spec=obj, asset=asset, masses=np.array([bodies[i].mass for i in place], dtype=np.float64),
                coms=np.array([[bodies[i].com.x, bodies[i].com.y, bodies[i].com.z] for i in place]),
                bodies=slice(first_body, first_body + asset.num_bodies),
                dofs=slice(first_dof, first_dof + asset.num_dofs), body_order=body_order,
                dof_order=_order(asset, "DoF", asset.dof_names, self.gym.get_asset_dof_names(handle)),
            )
        )  # fmt: skip

    def _acquire(self) -> None:
        gym, sim = self.gym, self.sim
        num_dofs = self.actors[-1].dofs.stop
        self.root = self._view(gymtorch.wrap_tensor(gym.acquire_actor_root_state_tensor(sim)), len(self.actors), 13)
        self.body = self._view(
            gymtorch.wrap_tensor(gym.acquire_rigid_body_state_tensor(sim)), self.actors[-1].bodies.stop, 13
        )
        self.contact = self._view(
            gymtorch.wrap_tensor(gym.acquire_net_contact_force_tensor(sim)), self.actors[-1].bodies.stop, 3
        )
        if num_dofs:
            self.dof = self._view(gymtorch.wrap_tensor(gym.acquire_dof_state_tensor(sim)), num_dofs, 2)
        else:
            self.dof = self.root.new_zeros((self.num_envs, 0, 2))
        self.refresh()

    def _view(self, tensor: Tensor, rows: int, width: int) -> Tensor:
        if tensor.numel() != self.num_envs * rows * width:
            raise EngineError(
                "engine=isaac_gym: a tensor of Isaac Gym has shape {}, expected {} rows of {}".format(
                    tuple(tensor.shape), self.num_envs * rows, width
                )
            )
        return tensor.view(self.num_envs, rows, width)

    def write_states(self, root: Tensor, dof: Tensor, actors: Tensor, with_dofs: Tensor) -> None:
        """Put actors into the states of full tensors; at most once before :meth:`simulate`.

        ``root [N, A, 13]``, ``dof [N, D, 2]``; ``actors`` and ``with_dofs`` are int32 indices among all actors, the
        latter of those that have DoFs (others confuse the simulator).
        """
        if actors.numel():
            done = self.gym.set_actor_root_state_tensor_indexed(
                self.sim, self._handed(root), self._handed(actors), actors.numel()
            )
            _check(done, "set root states")
        if with_dofs.numel():
            done = self.gym.set_dof_state_tensor_indexed(
                self.sim, self._handed(dof), self._handed(with_dofs), with_dofs.numel()
            )
            _check(done, "set DoF states")

    def write_command(self, control_mode: str, values: Tensor) -> None:
        """Targets or torques ``[N, D]`` in the simulator's order. Torques hold for one :meth:`simulate`."""
        if values.numel() == 0 or control_mode == "none":
            return
        handed = self._handed(values)
        if control_mode == "pos":
            done = self.gym.set_dof_position_target_tensor(self.sim, handed)
        elif control_mode == "vel":
            done = self.gym.set_dof_velocity_target_tensor(self.sim, handed)
        else:
            done = self.gym.set_dof_actuation_force_tensor(self.sim, handed)
        _check(done, "set commands")

    def write_forces(self, forces: Tensor) -> None:
        """Forces ``[N, B, 3]`` (N, world axes) on centres of mass, for one :meth:`simulate`."""
        done = self.gym.apply_rigid_body_force_tensors(self.sim, self._handed(forces), None, gymapi.GLOBAL_SPACE)
        _check(done, "apply forces")

    def simulate(self) -> None:
        """Advance the simulation by one substep."""
        self.gym.simulate(self.sim)
        if not self.on_gpu:
            self.gym.fetch_results(self.sim, True)
        self._alive.clear()

    def refresh(self) -> None:
        """Bring all tensors up to date."""
        self.gym.refresh_actor_root_state_tensor(self.sim)
        self.gym.refresh_dof_state_tensor(self.sim)
        self.gym.refresh_rigid_body_state_tensor(self.sim)
        self.gym.refresh_net_contact_force_tensor(self.sim)

    def refresh_dofs(self) -> None:
        self.gym.refresh_dof_state_tensor(self.sim)

    def close(self) -> None:
        """End the simulation. Its tensors must not be read any more."""
        if self.sim is not None:
            self.gym.destroy_sim(self.sim)
            self.sim = None

    def _handed(self, tensor: Tensor) -> Any:
        """A descriptor of a tensor's memory, which is kept until the next step has read it."""
        self._alive.append(tensor)
        return gymtorch.unwrap_tensor(tensor)


def _sim_params(config: Any, on_gpu: bool) -> Any:
    params = gymapi.SimParams()
    params.dt = 1.0 / config.sim_freq
    params.substeps = 1
    params.num_client_threads = 0
    params.up_axis = gymapi.UP_AXIS_Z
    params.gravity = gymapi.Vec3(0.0, 0.0, -9.81)
    params.use_gpu_pipeline = on_gpu
    params.physx.use_gpu = on_gpu
    params.physx.num_threads = 4
    params.physx.num_subscenes = 0
    params.physx.solver_type = 1  # temporal Gauss-Seidel
    params.physx.num_position_iterations = 4
    params.physx.num_velocity_iterations = 0
    params.physx.contact_offset = 0.02
    params.physx.rest_offset = 0.0
    params.physx.bounce_threshold_velocity = 0.2
    params.physx.max_depenetration_velocity = 10.0
    params.physx.default_buffer_size_multiplier = 10.0
    params.physx.max_gpu_contact_pairs = 8 * 1024 * 1024
    return params


def _pose(obj: ObjectSpec) -> Any:
    pose = gymapi.Transform()
    pose.p = gymapi.Vec3(*obj.start_pos)
    pose.r = gymapi.Quat(*obj.start_rot)
    return pose


def _order(asset: Asset, what: str, ours: List[str], theirs: List[str]) -> Optional[np.ndarray]:
    """Where our names are among the simulator's; None if in the same order, which joints without names must be."""
    theirs = list(theirs)
    if len(ours) != len(theirs):
        raise EngineError(
            "{}: Isaac Gym reads {} {} from it, MJCF has {}".format(
                asset.path, len(theirs), "bodies" if what == "body" else "DoFs", len(ours)
            )
        )
    if "" in ours or ours == theirs:
        return None
    missing = [name for name in ours if name not in theirs]
    if missing:
        raise EngineError("{}: Isaac Gym has no {} {!r} of it".format(asset.path, what, missing[0]))
    return np.array([theirs.index(name) for name in ours], dtype=np.int64)


def _check(done: Any, what: str) -> None:
    if done is False:
        raise EngineError("engine=isaac_gym: Isaac Gym could not {}; see what it printed above".format(what))
