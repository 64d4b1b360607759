"""The kinematic character: joint coordinates, forward kinematics, joint velocities.

``B`` bodies with the root first, depth-first; ``J = B - 1`` joints, the joint above body ``b`` at index ``b - 1``;
``D`` degrees of freedom. A hinge has one, a spherical joint three (an exponential map), a fixed joint none. Quaternions
are xyzw. Every function takes any leading axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.robot import NO_LIMIT, Geom, Robot


class JointType(IntEnum):
    """How the joint above a body moves."""

    ROOT = 0
    HINGE = 1
    SPHERICAL = 2
    FIXED = 3


DOF_DIM = {JointType.ROOT: 0, JointType.HINGE: 1, JointType.SPHERICAL: 3, JointType.FIXED: 0}


class CharacterModel:
    """Kinematic tree of one character, with its tensors on one device.

    Attributes: ``name``, ``body_names``, ``joint_names``, ``parents`` (root -1), ``local_pos [B, 3]`` m and
    ``local_rot [B, 4]`` in the parent frame, ``joint_types`` (:class:`JointType`), ``joint_axes [B, 3]`` (unit, zero
    unless a hinge), ``joint_anchors [B, 3]`` m in the body's frame, ``dof_index`` and ``dof_dim`` per body,
    ``dof_low``/``dof_high [D]`` rad (numpy, infinite without a limit), ``geoms`` (primitives of the file, may be
    empty), ``source`` (file or None).
    """

    def __init__(
        self,
        name: str,
        body_names: Sequence[str],
        parents: Sequence[int],
        local_pos: np.ndarray,
        local_rot: np.ndarray,
        joint_types: Sequence[int],
        joint_axes: np.ndarray,
        joint_anchors: np.ndarray | None = None,
        joint_names: Sequence[str] | None = None,
        dof_low: np.ndarray | None = None,
        dof_high: np.ndarray | None = None,
        geoms: Sequence[Geom] = (),
        source: Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.name = str(name)
        self.body_names = [str(n) for n in body_names]
        self.joint_names = [str(n) for n in (joint_names if joint_names is not None else body_names)]
        self.parents = [int(p) for p in parents]
        self.joint_types = [JointType(int(t)) for t in joint_types]
        self.geoms = tuple(geoms)
        self.source = source
        self._check_tree()
        self.dof_dim = [DOF_DIM[t] for t in self.joint_types]
        self.dof_index = [int(i) for i in np.cumsum([0, *self.dof_dim[:-1]])]
        self.num_bodies = len(self.body_names)
        self.num_joints = self.num_bodies - 1
        self.num_dofs = sum(self.dof_dim)
        self.dof_low = _limits(dof_low, -np.inf, self.num_dofs)
        self.dof_high = _limits(dof_high, np.inf, self.num_dofs)
        anchors = np.zeros((self.num_bodies, 3)) if joint_anchors is None else np.asarray(joint_anchors)
        self._build_tensors(
            np.asarray(local_pos), np.asarray(local_rot), np.asarray(joint_axes), anchors, torch.device(device)
        )

    @classmethod
    def from_file(cls, path: str | Path, device: torch.device | str = "cpu") -> CharacterModel:
        """Read an MJCF (``.xml``). Raises UserError with one line if the file is missing or unsupported."""
        from mimickit_hydra.motion.mjcf import read_robot

        return cls.from_robot(read_robot(path), Path(path), device)

    @classmethod
    def from_robot(cls, robot: Robot, source: Path | None = None, device: torch.device | str = "cpu") -> CharacterModel:
        """The character of a robot whose file has been read. UserError for one that no joint moves."""
        if not robot.dof_names:
            raise UserError(f"{source or robot.name}: no joint moves it, so there is nothing to learn")
        types, axes, anchors, names = [], np.zeros((len(robot.parents), 3)), np.zeros((len(robot.parents), 3)), []
        for body, (count, end) in enumerate(zip(robot.dof_dims, np.cumsum(robot.dof_dims), strict=True)):
            kind = {0: JointType.FIXED, 1: JointType.HINGE, 3: JointType.SPHERICAL}[int(count)]
            types.append(kind if body else JointType.ROOT)
            first = (robot.dof_names[end - count] if count else "") or robot.body_names[body]
            names.append((first.rpartition("_")[0] or first if count == 3 else first) if body else "root")
            if count:
                axes[body] = robot.axes[end - 1] if count == 1 else 0.0
                anchors[body] = robot.anchors[end - 1]
        return cls(
            name=robot.name, body_names=robot.body_names, parents=robot.parents.tolist(), local_pos=robot.local_pos,
            local_rot=robot.local_rot, joint_types=types, joint_axes=axes, joint_anchors=anchors, joint_names=names,
            dof_low=np.where(robot.dof_low > -NO_LIMIT, robot.dof_low, -np.inf),
            dof_high=np.where(robot.dof_high < NO_LIMIT, robot.dof_high, np.inf), geoms=robot.geoms, source=source,
            device=device,
        )  # fmt: skip

    def to(self, device: torch.device | str) -> CharacterModel:
        """The same character with its tensors on ``device``."""
        if torch.device(device) == self.device:
            return self
        return CharacterModel(
            self.name, self.body_names, self.parents, self.local_pos.cpu().numpy(), self.local_rot.cpu().numpy(),
            self.joint_types, self.joint_axes.cpu().numpy(), self.joint_anchors.cpu().numpy(), self.joint_names,
            self.dof_low, self.dof_high, self.geoms, self.source, device,
        )  # fmt: skip

    def dof_columns(self) -> list[str]:
        """A name for each degree of freedom, ``[D]`` strings: ``abdomen_x``, ``right_elbow`` ..."""
        columns: list[str] = []
        for name, dim in zip(self.joint_names, self.dof_dim, strict=True):
            columns += [f"{name}_{axis}" for axis in "xyz"] if dim == 3 else [name] * dim
        return columns

    def dof_to_rot(self, dof: Tensor) -> Tensor:
        """Joint coordinates ``[..., D]`` rad to joint rotations ``[..., J, 4]`` with w >= 0."""
        # A hinge is the exponential map angle * axis, so one batch does every kind of joint.
        e = dof.index_select(-1, self._exp_columns).unflatten(-1, (self.num_joints, 3)) * self._exp_factors
        return rot.exp_map_to_quat(e)

    def rot_to_dof(self, joint_rot: Tensor) -> Tensor:
        """Joint rotations ``[..., J, 4]`` to coordinates ``[..., D]`` rad; a hinge keeps only its twist."""
        xyz, w = joint_rot[..., :3], joint_rot[..., 3:]
        xyz = self._along_hinges(xyz)  # projecting before the logarithm gives the twist; the norm cancels in it
        return self._pick_dofs(rot.quat_to_exp_map(torch.cat([xyz, w], dim=-1)))

    def dof_velocity(self, rot0: Tensor, rot1: Tensor, dt: Tensor | float) -> Tensor:
        """Joint velocities ``[..., D]`` rad/s, in the child frame, from ``rot0`` to ``rot1 [..., J, 4]``.

        ``dt`` s is a number or a tensor ``[...]``.
        """
        e = rot.quat_to_exp_map(rot.quat_mul(rot.quat_conj(rot0), rot1))
        change = self._pick_dofs(self._along_hinges(e))
        return change / (dt.unsqueeze(-1) if isinstance(dt, Tensor) else dt)

    def forward_kinematics(self, root_pos: Tensor, root_rot: Tensor, joint_rot: Tensor) -> tuple[Tensor, Tensor]:
        """World poses of all bodies.

        ``root_pos [..., 3]`` m, ``root_rot [..., 4]``, ``joint_rot [..., J, 4]`` -> ``body_pos [..., B, 3]`` m,
        ``body_rot [..., B, 4]``.
        """
        local = joint_rot.index_select(-2, self._level_order)
        if self._level_rest is not None:
            local = rot.quat_mul(self._level_rest, local)
        levels = [root_rot.unsqueeze(-2)]
        for parents, part in zip(self._level_parents, local.split(self._level_sizes, dim=-2), strict=True):
            above = levels[-1] if parents is None else levels[-1].index_select(-2, parents)
            levels.append(rot.quat_mul(above, part))
        body_rot = torch.cat(levels, dim=-2).index_select(-2, self._level_inverse)
        bones = rot.quat_rotate(body_rot.index_select(-2, self._parent_index), self._bone)
        if self._from_joint is not None:
            bones = bones + rot.quat_rotate(body_rot[..., 1:, :], self._from_joint)
        return self._sum_paths(root_pos, bones), body_rot

    def body_velocities(
        self, body_pos: Tensor, body_rot: Tensor, root_vel: Tensor, root_ang_vel: Tensor, dof_vel: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Velocities of the origins of all bodies, and their angular velocities, ``[..., B, 3]`` each, in the world.

        ``body_pos`` and ``body_rot`` are those of :meth:`forward_kinematics`; ``root_vel [..., 3]`` m/s,
        ``root_ang_vel [..., 3]`` rad/s, ``dof_vel [..., D]`` rad/s.
        """
        turns = dof_vel.index_select(-1, self._exp_columns).unflatten(-1, (self.num_joints, 3)) * self._exp_factors
        turns = rot.quat_rotate(body_rot[..., 1:, :], turns)
        ang_vel = self._sum_paths(root_ang_vel, turns)
        arms = body_pos[..., 1:, :] - body_pos.index_select(-2, self._parent_index)
        if self._from_joint is not None:
            # Up to the joint the parent carries a body, beyond it the body turns by itself.
            own = rot.quat_rotate(body_rot[..., 1:, :], self._from_joint)
            steps = torch.linalg.cross(ang_vel.index_select(-2, self._parent_index), arms - own)
            steps = steps + torch.linalg.cross(ang_vel[..., 1:, :], own)
        else:
            steps = torch.linalg.cross(ang_vel.index_select(-2, self._parent_index), arms)
        return self._sum_paths(root_vel, steps), ang_vel

    def _sum_paths(self, root: Tensor, steps: Tensor) -> Tensor:
        """For each body ``[..., B, 3]`` the sum of ``root [..., 3]`` and of ``steps [..., J, 3]`` on the way to it."""
        # One gather replaces a pass over the tree.
        rows = torch.cat([root.unsqueeze(-2), steps, torch.zeros_like(steps[..., :1, :])], dim=-2)
        return rows.index_select(-2, self._paths).unflatten(-2, (self.num_bodies, -1)).sum(-2)

    def _along_hinges(self, v: Tensor) -> Tensor:
        """Project ``v [..., J, 3]`` on the hinge axes, leaving the other joints' vectors alone."""
        along = (v * self._hinge_axes).sum(-1, keepdim=True) * self._hinge_axes
        return torch.where(self._is_hinge, along, v)

    def _pick_dofs(self, e: Tensor) -> Tensor:
        return e.flatten(-2).index_select(-1, self._dof_columns) * self._dof_factors

    def _check_tree(self) -> None:
        counts = {len(self.body_names), len(self.parents), len(self.joint_types), len(self.joint_names)}
        if len(counts) != 1:
            raise UserError(f"character {self.name!r}: arrays of bodies differ in length")
        if len(self.parents) < 2 or self.parents[0] != -1 or self.joint_types[0] is not JointType.ROOT:
            raise UserError(f"character {self.name!r}: the first body must be a root with at least one child")
        if any(not 0 <= parent < body for body, parent in enumerate(self.parents[1:], start=1)):
            raise UserError(f"character {self.name!r}: bodies must follow their parents (depth-first order)")

    def _build_tensors(
        self, pos: np.ndarray, quat: np.ndarray, axes: np.ndarray, anchors: np.ndarray, device: torch.device
    ) -> None:
        self.device = device

        def floats(x: np.ndarray) -> Tensor:
            return torch.tensor(np.asarray(x), dtype=torch.float32, device=device)

        def ints(x: Sequence[int]) -> Tensor:
            return torch.tensor(list(x), dtype=torch.long, device=device)

        self.local_pos, self.local_rot, self.joint_axes = floats(pos), floats(quat), floats(axes)
        self.joint_anchors = floats(anchors)
        # A bone leads from the parent's origin to the joint, and only then to the body's own origin.
        self._from_joint = -self.joint_anchors[1:] if anchors.any() else None
        self._bone = self.local_pos[1:]
        if self._from_joint is not None:
            self._bone = self._bone - rot.quat_rotate(self.local_rot[1:], self._from_joint)
        self._parent_index = ints(self.parents[1:])
        self._hinge_axes = self.joint_axes[1:]
        self._is_hinge = torch.tensor([[t is JointType.HINGE] for t in self.joint_types[1:]], device=device)
        columns, factors, picked, picked_factors = self._coordinate_maps(axes)
        self._exp_columns, self._exp_factors = ints(columns), floats(factors)
        self._dof_columns, self._dof_factors = ints(picked), floats(picked_factors)
        self._build_levels(quat, ints, floats)

    def _coordinate_maps(self, axes: np.ndarray) -> tuple[list[int], np.ndarray, list[int], np.ndarray]:
        """Gather indices and factors between DoFs ``[D]`` and exponential maps ``[J, 3]``, both ways."""
        columns: list[int] = []
        factors = np.zeros((self.num_joints, 3))
        picked: list[int] = []
        picked_factors: list[float] = []
        for joint, (kind, first) in enumerate(zip(self.joint_types[1:], self.dof_index[1:], strict=True)):
            if kind is JointType.SPHERICAL:
                columns += [first, first + 1, first + 2]
                factors[joint] = 1.0
                picked += [3 * joint, 3 * joint + 1, 3 * joint + 2]
                picked_factors += [1.0, 1.0, 1.0]
            elif kind is JointType.HINGE:
                axis = axes[joint + 1]
                largest = int(np.abs(axis).argmax())
                columns += [first] * 3
                factors[joint] = axis
                picked.append(3 * joint + largest)
                picked_factors.append(1.0 / float(axis[largest]))
            else:
                columns += [0] * 3
        return columns, factors, picked, np.array(picked_factors)

    def _build_levels(
        self, quat: np.ndarray, ints: Callable[[Sequence[int]], Tensor], floats: Callable[[np.ndarray], Tensor]
    ) -> None:
        """Group bodies by depth, so that one product turns all bodies of a depth."""
        depth = [0] * self.num_bodies
        for body, parent in enumerate(self.parents[1:], start=1):
            depth[body] = depth[parent] + 1
        levels = [[b for b in range(self.num_bodies) if depth[b] == d] for d in range(max(depth) + 1)]
        order = [body for level in levels for body in level]
        self._level_sizes = [len(level) for level in levels[1:]]
        self._level_order = ints([body - 1 for body in order[1:]])
        self._level_inverse = ints([order.index(body) for body in range(self.num_bodies)])
        self._level_parents: list[Tensor | None] = [None]  # children of the root broadcast against it
        for above, level in pairwise(levels[1:]):
            self._level_parents.append(ints([above.index(self.parents[body]) for body in level]))
        identity = np.abs(np.abs(quat[1:, 3]) - 1.0).max() < 1e-9
        self._level_rest = None if identity else floats(quat)[self._level_order + 1]
        paths = []
        for body in range(self.num_bodies):
            path = [body]
            while self.parents[path[-1]] >= 0:
                path.append(self.parents[path[-1]])
            # The padding points at the zero row behind the last bone.
            paths += path + [self.num_bodies] * (max(depth) + 1 - len(path))
        self._paths = ints(paths)


def _limits(values: np.ndarray | None, default: float, count: int) -> np.ndarray:
    if values is None:
        return np.full(count, default, dtype=np.float32)
    if len(values) != count:
        raise UserError(f"joint limits of {len(values)} DoFs for a character with {count}")
    return np.asarray(values, dtype=np.float32)
