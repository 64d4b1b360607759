"""From what is to what is seen: noise, delay and history of observations, and the delay of commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.envs.rows import ALL, Rows


def spread(u: Tensor, half_widths: Tensor) -> Tensor:
    """Uniform numbers ``u [n, k]`` in [0, 1) moved to within ``half_widths [k]``, or ``[n, k]``, of zero."""
    return (2.0 * u - 1.0) * half_widths


class DelayLine:
    """The last values of ``[N, width]``, from which values of some time ago are read."""

    def __init__(self, num_envs: int, width: int, steps: float, device: Any) -> None:
        """``steps``: the longest delay."""
        self.values = torch.zeros(num_envs, int(-(-steps // 1)) + 1, width, device=device)  # the newest first

    def put(self, rows: Rows, value: Tensor, first: bool) -> None:
        """Take in ``value [n, width]`` of the rows; ``first``: as if it had always been so."""
        if first:
            rows.put(self.values, value.unsqueeze(1).expand(-1, self.values.shape[1], -1))
        else:
            before = rows.take(self.values)[:, :-1]
            rows.put(self.values, torch.cat([value.unsqueeze(1), before], dim=1))

    def read(self, rows: Rows, steps: Tensor) -> Tensor:
        """The values ``[n, width]`` of ``steps [N]`` ago, between two of them in proportion."""
        values, ago = rows.take(self.values), rows.take(steps)
        whole = ago.floor()
        share = (ago - whole).unsqueeze(-1)
        newer, older = (
            values.gather(1, index.clamp(max=values.shape[1] - 1).view(-1, 1, 1).expand(-1, 1, values.shape[2]))
            for index in (whole.long(), whole.long() + 1)
        )
        return newer[:, 0] + share * (older[:, 0] - newer[:, 0])


@dataclass(frozen=True)
class Channel:
    """One term in an observation."""

    name: str
    size: int
    noise: Any = 0.0  # half width of uniform noise, or one for each of its numbers
    delayed: bool = False
    history: int = 1


class Sensing:
    """Makes an observation ``[n, size]`` of readings ``[n, M]``: noise is added, some come late, some with the past.

    Each term's readings stand together, the oldest first; after a reset all are the first one.
    """

    def __init__(self, channels: Sequence[Channel], num_envs: int, device: Any, delay_steps: float = 0.0) -> None:
        self.channels = list(channels)
        self._num_envs = num_envs
        widths = torch.cat([torch.as_tensor(one.noise, dtype=torch.float32).expand(one.size) for one in channels])
        columns = torch.nonzero(widths).squeeze(-1)
        self._noisy, self._widths = columns.to(device), widths[columns].to(device)
        late = torch.cat([torch.full((one.size,), one.delayed) for one in channels])
        self._late = torch.nonzero(late).squeeze(-1).to(device)
        self.line = DelayLine(num_envs, len(self._late), delay_steps, device) if delay_steps and late.any() else None
        longest = max(one.history for one in channels)
        self.frames = torch.zeros(num_envs, longest, len(widths), device=device) if longest > 1 else None
        self.layout = self._places(longest, len(widths)).to(device)
        self.size = len(self.layout)

    @property
    def idle(self) -> bool:
        """Whether observations are the readings themselves."""
        return not len(self._noisy) and self.line is None and self.frames is None

    def _places(self, longest: int, width: int) -> Tensor:
        """Where each number of the observation is among all frames, which follow one another."""
        found, start = [], 0
        for one in self.channels:
            own = torch.arange(start, start + one.size)
            found += [width * frame + own for frame in range(longest - one.history, longest)]
            start += one.size
        return torch.cat(found)

    def __call__(self, reading: Tensor, rows: Rows, first: bool, noise: Any, delay: Tensor | None) -> Tensor:
        """``first``: these rows begin an episode. ``noise``: None for none, or its scale. ``delay [N]`` in steps."""
        if noise is not None and len(self._noisy):
            drawn = spread(torch.rand(self._num_envs, len(self._noisy), device=reading.device), self._widths)
            drawn = drawn if isinstance(noise, float) and noise == 1.0 else drawn * noise
            reading = reading.index_add(1, self._noisy, rows.take(drawn))
        if self.line is not None and delay is not None:
            self.line.put(rows, reading.index_select(1, self._late), first)
            reading = reading.index_copy(1, self._late, self.line.read(rows, delay))
        if self.frames is None:
            return reading
        if first or rows is not ALL:
            rows.put(self.frames, reading.unsqueeze(1).expand(-1, self.frames.shape[1], -1))
        else:
            self.frames.copy_(torch.cat([self.frames[:, 1:], reading.unsqueeze(1)], dim=1))
        return rows.take(self.frames).flatten(1).index_select(1, self.layout)

    def buffers(self) -> dict[str, Tensor]:
        """What an exact continuation needs."""
        found = {} if self.line is None else {"late": self.line.values}
        return found if self.frames is None else {**found, "frames": self.frames}
