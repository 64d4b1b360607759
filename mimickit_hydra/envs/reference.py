"""The reference motion: draws episode starts, and looks up what the clips show now and a few steps ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from mimickit_hydra.envs.rows import Rows
from mimickit_hydra.envs.state import CharacterState
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode
from mimickit_hydra.motion.library import MotionLibrary


class ReferenceMotion:
    """Draws starts and looks up frames of the motion library as full character states."""

    def __init__(
        self, library: MotionLibrary, character: CharacterModel, key_bodies: Tensor, random_start: bool = True
    ) -> None:
        self.library = library
        self._character = character
        self._key_bodies = key_bodies  # [K]
        self._random_start = random_start
        repeats = torch.as_tensor(library.loop_modes, device=key_bodies.device) == int(LoopMode.WRAP)
        self.clip_end = torch.where(repeats, torch.inf, library.lengths.to(key_bodies.device))  # [M] s

    def draw(self, num: int) -> tuple[Tensor, Tensor]:
        """Clip ids and start times (s) ``[num]``: uniform over the clip, or its first frame without random starts."""
        ids = self.library.sample_motions(num)
        times = self.library.sample_times(ids) if self._random_start else self.clip_end.new_zeros(num)
        return ids, times

    def at(self, motion_ids: Tensor, motion_time: Tensor) -> CharacterState:
        """The reference ``[...]`` of clips ``[...]`` at times (s) ``[...]``: one query and one forward kinematics."""
        frame = self.library.query(motion_ids, motion_time)
        rotations = torch.cat([frame.root_rot.unsqueeze(-2), frame.joint_rot], dim=-2)
        return CharacterState.posed(
            self._character, self._key_bodies, frame.root_pos, rotations, frame.root_vel, frame.root_ang_vel,
            frame.dof_vel,
        )  # fmt: skip


class ReferenceWindow:
    """The reference of every environment now and up to the farthest target.

    What is a target now is the present a few steps later, so a step looks up the farthest frame alone and moves the
    others up; a reset looks up all frames of its rows in one query. A frame's time depends on the integer step alone,
    ``start + dt (timestep + offset)``, so that a frame does not change while it moves through the window.
    """

    def __init__(
        self,
        motion: ReferenceMotion,
        num_envs: int,
        control_dt: float,
        target_steps: Sequence[int],
        past_frames: int = 1,
    ) -> None:
        """A restart also looks up ``past_frames`` H frames ending now, for those who keep a history."""
        self._motion = motion
        self._dt = control_dt
        self.steps = list(target_steps)
        self._first = min(0, *target_steps, 0)
        self._offsets = torch.arange(self._first, max(0, *target_steps, 0) + 1, device=motion.clip_end.device)
        self._now = -self._first
        self._past_frames = past_frames
        self._earlier = max(0, past_frames - 1 - self._now)  # frames of the past before the window begins
        self._restart_offsets = torch.arange(
            self._first - self._earlier, int(self._offsets[-1]) + 1, device=motion.clip_end.device
        )
        self._targets = [step - self._first for step in target_steps]
        # Rotating the list of frames costs nothing; on a GPU the frames keep their addresses for CUDA graphs.
        self._rotate = motion.clip_end.device.type == "cpu"
        start = torch.zeros(num_envs, device=motion.clip_end.device)
        empty = motion.at(start.long(), start)
        self.frames = [empty.map(torch.clone) for _ in self._offsets]

    @property
    def now(self) -> CharacterState:
        """The reference at the present time, ``[N, .]``."""
        return self.frames[self._now]

    @property
    def targets(self) -> list[CharacterState]:
        """The reference at the target steps, in the order they were asked for."""
        return [self.frames[i] for i in self._targets]

    def restart(
        self, rows: Rows, motion_ids: Tensor, start_times: Tensor, timestep: Tensor, keep: bool = True
    ) -> tuple[CharacterState, list[CharacterState], CharacterState]:
        """Look up all frames of ``rows``; returns the present and the targets ``[n, .]`` and the past ``[n, H, .]``.

        ``motion_ids``, ``start_times`` (s) and ``timestep`` ``[n]`` are those of the rows. Without ``keep`` the window
        itself is left as it is: nobody will look at it.
        """
        times = (timestep.unsqueeze(-1) + self._restart_offsets) * self._dt + start_times.unsqueeze(-1)
        found = self._motion.at(motion_ids.unsqueeze(-1).expand_as(times), times)
        fresh = [found.map(partial(torch.select, dim=1, index=self._earlier + k)) for k in range(len(self.frames))]
        if keep:
            self._store(fresh, rows)
        first = self._earlier + self._now + 1 - self._past_frames
        past = found.map(partial(torch.narrow, dim=1, start=first, length=self._past_frames))
        return fresh[self._now], [fresh[i] for i in self._targets], past

    def _store(self, fresh: Sequence[CharacterState], rows: Rows) -> None:
        for old, new in zip(self.frames, fresh, strict=True):
            for name, buffer in old.tensors().items():
                rows.put(buffer, getattr(new, name))
            old.__dict__.pop("heading_inv", None)  # it was of the old rows

    def advance(self, motion_ids: Tensor, start_times: Tensor, timestep: Tensor) -> None:
        """Move on to ``timestep`` ``[N]``, one after the last one."""
        times = (timestep + self._offsets[-1]) * self._dt + start_times
        newest = self._motion.at(motion_ids, times)
        if self._rotate:
            self.frames = [*self.frames[1:], newest]
            return
        for old, new in zip(self.frames, [*self.frames[1:], newest], strict=True):
            for name, buffer in old.tensors().items():
                buffer.copy_(getattr(new, name))
            old.__dict__.pop("heading_inv", None)

    def state_dict(self) -> dict[str, Tensor]:
        """All frames: looking them up again would give the same to rounding, not to the bit."""
        frames = enumerate(self.frames)
        return {f"{k}/{name}": t.cpu().clone() for k, frame in frames for name, t in frame.tensors().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for k, frame in enumerate(self.frames):
            for name, buffer in frame.tensors().items():
                buffer.copy_(state[f"{k}/{name}"])
            frame.__dict__.pop("heading_inv", None)
