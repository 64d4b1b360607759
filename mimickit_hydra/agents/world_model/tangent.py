"""The state of a character with a free root as one vector, and its tangent space.

A state ``s [..., X]`` is, in this order: root position 3 (m, world), root rotation 4 (xyzw), hinge angles H (rad), a
quaternion for every ball joint 4 S, root velocity 3 (m/s, world), root angular velocity 3 (rad/s, *root* frame), DoF
velocities D (rad/s, child frames, the character's order). X = 13 + H + 4 S + D.

A tangent ``d [..., 2 (6 + D)]`` is a small difference between two states: root position 3 and rotation 3, D joints
(ball joints as rotation vectors in the child frame), then velocities in the same order; vectors of the root are in its
own frame, which is defined however the character lies, unlike its heading.

    plus(s, d) = s ⊞ d        minus(plus(s, d), s) = d        |rotations| < pi

Everything is differentiable, also where a rotation is the identity.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mimickit_hydra.envs.state import PosedState, lazy
from mimickit_hydra.motion.character import CharacterModel, JointType
from mimickit_hydra.motion.rotations import (
    TINY,
    exp_map_to_quat,
    quat_conj,
    quat_mul,
    quat_rotate_inv,
    quat_to_exp_map,
    quat_to_tan_norm,
    quat_unit,
)


class StateLayout:
    """Where what stands in the state of one character, and the maps between states and tangents.

    Attributes: ``size`` X, ``tangent_size`` 2 (6 + D), ``config_size`` 6 + D (the first half of a tangent),
    ``feature_size`` of :meth:`features`.
    """

    def __init__(self, character: CharacterModel) -> None:
        self.character = character
        device = character.device
        hinges, balls = list[int](), list[int]()
        for body, kind in enumerate(character.joint_types):
            (hinges if kind is JointType.HINGE else balls if kind is JointType.SPHERICAL else []).append(body)

        def dofs(bodies: list[int], width: int) -> Tensor:
            first = [character.dof_index[body] for body in bodies]
            return torch.tensor([i + k for i in first for k in range(width)], dtype=torch.long, device=device)

        self._hinge_dofs, self._ball_dofs = dofs(hinges, 1), dofs(balls, 3)
        self._hinges, self._balls, self._dofs = len(hinges), len(balls), character.num_dofs
        self._axes = character.joint_axes[hinges]
        joint_of = {body: k for k, body in enumerate([*hinges, *balls])}
        order = [joint_of.get(body, len(joint_of)) for body in range(1, character.num_bodies)]
        self._joint_order = torch.tensor(order, dtype=torch.long, device=device)  # the last row is the identity
        self._identity = torch.tensor([[0.0, 0.0, 0.0, 1.0]], device=device)
        self._basis = _matrix_basis().to(device)
        self._only_hinges = not balls and hinges == sorted(hinges)
        back = torch.cat([self._hinge_dofs, self._ball_dofs])
        self._dof_order = torch.argsort(back)  # from hinges and balls to the character's order
        self._widths = [3, 4, self._hinges, 4 * self._balls, 3, 3, self._dofs]
        self.size = sum(self._widths)
        self.config_size = 6 + self._dofs
        self.tangent_size = 2 * self.config_size
        self.feature_size = 1 + 3 + 3 + 3 + self._hinges + 6 * self._balls + self._dofs

    # ------------------------------------------------------------------------------------------------- in and out

    def pack(
        self, root_pos: Tensor, root_rot: Tensor, root_vel: Tensor, root_ang_vel: Tensor, dof_pos: Tensor,
        dof_vel: Tensor,
    ) -> Tensor:  # fmt: skip
        """States ``[..., X]`` from what an engine reports (world axes, DoFs ``[..., D]``)."""
        hinges = dof_pos.index_select(-1, self._hinge_dofs)
        balls = exp_map_to_quat(dof_pos.index_select(-1, self._ball_dofs).unflatten(-1, (self._balls, 3))).flatten(-2)
        spin = quat_rotate_inv(root_rot, root_ang_vel)
        return torch.cat([root_pos, root_rot, hinges, balls, root_vel, spin, dof_vel], dim=-1)

    def split(self, state: Tensor) -> tuple[Tensor, ...]:
        """Root position, rotation, hinges ``[..., H]``, balls ``[..., S, 4]``, velocity, spin, DoF velocities."""
        pos, rotation, hinges, balls, vel, spin, dof_vel = state.split(self._widths, dim=-1)
        return pos, rotation, hinges, balls.unflatten(-1, (self._balls, 4)), vel, spin, dof_vel

    def rotations(self, state: Tensor) -> Tensor:
        """Rotation of the root in the world and of every joint ``[..., 1 + J, 4]``."""
        _, root, hinges, balls, _, _, _ = self.split(state)
        half = 0.5 * hinges.unsqueeze(-1)
        turns = torch.cat([self._axes * half.sin(), half.cos()], dim=-1)
        rest = self._identity.expand(*state.shape[:-1], 1, 4)
        joints = torch.cat([turns, balls, rest], dim=-2).index_select(-2, self._joint_order)
        return torch.cat([root.unsqueeze(-2), joints], dim=-2)

    def character_state(self, state: Tensor, key_bodies: Tensor) -> ImaginedState:
        """The state ``[n, X]`` with everything that terms of an env look at, worked out once it is asked for."""
        return ImaginedState(self, state, key_bodies)

    def dof_pos(self, state: Tensor) -> Tensor:
        """Coordinates of the joints ``[..., D]``, as engines have them."""
        _, _, hinges, balls, _, _, _ = self.split(state)
        return self._ordered(hinges, None if self._only_hinges else _log(balls).flatten(-2))

    def axes(self, state: Tensor) -> Tensor:
        """The root's axes in the world, as columns ``[..., 3, 3]``."""
        root = state[..., 3:7]
        products = (root.unsqueeze(-1) * root.unsqueeze(-2)).flatten(-2)
        return (products.unsqueeze(-1) * self._basis).sum(-2).unflatten(-1, (3, 3))

    def features(self, state: Tensor, axes: Tensor) -> Tensor:
        """What a model of the dynamics sees ``[..., F]``: nothing of where the root is over ground, nor of its heading.

        Height 1, direction of gravity, velocity and spin 3 + 3 + 3 in the root's frame, hinges H, six numbers for each
        ball joint, DoF velocities D. ``axes`` are those of the state.
        """
        pos, _, hinges, balls, vel, spin, dof_vel = self.split(state)
        seen = [pos[..., 2:], -axes[..., 2, :], into(axes, vel), spin, hinges]
        seen += [] if self._only_hinges else [quat_to_tan_norm(balls).flatten(-2)]
        return torch.cat([*seen, dof_vel], dim=-1)

    def dofs_to(self, state: Tensor, targets: Tensor) -> Tensor:
        """The way ``[..., D]`` rad from the joints of ``state`` to target coordinates ``[..., D]``."""
        _, _, hinges, balls, _, _, _ = self.split(state)
        if self._only_hinges:
            return targets - hinges
        goals = _exp(targets.index_select(-1, self._ball_dofs).unflatten(-1, (self._balls, 3)))
        turns = _log(quat_mul(quat_conj(balls), goals)).flatten(-2)
        return self._ordered(targets.index_select(-1, self._hinge_dofs) - hinges, turns)

    # ---------------------------------------------------------------------------------------------- tangent space

    def plus(self, state: Tensor, tangent: Tensor) -> Tensor:
        """``state ⊞ tangent``."""
        config, speed = tangent.split(self.config_size, dim=-1)
        axes = self.axes(state)
        return torch.cat([*self._move(state, config, axes), *self._accelerate(state, speed, axes)], dim=-1)

    def minus(self, state: Tensor, base: Tensor) -> Tensor:
        """The tangent at ``base`` that leads to ``state``: ``state ⊟ base``."""
        pos, root, hinges, balls, vel, _, _ = self.split(state)
        pos0, root0, hinges0, balls0, vel0, _, _ = self.split(base)
        axes, rest = self.axes(base), self.size - 3 - self._dofs
        if self._only_hinges:
            turn, turns = _log(quat_mul(quat_conj(root0), root)), None
        else:
            both = _log(quat_mul(quat_conj(_joined(root0, balls0)), _joined(root, balls)))
            turn, turns = both.flatten(-2).split([3, 3 * self._balls], dim=-1)
        return torch.cat(
            [
                into(axes, pos - pos0), turn, self._ordered(hinges - hinges0, turns),
                into(axes, vel - vel0), state[..., rest:] - base[..., rest:],
            ],
            dim=-1,
        )  # fmt: skip

    def integrate(self, state: Tensor, residual: Tensor, dt: float, axes: Tensor | None = None) -> Tensor:
        """A step of ``dt`` (s), semi-implicit Euler with what ``residual`` (a tangent) adds.

        Velocities change by their half of it; the configuration by ``dt`` times the *new* velocities and its half.
        With a residual of zero the character flies on as it moves: a ballistic predictor without gravity. ``axes`` are
        those of the state, if they are known.
        """
        axes = self.axes(state) if axes is None else axes
        config, speed = residual.split(self.config_size, dim=-1)
        vel, turning = self._accelerate(state, speed, axes)
        moved = torch.add(config[..., 3:], turning, alpha=dt)
        pos, *others = self._move(state, torch.cat([config[..., :3], moved], dim=-1), axes)
        return torch.cat([torch.add(pos, vel, alpha=dt), *others, vel, turning], dim=-1)

    def residual(self, state: Tensor, following: Tensor, dt: float) -> Tensor:
        """The residual with which :meth:`integrate` leads from ``state`` to ``following``."""
        config, speed = self.minus(following, state).split(self.config_size, dim=-1)
        _, _, _, _, vel, spin, dof_vel = self.split(following)
        moved = torch.cat([into(self.axes(state), vel), spin, dof_vel], dim=-1)
        return torch.cat([torch.add(config, moved, alpha=-dt), speed], dim=-1)

    def _move(self, state: Tensor, config: Tensor, axes: Tensor) -> tuple[Tensor, ...]:
        """Position, rotation of the root, hinges and ball joints after the first half of a tangent."""
        pos, root, hinges, balls, _, _, _ = self.split(state)
        shift, turn, joints = config.split([3, 3, self._dofs], dim=-1)
        place = pos + out_of(axes, shift)
        if self._only_hinges:
            return place, quat_unit(quat_mul(root, _exp(turn))), hinges + joints
        turns = joints.index_select(-1, self._ball_dofs).unflatten(-1, (self._balls, 3))
        turned = quat_unit(quat_mul(_joined(root, balls), _exp(_joined(turn, turns))))
        root, balls = turned.flatten(-2).split([4, 4 * self._balls], dim=-1)
        return place, root, hinges + joints.index_select(-1, self._hinge_dofs), balls

    def _accelerate(self, state: Tensor, speed: Tensor, axes: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity of the root; its spin and the velocities of the DoFs, after the second half of a tangent."""
        rest = self.size - 3 - self._dofs
        vel, turning = state[..., rest - 3 : rest], state[..., rest:]
        return vel + out_of(axes, speed[..., :3]), turning + speed[..., 3:]

    def _ordered(self, hinges: Tensor, balls: Tensor | None) -> Tensor:
        return hinges if balls is None else torch.cat([hinges, balls], dim=-1).index_select(-1, self._dof_order)


def _log(q: Tensor) -> Tensor:
    return quat_to_exp_map(q, least=0.0)


def _exp(e: Tensor) -> Tensor:
    """Rotations ``[..., 4]`` of rotation vectors ``[..., 3]``, of either sign and in few kernels both ways."""
    half = (0.25 * e.square().sum(-1, keepdim=True) + TINY).sqrt()
    return torch.cat([e * (0.5 * half.sin() / half), half.cos()], dim=-1)


def _joined(root: Tensor, balls: Tensor) -> Tensor:
    """What concerns the root ``[..., n]`` and the ball joints ``[..., S, n]`` in one, for one kernel each."""
    return torch.cat([root.unsqueeze(-2), balls], dim=-2)


def _matrix_basis() -> Tensor:
    """What each product of two components of a quaternion ``[16]`` adds to each element of its matrix ``[9]``.

    One product and one sum with it make the matrix, instead of a dozen kernels in every imagined step.
    """
    x, y, z, w = range(4)
    basis = torch.zeros(4, 4, 3, 3)
    for i in range(4):
        basis[i, i] = torch.eye(3) if i == w else torch.diag(2.0 * torch.eye(3)[i] - 1.0)
    for i, j in ((x, y), (x, z), (y, z)):
        basis[i, j, i, j] = basis[i, j, j, i] = 2.0
    for i, row, column in ((z, 1, 0), (y, 0, 2), (x, 2, 1)):
        basis[w, i, row, column], basis[w, i, column, row] = 2.0, -2.0
    return basis.reshape(16, 9)


class ImaginedState(PosedState):
    """A state vector ``[n, X]`` as terms see it; ``spin`` and ``axes`` are the root's own, see :class:`StateLayout`."""

    def __init__(self, layout: StateLayout, state: Tensor, key_bodies: Tensor) -> None:
        self._layout, self._state = layout, state
        self._character, self._key_bodies = layout.character, key_bodies
        self.root_pos, self._root, _, _, self.root_vel, self.spin, self.dof_vel = layout.split(state)

    @property
    def root_rot(self) -> Tensor:
        return self._root

    @lazy
    def axes(self) -> Tensor:
        return self._layout.axes(self._state)

    @lazy
    def rotations(self) -> Tensor:  # type: ignore[override]
        return self._layout.rotations(self._state)

    @lazy
    def root_ang_vel(self) -> Tensor:  # type: ignore[override]
        return out_of(self.axes, self.spin)

    @lazy
    def dof_pos(self) -> Tensor:  # type: ignore[override]
        return self._layout.dof_pos(self._state)


def into(axes: Tensor, v: Tensor) -> Tensor:
    """World vectors ``[..., 3]`` in a frame of these ``axes [..., 3, 3]``."""
    return (axes * v.unsqueeze(-1)).sum(-2)


def out_of(axes: Tensor, v: Tensor) -> Tensor:
    """Vectors ``[..., 3]`` of a frame of these ``axes [..., 3, 3]`` in the world."""
    return (axes * v.unsqueeze(-2)).sum(-1)
