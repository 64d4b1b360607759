"""Histories: the last frames of every environment, and the discriminator observation made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mimickit_hydra.envs.disc_obs import DiscObs
from mimickit_hydra.envs.parts import Part
from mimickit_hydra.envs.rows import ALL, Rows
from mimickit_hydra.envs.starts import Start
from mimickit_hydra.envs.state import CharacterState, View


class History(Part):
    """``H`` frames of the character, or of its reference, ending now; ``info[name]`` ``[N, H * S]`` is their view.

    An episode begins with the motion that led to its start, so that no observation holds an empty frame. Frames move
    up by one a step in a buffer of fixed shape: no ring index, nothing that the host has to know.
    """

    def __init__(
        self,
        name: str,
        disc_obs: DiscObs,
        num_steps: int,
        num_envs: int,
        device: torch.device,
        *,
        of_reference: bool = False,
        starts: Sequence[Start] = (),
    ) -> None:
        self._name = name
        self._disc_obs = disc_obs
        self._of_reference = of_reference
        self._starts = list(starts)
        self._frames = torch.zeros(num_envs, num_steps, disc_obs.feature_size, device=device)
        self._obs = torch.zeros(num_envs, num_steps * disc_obs.step_size, device=device)

    def restart(self, view: View, rows: Rows) -> None:
        assert view.past is not None
        past = self._disc_obs.features(view.past)
        if self._starts:
            now = self._disc_obs.features(self._source(view))
            for start in self._starts:
                past = start.history(past, now)
        rows.put(self._frames, past)

    def update(self, view: View) -> None:
        newest = self._disc_obs.features(self._source(view)).unsqueeze(1)
        if self._frames.shape[1] == 1:
            self._frames.copy_(newest)
        else:
            self._frames.copy_(torch.cat([self._frames[:, 1:], newest], dim=1))

    def publish(self, view: View, rows: Rows) -> None:
        rows.put(self._obs, self._disc_obs.observe(rows.take(self._frames)))
        if rows is ALL and view.diverged is not None:
            self._obs.masked_fill_(view.diverged.unsqueeze(-1), 0.0)

    def info(self) -> dict[str, Tensor]:
        return {self._name: self._obs}

    def _source(self, view: View) -> CharacterState:
        if not self._of_reference:
            return view.character
        assert view.reference is not None
        return view.reference

    def state_dict(self) -> dict[str, Tensor]:
        return {"frames": self._frames.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._frames.copy_(state["frames"])
