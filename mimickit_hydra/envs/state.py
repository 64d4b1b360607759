"""What one step knows about the character and its reference, computed once and shared by every part of an env."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property

from torch import Tensor

from mimickit_hydra.motion.rotations import heading_quat_inv


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

    @property
    def root_rot(self) -> Tensor:
        """World rotation of the root ``[n, 4]``."""
        return self.rotations[..., 0, :]

    @property
    def joint_rot(self) -> Tensor:
        """Joint rotations ``[n, J, 4]``."""
        return self.rotations[..., 1:, :]

    @cached_property
    def heading_inv(self) -> Tensor:
        """Rotation ``[n, 4]`` that turns world axes into the heading frame of the root."""
        return heading_quat_inv(self.root_rot)

    def tensors(self) -> dict[str, Tensor]:
        """Every stored tensor by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def map(self, function: Callable[[Tensor], Tensor]) -> CharacterState:
        """A state of ``function(tensor)`` for every stored tensor."""
        return CharacterState(**{name: function(tensor) for name, tensor in self.tensors().items()})


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
    targets: list[CharacterState] = field(default_factory=list)  # S future reference frames
    past: CharacterState | None = None  # [n, H, .] reference frames up to now, at a restart only
