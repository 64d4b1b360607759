"""Envs that show a character: one plays a motion without physics, one drives a degree of freedom after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import ResetState
from mimickit_hydra.envs.imitation import CHARACTER, ImitationEnv
from mimickit_hydra.envs.parts import Part
from mimickit_hydra.envs.reference import ReferenceMotion
from mimickit_hydra.envs.state import View

SECONDS_PER_DOF = 4.0


class PlaybackEnv(ImitationEnv):
    """An env that puts the character where the reference is, step by step; actions and physics change nothing."""

    @property
    def has_goal_pose(self) -> bool:
        return False  # it is the reference

    def _physics(self) -> None:
        assert self.reference is not None
        times = self.start_times + (self.timestep + 1) * self.control_dt
        frame = self.reference.library.query(self.motion_ids, times)
        state = ResetState(
            frame.root_pos, frame.root_rot, frame.root_vel, frame.root_ang_vel,
            self.character.rot_to_dof(frame.joint_rot), frame.dof_vel,
        )  # fmt: skip
        self.engine.reset(self._everyone, {CHARACTER: state})


class EveryClip(ReferenceMotion):
    """A reference that shows clip i in environment i from its beginning, and the first clips again beyond the last."""

    def draw(self, num: int) -> tuple[Tensor, Tensor]:
        ids = torch.arange(num, device=self.clip_end.device) % self.library.num_motions
        return ids, self.clip_end.new_zeros(num)


class DofSweep(Part):
    """A part that drives one DoF for four seconds to its highest and its lowest command, then the next.

    Environment i begins with DoF i; all others are held at 0.
    """

    def __init__(self, action_low: Tensor, action_high: Tensor, num_envs: int) -> None:
        self._low, self._high = action_low, action_high  # [D]
        self._first = torch.arange(num_envs, device=action_low.device)

    @property
    def duration(self) -> float:
        """The seconds that all DoFs take."""
        return SECONDS_PER_DOF * len(self._low)

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        turns = time / SECONDS_PER_DOF
        dof = ((turns.floor().long() + self._first) % len(self._low)).unsqueeze(-1)
        wave = torch.sin(2.0 * torch.pi * turns.frac()).unsqueeze(-1)
        limit = torch.where(wave >= 0.0, self._high[dof], self._low[dof])
        command.zero_().scatter_(1, dof, wave.abs() * limit)


def one(view: View) -> Tensor:
    """The reward ``[N]`` of envs that nothing is learnt in: 1."""
    return torch.ones_like(view.time)
