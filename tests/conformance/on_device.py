"""An engine on a GPU, seen from the CPU, so that one suite of CPU tensors fits every engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from mimickit_hydra.engines.interface import Engine, ObjectState, ResetState


class OnDevice(Engine):
    """Sends what it is given to the engine's device, and keeps CPU copies of its states."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.name, self.num_envs, self.control_mode = inner.name, inner.num_envs, inner.control_mode
        self.control_dt, self.sim_dt, self.models = inner.control_dt, inner.sim_dt, inner.models
        self.device = torch.device("cpu")
        self.states = [ObjectState(**{k: v.cpu().clone() for k, v in vars(state).items()}) for state in inner.states]
        self.diverged = inner.diverged.cpu().clone()

    def _fetch(self) -> None:
        for mine, theirs in zip(self.states, self.inner.states, strict=True):
            for name, tensor in vars(mine).items():
                tensor.copy_(getattr(theirs, name))
        self.diverged.copy_(self.inner.diverged)

    def _there(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.inner.device)

    def _state_there(self, state: ResetState) -> ResetState:
        return ResetState(**{field.name: self._there(getattr(state, field.name)) for field in fields(state)})

    def set_command(self, command: torch.Tensor, obj: int = 0) -> None:
        self.inner.set_command(self._there(command), obj)

    def set_body_force(self, body: int, force: torch.Tensor, obj: int = 0) -> None:
        self.inner.set_body_force(body, self._there(force), obj)

    def step(self) -> None:
        self.inner.step()
        self._fetch()

    def reset(self, mask: torch.Tensor, states: Mapping[int, ResetState]) -> None:
        self.inner.reset(self._there(mask), {k: self._state_there(state) for k, state in states.items()})
        self._fetch()

    def place(self, obj: int, mask: torch.Tensor, state: ResetState) -> None:
        self.inner.place(obj, self._there(mask), self._state_there(state))
        self._fetch()

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state)
        self._fetch()

    def warnings(self) -> list[str]:
        return self.inner.warnings()

    def close(self) -> None:
        self.inner.close()
