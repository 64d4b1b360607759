"""Tests a policy on each clip of a set, from its first frame to its end, and says how every one went."""

from __future__ import annotations

import csv
import heapq
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.graph import Repeated
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.envs.term_schema import OTHER_ENDS
from mimickit_hydra.envs.tracking import KEYPOINT_NAMES, keypoint_errors
from mimickit_hydra.files import write_text_atomic

CLIPS_FILE, SAMPLING_FILE = "clips.csv", "sampling.csv"
COLUMNS = (
    "clip", "success", "progress", "return", "mean_reward", *KEYPOINT_NAMES, "failure_time", "cause", "seconds",
    "split",
)  # fmt: skip
_SUMS = ("steps", "reward", *KEYPOINT_NAMES)
_STRIDE = {"cpu": 1}  # steps between two looks at whether all clips are over; elsewhere a look stalls the device

Watch = Callable[[Tensor, Tensor, Tensor], None]  # (action, reward, done) of a step, before the restarts


def lanes(seconds: Sequence[float], number: int) -> list[list[int]]:
    """Divide clips of these lengths over environments that play theirs one after the other, about equally long."""
    queues: list[list[int]] = [[] for _ in range(number)]
    ends = [(0.0, lane) for lane in range(number)]
    for clip in sorted(range(len(seconds)), key=lambda clip: -seconds[clip]):
        end, lane = heapq.heappop(ends)
        queues[lane].append(clip)
        heapq.heappush(ends, (end + seconds[clip], lane))
    return queues


@torch.no_grad()
def play_clips(agent: Agent, env: ImitationEnv, clips: Sequence[int], watch: Watch) -> None:
    """Play ``clips`` (numbers in the env's set) once each with the deterministic policy.

    ``done [N]`` that ``watch`` sees is set where one of them has ended, and nowhere else.
    """
    assert env.reference is not None
    seconds = env.reference.library.lengths.tolist()
    queues = lanes([seconds[clip] for clip in clips], env.num_envs)
    table = torch.full((max(map(len, queues)) + 1, env.num_envs), -1, device=env.device)
    for lane, queue in enumerate(queues):
        table[: len(queue), lane] = torch.tensor([clips[place] for place in queue], device=env.device)
    turn = torch.zeros(1, env.num_envs, dtype=torch.int64, device=env.device)
    ids, step, stride = table[0].clone(), 0, _STRIDE.get(env.device.type, 16)

    def go_on() -> None:
        over = env.done != DONE_NULL
        turn.add_(over & (ids >= 0))
        ids.copy_(table.gather(0, turn)[0])
        env.play(ids.clamp(min=0), over)  # who has nothing left to play plays the first clip, unseen

    env.play(ids.clamp(min=0))
    action = env.action_low.new_zeros(env.num_envs, len(env.action_low))
    on_cuda = env.device.type == "cuda"
    advance = Repeated(lambda: env.step(action.copy_(agent.act(env.obs, deterministic=True))), env, on_cuda)
    following = Repeated(go_on, env, on_cuda)
    while step % stride or bool((ids >= 0).any()):
        advance()
        watch(action, env.reward, torch.where(ids >= 0, env.done, DONE_NULL))
        following()
        step += 1


class ClipMetrics:
    """Records how each clip went; nothing is read back from the device until :meth:`rows`."""

    def __init__(self, env: ImitationEnv) -> None:
        assert env.reference is not None
        self._env, self._library = env, env.reference.library
        number, device = self._library.num_motions, env.device
        self._running = torch.zeros(env.num_envs, len(_SUMS), dtype=torch.float64, device=device)
        # The last row takes what belongs to no clip.
        self._sums = torch.zeros(number + 1, len(_SUMS), dtype=torch.float64, device=device)
        self._failed = torch.zeros(number + 1, dtype=torch.bool, device=device)
        self._cause = torch.full((number + 1,), -1, device=device)
        self._causes: list[str] = []

    @torch.no_grad()
    def record(self, reward: Tensor, done: Tensor) -> None:
        """Add a step that ``env.latest`` shows; ``done [N]`` is set where a clip has ended that counts."""
        env, view = self._env, self._env.latest
        assert view is not None
        assert view.reference is not None
        errors = torch.nan_to_num(keypoint_errors(view.character, view.reference, env.tracked_bodies, env.anchor_body))
        step = torch.cat([torch.ones_like(reward).unsqueeze(-1), reward.unsqueeze(-1), errors], dim=-1)
        self._running += step
        over = done != DONE_NULL
        rows = torch.where(over, env.motion_ids, self._library.num_motions)
        self._sums[rows] = self._running
        self._failed[rows] = done == DONE_FAIL
        self._cause[rows] = self._why()
        self._running.masked_fill_((env.done != DONE_NULL).unsqueeze(-1), 0.0)

    def _why(self) -> Tensor:
        """The number of the first cause of failure in each environment ``[N]``, -1 without one."""
        masks = {name: mask for name, mask in self._env.causes.items() if name not in OTHER_ENDS or name == "diverged"}
        self._causes += [name for name in masks if name not in self._causes]
        found = torch.full_like(self._env.motion_ids, -1)
        for name, mask in masks.items():
            found = torch.where(mask & (found < 0), self._causes.index(name), found)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """A row of :data:`COLUMNS` for each clip, hardest first: by how far it got, then by how well."""
        library, dt = self._library, self._env.control_dt
        found = zip(
            library.names, library.splits, library.lengths.tolist(), self._sums.tolist(), self._failed.tolist(),
            self._cause.tolist(), strict=False,
        )  # fmt: skip
        rows = []
        for number, (name, split, seconds, (steps, total, *errors), failed, cause) in enumerate(found):
            whole = max(1, math.ceil(seconds / dt - 1e-3))  # steps of it
            means = [error / steps if steps else math.nan for error in errors]
            ended = steps * dt if failed else math.nan
            why = (self._causes[cause] if cause >= 0 else "unknown") if failed else ""
            progress = min(1.0, steps / whole) if failed else 1.0
            values = (name, not failed, progress, total, total / whole, *means, ended, why, seconds, split)
            rows.append({**dict(zip(COLUMNS, values, strict=True)), "id": number})
        return sorted(rows, key=lambda row: (row["progress"], row["success"], row["mean_reward"], -row["mpkpe"]))


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over clips, of all and of each split, if there are several."""
    found: dict[str, Any] = {name: _mean(rows, name) for name in ("progress", "mean_reward", *KEYPOINT_NAMES)}
    found["failed_clips"] = sum(not row["success"] for row in rows)
    splits = {split: [row for row in rows if row["split"] == split] for split in sorted({row["split"] for row in rows})}
    if len(splits) > 1:
        names = ("success", "progress", "return", "mean_reward", *KEYPOINT_NAMES)
        found["splits"] = {
            split: {"clips": len(members), **{name: _mean(members, name) for name in names}}
            for split, members in splits.items()
        }
    return found


def _mean(rows: Sequence[dict[str, Any]], name: str) -> float:
    values = [float(row[name]) for row in rows]
    return sum(values) / len(values)


def write_clips(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    """Write the rows as CSV, atomically; what is not known is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in columns])
    write_text_atomic(path, out.getvalue())


def write_sampling(path: Path, env: ImitationEnv) -> None:
    """Write as CSV what the sampler of starts says of each clip, the likeliest first; nothing where it says nothing."""
    found = env.sampler.of_clips() if env.sampler is not None else {}
    if not found or env.reference is None:
        return
    columns = ("clip", *found)
    values = zip(env.reference.library.names, *(tensor.tolist() for tensor in found.values()), strict=True)
    rows = [dict(zip(columns, row, strict=True)) for row in values]
    write_clips(path, sorted(rows, key=lambda row: -row[columns[1]]), columns)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(int(value)) if isinstance(value, bool) else str(value)
