"""The states of the character and its reference in one step, computed once and shared by every part of an env."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from torch import Tensor

from mimickit_hydra.envs.rows import ALL, Rows
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.rotations import heading_quat_inv, quat_to_tan_norm

if TYPE_CHECKING:
    from mimickit_hydra.envs.track.mdp import Moment

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801  # used as a decorator
    """An attribute that is worked out once it is asked for.

    As functools.cached_property, whose lock before Python 3.12 would break what is compiled in two.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> lazy[T]: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = self._function(instance)
        setattr(instance, self._name, value)
        return value


@dataclass
class CharacterState:
    """State of ``n`` characters, simulated or reference: world frame, m, rad, s, quaternions xyzw."""

    root_pos: Tensor  # [n, 3]
    rotations: Tensor  # [n, 1 + J, 4] of the root in the world, then of every joint
    root_vel: Tensor  # [n, 3]
    root_ang_vel: Tensor  # [n, 3]
    dof_vel: Tensor  # [n, D]
    body_pos: Tensor  # [n, B, 3]
    body_rot: Tensor  # [n, B, 4]
    key_offset: Tensor  # [n, K, 3] key bodies relative to the root, world axes
    tan_norm: Tensor  # [n, 1 + J, 6] tangents and normals of the rotations

    @classmethod
    def posed(
        cls, character: CharacterModel, key_bodies: Tensor, root_pos: Tensor, rotations: Tensor, root_vel: Tensor,
        root_ang_vel: Tensor, dof_vel: Tensor,
    ) -> CharacterState:  # fmt: skip
        """The state ``[...]`` of a pose and its velocities, by forward kinematics; differentiable."""
        body_pos, body_rot = character.forward_kinematics(root_pos, rotations[..., 0, :], rotations[..., 1:, :])
        return cls(
            root_pos=root_pos, rotations=rotations, root_vel=root_vel, root_ang_vel=root_ang_vel, dof_vel=dof_vel,
            body_pos=body_pos, body_rot=body_rot,
            key_offset=body_pos.index_select(-2, key_bodies) - root_pos.unsqueeze(-2),
            tan_norm=quat_to_tan_norm(rotations),
        )  # fmt: skip

    @property
    def root_rot(self) -> Tensor:
        """World rotation of the root ``[n, 4]``."""
        return self.rotations[..., 0, :]

    @property
    def joint_rot(self) -> Tensor:
        """Joint rotations ``[n, J, 4]``."""
        return self.rotations[..., 1:, :]

    @lazy
    def heading_inv(self) -> Tensor:
        """Rotation ``[n, 4]`` that turns world axes into the heading frame of the root."""
        return heading_quat_inv(self.root_rot)

    def tensors(self) -> dict[str, Tensor]:
        """Every stored tensor by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def map(self, function: Callable[[Tensor], Tensor]) -> CharacterState:
        """A state of ``function(tensor)`` for every stored tensor."""
        return CharacterState(**{name: function(tensor) for name, tensor in self.tensors().items()})


class PosedState(CharacterState):
    """A state ``[n, .]`` known by its root and joints; what follows from them is worked out once it is asked for.

    Beside what any state has: ``dof_pos [n, D]``, and of the root its ``axes [n, 3, 3]`` in the world (columns) and its
    angular velocity ``spin [n, 3]`` in them.
    """

    dof_pos: Tensor
    axes: Tensor
    spin: Tensor
    _character: CharacterModel
    _key_bodies: Tensor

    @lazy
    def _bodies(self) -> tuple[Tensor, Tensor]:
        return self._character.forward_kinematics(self.root_pos, self.root_rot, self.joint_rot)

    @property
    def body_pos(self) -> Tensor:  # type: ignore[override]
        return self._bodies[0]

    @property
    def body_rot(self) -> Tensor:  # type: ignore[override]
        return self._bodies[1]

    @lazy
    def body_velocities(self) -> tuple[Tensor, Tensor]:
        """Velocities and angular velocities of the bodies ``[n, B, 3]``."""
        return self._character.body_velocities(*self._bodies, self.root_vel, self.root_ang_vel, self.dof_vel)

    @lazy
    def key_offset(self) -> Tensor:  # type: ignore[override]
        return self.body_pos.index_select(-2, self._key_bodies) - self.root_pos.unsqueeze(-2)

    @lazy
    def tan_norm(self) -> Tensor:  # type: ignore[override]
        return quat_to_tan_norm(self.rotations)


@dataclass
class View:
    """One moment of ``n`` environments: all of them in a step, the restarted ones in a reset."""

    time: Tensor  # [n] s since the episode began
    motion_ids: Tensor  # [n]
    motion_time: Tensor  # [n] s into the clip
    clip_end: Tensor  # [n] s; infinite for clips that repeat
    character: CharacterState
    ground_contact_forces: Tensor  # [n, B, 3] N
    reference: CharacterState | None = None
    diverged: Tensor | None = None  # [n] bool: no numbers to compute with; None if there are none
    resting: Tensor | None = None  # [n] bool: not stepped now, and counted nowhere; None if there are none
    targets: list[CharacterState] = field(default_factory=list)  # S future reference frames
    moment: Moment | None = None  # what env=tracking tracks
    past: CharacterState | None = None  # [n, H, .] reference frames up to now, at a restart only
    rows: Rows = ALL  # which of all environments these are
