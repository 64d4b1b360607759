"""Metrics of a test over whole episodes: returns, success, tracking errors and smoothness."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL
from mimickit_hydra.envs.state import CharacterState
from mimickit_hydra.envs.tracking import NAMES, tracking_errors
from mimickit_hydra.files import write_text_atomic
from mimickit_hydra.motion.rotations import quat_diff_angle

ERRORS = (*NAMES, "joint_rot_err")
_EPISODE = ("episodes", "return", "return_sq", "length", "length_sq", "fail")
_STEP = ("steps", "jerk", "jerk_count", "dof_acc", "dof_acc_count", *ERRORS)

UNITS = {
    "return": "sum of rewards", "episode_length": "steps", "episode_seconds": "s", "success_rate": "share of episodes",
    "root_pos_err": "m", "root_rot_err": "rad", "body_pos_err": "m, relative to the root", "body_rot_err": "rad",
    "joint_rot_err": "rad, parent frame, mean over the joints", "dof_vel_err": "rad/s", "root_vel_err": "m/s",
    "root_ang_vel_err": "rad/s",
    "dtw_pose_err": "m, in the heading of the root, frames paired by dynamic time warping",
    "mpkpe": "m, mean distance of the tracked bodies in the world",
    "mpkpe_local": "m, likewise with the reference moved over the ground and turned to where the character is",
    "progress": "share of the clip until a failure", "mean_reward": "reward per step of the whole clip",
    "failed_clips": "clips", "clips": "each clip, hardest first; failure_time is in s",
    "smoothness": "norm of the second difference of the actions",
    "dof_acceleration": "rad/s^2, norm of the joint velocities' difference over the time of a step",
}  # fmt: skip


class TestMetrics:
    """Sums over ``N`` environments whose episodes end at different times; only whole episodes count.

    Call :meth:`record` after every ``env.step``, before finished environments are reset. Nothing is read back from the
    device until :meth:`result`. Errors and smoothness are means over steps, the others means over episodes.
    """

    __test__ = False  # not a test case, whatever its name says to pytest

    def __init__(self, num_envs: int, control_dt: float, device: torch.device | str = "cpu") -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.control_dt = control_dt  # s
        self._running = zeros(num_envs, len(_STEP))  # sums of the episode that each environment is in
        self._returns = zeros(num_envs)
        self._episode_sums = zeros(len(_EPISODE))
        self._step_sums = zeros(len(_STEP))
        self._age = torch.zeros(num_envs, dtype=torch.int64, device=device)  # steps recorded of the running episode
        self._actions: tuple[Tensor, Tensor] | None = None  # the last two
        self._dof_vel: Tensor | None = None

    @torch.no_grad()
    def record(
        self, action: Tensor, reward: Tensor, done: Tensor, character: CharacterState, reference: CharacterState
    ) -> None:
        """Add one step: ``action [N, A]``, ``reward [N]``, ``done [N]``, both states after the step (before resets)."""
        age = self._age
        jerk, acceleration = self._smoothness(action, character.dof_vel)
        has_jerk, has_acceleration = (age >= 2).double(), (age >= 1).double()
        joints = quat_diff_angle(character.joint_rot, reference.joint_rot).mean(-1, keepdim=True)
        errors = torch.cat([tracking_errors(character, reference), joints], dim=-1).double()
        # A simulation that diverged reads NaN; its episode counts as a failure and must not blank everybody's errors.
        errors, acceleration = torch.nan_to_num(errors), torch.nan_to_num(acceleration)
        step = [torch.ones_like(has_jerk), jerk * has_jerk, has_jerk, acceleration * has_acceleration, has_acceleration]
        self._running += torch.cat([torch.stack(step, dim=-1), errors], dim=-1)
        self._returns += reward
        self._age = age + 1
        self._fold(done)

    def _smoothness(self, action: Tensor, dof_vel: Tensor) -> tuple[Tensor, Tensor]:
        """Norms ``[N]`` of a'' = a - 2 a' + a'' of the last three actions and of the joint acceleration."""
        action, dof_vel = action.double(), dof_vel.double()
        before, earlier = self._actions if self._actions is not None else (action, action)
        last = dof_vel if self._dof_vel is None else self._dof_vel
        self._actions, self._dof_vel = (action.clone(), before), dof_vel.clone()
        norm = torch.linalg.vector_norm
        return norm(action - 2 * before + earlier, dim=-1), norm(dof_vel - last, dim=-1) / self.control_dt

    def _fold(self, done: Tensor) -> None:
        """Move the sums of finished episodes to the totals."""
        over = done != DONE_NULL
        ended, length, returns = over.double(), self._age.double(), self._returns
        failed = (done == DONE_FAIL).double()
        columns = [ended, ended * returns, ended * returns**2, ended * length, ended * length**2, failed]
        self._episode_sums += torch.stack(columns, dim=-1).sum(0)
        self._step_sums += torch.where(over.unsqueeze(-1), self._running, 0.0).sum(0)
        self._running.masked_fill_(over.unsqueeze(-1), 0.0)
        self._returns.masked_fill_(over, 0.0)
        self._age.masked_fill_(over, 0)

    def result(self) -> dict[str, float]:
        """The figures. NaN where no episode has ended."""
        sums = torch.cat([self._episode_sums, self._step_sums])
        total = dict(zip((*_EPISODE, *_STEP), sums.tolist(), strict=True))
        episodes, steps = total["episodes"], total["steps"]
        length = _ratio(total["length"], episodes)
        return {
            "episodes": int(episodes),
            "return": _ratio(total["return"], episodes),
            "return_std": _std(total["return"], total["return_sq"], episodes),
            "episode_length": length,
            "episode_length_std": _std(total["length"], total["length_sq"], episodes),
            "episode_seconds": length * self.control_dt,
            "success_rate": 1.0 - _ratio(total["fail"], episodes),
            **{name: _ratio(total[name], steps) for name in ERRORS},
            "smoothness": _ratio(total["jerk"], total["jerk_count"]),
            "dof_acceleration": _ratio(total["dof_acc"], total["dof_acc_count"]),
        }


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> Path:
    """Write ``metrics.json`` atomically, with the units; a figure that is not finite becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    content = {key: plain(value) for key, value in metrics.items()}
    content["units"] = {key: unit for key, unit in UNITS.items() if key in metrics}
    write_text_atomic(Path(path), json.dumps(content, indent=2, allow_nan=False) + "\n")
    return Path(path)


def _ratio(total: float, count: float) -> float:
    return total / count if count > 0 else math.nan


def _std(total: float, squares: float, count: float) -> float:
    mean = _ratio(total, count)
    return math.sqrt(max(0.0, _ratio(squares, count) - mean**2)) if count > 0 else math.nan
