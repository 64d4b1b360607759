"""The contract between an environment and a simulator.

One engine steps ``N`` copies of one scene. All tensors are float32 on the engine's device, batched over environments,
in SI units and world axes with z up; positions are relative to the environment's own origin; quaternions are xyzw;
bodies and DoFs are in the depth-first order of the asset. A three-DoF joint is an exponential map (rad), and its
velocity is the angular velocity of the child relative to its parent in the child's frame (rad/s). Body and root
velocities are those of the link origin.

The tensors of :class:`ObjectState` are the same objects for the engine's whole life: ``step`` and ``reset`` overwrite
them in place, readers must not write to them and must copy what they keep.

This module depends on numpy and torch alone and runs on Python 3.8, because engines may live in another interpreter.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np
import torch

from mimickit_hydra.errors import UserError


class EngineError(UserError):
    """A simulator cannot be built or has failed; the message is one line for the user."""


@dataclass(frozen=True)
class ObjectSpec:
    """One asset that every environment holds. Object 0 is the character."""

    name: str
    asset_file: str  # absolute path
    articulated: bool = True
    is_visual: bool = False  # drawn, collides with nothing
    enable_self_collisions: bool = True
    fix_root: bool = False
    disable_motors: bool = False
    start_pos: Tuple[float, float, float] = (0.0, 0.0, 0.0)  # m
    start_rot: Tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)  # xyzw
    color: Optional[Tuple[float, float, float]] = None
    gains: Any = None  # for joints whose gains the file does not state: from_armature, from_inertia, N m/rad, or None
    robot: Any = None  # the file's values (motion.robot.Robot), where an engine in another interpreter is given them


@dataclass(frozen=True)
class SceneSpec:
    """What one environment contains, besides the ground plane z = 0 with friction 1."""

    objects: Tuple[ObjectSpec, ...]


@dataclass
class ObjectModel:
    """Static facts of one object, numpy, depth-first order. ``D`` DoFs without the root, ``B`` bodies with it."""

    name: str
    body_names: List[str]
    parents: np.ndarray  # [B] int, root -1
    body_masses: np.ndarray  # [B] kg
    dof_dims: np.ndarray  # [B] DoFs of the joint above each body, root 0
    dof_low: np.ndarray  # [D] rad
    dof_high: np.ndarray  # [D] rad
    torque_limits: np.ndarray  # [D] N m
    kp: np.ndarray  # [D] N m/rad
    kd: np.ndarray  # [D] N m s/rad
    target_low: Optional[np.ndarray] = None  # [D] rad, what the file allows as target; None: anything
    target_high: Optional[np.ndarray] = None

    @property
    def num_bodies(self) -> int:
        return len(self.body_names)

    @property
    def num_dofs(self) -> int:
        return int(self.dof_low.shape[0])


@dataclass
class ObjectState:
    """Live state of one object in all environments, refreshed by ``step`` and ``reset``."""

    root_pos: torch.Tensor  # [N, 3] m
    root_rot: torch.Tensor  # [N, 4] xyzw
    root_vel: torch.Tensor  # [N, 3] m/s, link origin, world axes
    root_ang_vel: torch.Tensor  # [N, 3] rad/s, world axes
    dof_pos: torch.Tensor  # [N, D] rad
    dof_vel: torch.Tensor  # [N, D] rad/s
    body_pos: torch.Tensor  # [N, B, 3] m
    body_rot: torch.Tensor  # [N, B, 4] xyzw
    body_vel: torch.Tensor  # [N, B, 3] m/s, link origin, world axes
    body_ang_vel: torch.Tensor  # [N, B, 3] rad/s, world axes
    contact_forces: torch.Tensor  # [N, B, 3] N, net force on the body from everything it touches, world axes
    ground_contact_forces: torch.Tensor  # [N, B, 3] N, the part of it the ground exerts

    @staticmethod
    def zeros(num_envs: int, num_bodies: int, num_dofs: int, device: Any = "cpu") -> "ObjectState":
        """Allocate a state at rest at the origin with identity rotations."""

        def z(*shape: int) -> torch.Tensor:
            return torch.zeros((num_envs, *shape), dtype=torch.float32, device=device)

        state = ObjectState(
            root_pos=z(3), root_rot=z(4), root_vel=z(3), root_ang_vel=z(3), dof_pos=z(num_dofs), dof_vel=z(num_dofs),
            body_pos=z(num_bodies, 3), body_rot=z(num_bodies, 4), body_vel=z(num_bodies, 3),
            body_ang_vel=z(num_bodies, 3), contact_forces=z(num_bodies, 3), ground_contact_forces=z(num_bodies, 3),
        )  # fmt: skip
        state.root_rot[..., 3] = 1.0
        state.body_rot[..., 3] = 1.0
        return state


@dataclass
class ResetState:
    """New generalised state of one object, all ``N`` rows; only the rows of the reset mask are used."""

    root_pos: torch.Tensor  # [N, 3]
    root_rot: torch.Tensor  # [N, 4] xyzw
    root_vel: torch.Tensor  # [N, 3] link origin, world axes
    root_ang_vel: torch.Tensor  # [N, 3] world axes
    dof_pos: torch.Tensor  # [N, D]
    dof_vel: torch.Tensor  # [N, D]


# What environments may differ in, in the order and units of the interface; ``S`` colliding shapes of an object.
MODEL_VALUES = {
    "friction": "[S], sliding friction on the ground",
    "mass": "[B] kg, inertia in proportion",
    "com": "[B, 3] m, centre of mass in the body's frame",
    "armature": "[D] kg m^2",
    "damping": "[D] N m s/rad, of the joint itself",
    "frictionloss": "[D] N m",
    "kp": "[D] N m/rad",
    "kd": "[D] N m s/rad",
    "torque_limit": "[D] N m",
    "gravity": "[3] m/s^2, of the whole environment",
}


class Engine(abc.ABC):
    """``N`` environments of one simulator. Construct, then only ``set_command``, ``step``, ``reset`` and reads."""

    name: str
    num_envs: int
    device: torch.device
    control_mode: str
    control_dt: float  # s, one step()
    sim_dt: float  # s, one substep
    models: List[ObjectModel]
    states: List[ObjectState]
    diverged: torch.Tensor  # [N] bool: the simulator lost this environment; its states read NaN until it is reset
    capturable: bool = True  # on CUDA, everything but step() only launches work, which torch may capture
    worker_versions: Optional[Dict[str, str]] = None  # of an engine in another process: its interpreter and packages
    _substeps: int  # of a control step

    def _describe(self, config: Any, num_envs: int, device: torch.device) -> None:
        """Size, device, control mode and times of an engine; EngineError for numbers that cannot be."""
        if num_envs < 1:
            raise EngineError("num_envs must be at least 1, found {}".format(num_envs))
        self._substeps = substeps(config.control_freq, config.sim_freq)
        self.num_envs = num_envs
        self.device = device
        self.control_mode = config.control_mode
        self.control_dt = 1.0 / config.control_freq
        self.sim_dt = 1.0 / config.sim_freq

    @abc.abstractmethod
    def set_command(self, command: torch.Tensor, obj: int = 0) -> None:
        """Store the command ``[N, D]`` of the control mode; held until replaced. Units rad, rad/s or N m."""

    @abc.abstractmethod
    def step(self) -> None:
        """Advance every environment by ``control_dt`` and refresh all states."""

    def step_only(self, rows: Optional[torch.Tensor]) -> bool:
        """Step the environments of ``rows`` ``[N]`` (bool) alone from now on, and all again with None.

        The others keep their states meanwhile. Returns False, and goes on with all, where a step costs the same
        however many there are.
        """
        return rows is None

    @abc.abstractmethod
    def reset(self, mask: torch.Tensor, states: Mapping[int, ResetState]) -> None:
        """Put the environments where ``mask`` ``[N]`` (bool) is set into new states.

        Objects missing from ``states`` keep theirs. Body poses and velocities are right afterwards, contact forces,
        external forces, commands and the solver's warm start of those environments are cleared. Every other
        environment is untouched to the bit.
        """

    def place(self, obj: int, mask: torch.Tensor, state: ResetState) -> None:
        """Put one object into a new state within an episode, where ``mask`` ``[N]`` (bool) is set.

        Everything else of these environments, commands and contact forces included, stays. EngineError if this engine
        cannot.
        """
        raise EngineError("engine={} cannot move objects within an episode".format(self.name))

    @abc.abstractmethod
    def set_body_force(self, body: int, force: torch.Tensor, obj: int = 0) -> None:
        """Apply ``force`` ``[N, 3]`` (N, world axes, at the centre of mass) during the next step only."""

    def model_values(self, name: str, obj: int = 0) -> torch.Tensor:
        """The file's own numbers of one of :data:`MODEL_VALUES`, on the engine's device.

        EngineError if environments of this engine cannot differ in it.
        """
        raise EngineError("engine={}: {} cannot differ between environments here".format(self.name, name))

    def shape_bodies(self, obj: int = 0) -> List[int]:
        """The body of each shape that has a friction of its own, in the order of the values of ``friction``."""
        raise EngineError("engine={}: friction cannot differ between environments here".format(self.name))

    def set_model_values(
        self, values: Mapping[str, torch.Tensor], mask: Optional[torch.Tensor] = None, obj: int = 0
    ) -> None:
        """Give environments numbers of their own: ``[N, ...]`` by name of :data:`MODEL_VALUES`.

        Where ``mask`` ``[N]`` (bool) is set, in all without one. What follows from them follows; the state stays.
        They are no part of :meth:`state_dict`: who sets them sets them again. The first call for a name may take
        seconds; later ones only launch work, but for ``mass``, ``com`` and ``armature``. Values equal to
        :meth:`model_values` are the file's own, to the bit. EngineError as there.
        """
        raise EngineError("engine={}: environments cannot differ here".format(self.name))

    @abc.abstractmethod
    def state_dict(self) -> Dict[str, torch.Tensor]:
        """Everything needed to continue bit for bit, as CPU tensors."""

    @abc.abstractmethod
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore :meth:`state_dict`; the following steps equal those of the saved engine."""

    def warnings(self) -> List[str]:
        """Lines for the user about what went wrong quietly since the last call. May wait for the device."""
        return []

    def close(self) -> None:  # noqa: B027  (engines without resources need none)
        """Release the simulator. Safe to call twice."""


def substeps(control_freq: int, sim_freq: int) -> int:
    """Number of physics substeps in a control step; EngineError unless ``sim_freq`` is a positive multiple."""
    if control_freq <= 0 or sim_freq < control_freq or sim_freq % control_freq != 0:
        raise EngineError(
            "engine.sim_freq must be a positive multiple of engine.control_freq, found "
            "sim_freq={} and control_freq={}".format(sim_freq, control_freq)
        )
    return sim_freq // control_freq


def check_saved_state(
    saved: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], changed: str = "the engine"
) -> None:
    """EngineError unless ``saved`` has every tensor of ``own`` in its shape; ``changed`` is a guess at why not."""
    for key, value in own.items():
        found = tuple(saved[key].shape) if key in saved else None
        if found != tuple(value.shape):
            raise EngineError(
                "saved engine state does not fit: {} has shape {}, this scene needs {}; were num_envs, the "
                "character or {} changed?".format(key, found, tuple(value.shape), changed)
            )
