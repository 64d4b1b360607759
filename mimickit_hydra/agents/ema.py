"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class AveragedModel(nn.Module):
    """``ema_model`` follows ``model``: a copy at first, then its average over every ``every``-th call.

    ``step`` counts the calls and stands in a checkpoint, as do both networks.
    """

    step: Tensor

    def __init__(self, model: nn.Module, decay: float, every: int, update_after: int) -> None:
        super().__init__()
        self.decay = decay
        self.every = every
        self.update_after = update_after
        self._calls = 0  # ``step`` for the host
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.model = model
        self.ema_model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after a step of the optimiser into the average."""
        calls = self._calls
        self._calls += 1
        self.step += 1
        if calls % self.every != 0:
            return
        if calls <= self.update_after:
            self.ema_model.load_state_dict(self.model.state_dict())
            return
        for average, value in zip(self.ema_model.parameters(), self.model.parameters(), strict=True):
            average.lerp_(value, 1.0 - self.decay)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._calls = int(self.step)
