"""The reference motion: where each environment is in which clip, and what the clip shows there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mimickit_hydra.envs.state import CharacterState, Targets
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode
from mimickit_hydra.motion.library import MotionLibrary


class ReferenceMotion:
    """Draws starts and looks up frames; the present and all target frames with one query and one FK."""

    def __init__(
        self,
        library: MotionLibrary,
        character: CharacterModel,
        key_bodies: Tensor,
        target_offsets: Sequence[float] = (),
        random_start: bool = True,
    ) -> None:
        self.library = library
        self._character = character
        self._key_bodies = key_bodies  # [K]
        self._offsets = torch.tensor([0.0, *target_offsets], device=key_bodies.device)  # [1 + S] s
        self._random_start = random_start
        repeats = torch.as_tensor(library.loop_modes, device=key_bodies.device) == int(LoopMode.WRAP)
        self.clip_end = torch.where(repeats, torch.inf, library.lengths.to(key_bodies.device))  # [M] s

    def draw(self, num: int) -> tuple[Tensor, Tensor]:
        """Clip ids and start times (s) ``[num]``: uniform over the clip, or its first frame without random starts."""
        ids = self.library.sample_motions(num)
        times = self.library.sample_times(ids) if self._random_start else self.clip_end.new_zeros(num)
        return ids, times

    def at(self, motion_ids: Tensor, motion_time: Tensor) -> tuple[CharacterState, Targets | None]:
        """The reference ``[n]`` at ``motion_time`` (s) and, if there are target offsets, its next frames ``[n, S]``."""
        times = motion_time.unsqueeze(-1) + self._offsets
        frame = self.library.query(motion_ids.unsqueeze(-1).expand_as(times), times)
        body_pos, body_rot = self._character.forward_kinematics(frame.root_pos, frame.root_rot, frame.joint_rot)
        key_pos = body_pos.index_select(-2, self._key_bodies)
        now = CharacterState(
            root_pos=frame.root_pos[:, 0], root_rot=frame.root_rot[:, 0], root_vel=frame.root_vel[:, 0],
            root_ang_vel=frame.root_ang_vel[:, 0], joint_rot=frame.joint_rot[:, 0], dof_vel=frame.dof_vel[:, 0],
            body_pos=body_pos[:, 0], body_rot=body_rot[:, 0], key_pos=key_pos[:, 0],
        )  # fmt: skip
        if len(self._offsets) == 1:
            return now, None
        later = Targets(frame.root_pos[:, 1:], frame.root_rot[:, 1:], frame.joint_rot[:, 1:], key_pos[:, 1:])
        return now, later
