"""What the terms of an env make of imagined states: observations, rewards and how near a failure is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mimickit_hydra.agents.world_model.tangent import StateLayout
from mimickit_hydra.envs.imitation import CHARACTER, ImitationEnv
from mimickit_hydra.envs.parts import Part
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.terms import Rewards
from mimickit_hydra.errors import UserError

_MEMORY = ("start", "reset_objects", "before_physics", "restart", "update", "state_dict")  # hooks of what remembers
_WHO = "method=supermimic imagines what its env shows and pays"


class Imagination:
    """The env's own terms on states that no simulator has made; differentiable as far as the terms are.

    Terms must be functions of the state, the reference and the last two actions. Contact forces are unknown here: a
    termination that needs them is left to the world model's failure head, and a reward is not imagined at all.

    Attributes: ``own`` and ``shown`` are the columns of the observation that depend on the state and those that show
    the reference alone; ``of_reference`` are the columns that tell of the reference at all, those of each term, the
    fewest first, and those of all; ``margins`` says whether every termination says itself how near it is.
    """

    def __init__(self, env: ImitationEnv, layout: StateLayout) -> None:
        """UserError for an env that shows its agent, or pays it for, more than states tell."""
        if not isinstance(env, ImitationEnv) or env.reference is None or env._reward is None:
            raise UserError(f"{_WHO}, and this one has no reference or no reward of its own; choose env=deepmimic")
        for part in env.parts:
            if not part.imaginable and any(getattr(type(part), hook) is not getattr(Part, hook) for hook in _MEMORY):
                name = getattr(part, "name", "") or type(part).__name__
                raise UserError(f"{_WHO}, and {name} remembers more than a state tells; leave it out")
            if min(part.target_steps, default=0) < 0:
                raise UserError(f"{_WHO}, and a term looks at the past of the reference; leave it out")
        if env.sensing.line is not None or env.sensing.frames is not None:
            raise UserError(f"{_WHO}, and this one shows the past: leave out the delay or the history of observations")
        self._env, self._layout = env, layout
        self._showing = [part for part in env.parts if part.obs_size and not part.privileged]
        self.own, self.shown, self.of_reference = self._columns()
        self._order = torch.argsort(torch.cat([self.own, self.shown]))
        self._failing = [part for part in env.parts if getattr(part, "role", "") == "terminations"]
        self._reward = env._reward
        self._forces = torch.full((1, env.character.num_bodies, 3), torch.nan, device=env.device)
        self.margins = self._check()
        self._forces.zero_()

    def _columns(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        own, shown, told, first = list[int](), list[int](), list[list[int]](), 0
        for part in self._showing:
            columns = list(range(first, first + part.obs_size))
            (shown if part.of_reference else own).extend(columns)
            if part.of_reference or part.follows_reference:
                told.append(columns)
            first += part.obs_size
        told = [*sorted(told, key=len), [column for columns in told for column in columns]]
        to = partial(torch.tensor, dtype=torch.int64, device=self._env.device)
        return to(own), to(shown), [to(columns) for columns in told]

    def _check(self) -> bool:
        """Whether all terminations can be imagined; UserError where an observation needs contact forces."""
        env = self._env
        ids, time = (torch.zeros(1, dtype=kind, device=env.device) for kind in (torch.int64, torch.float32))
        frame = env.reference.library.query(ids, time)  # type: ignore[union-attr]
        pose = env.character.rot_to_dof(frame.joint_rot)
        state = self._layout.pack(
            frame.root_pos, frame.root_rot, frame.root_vel, frame.root_ang_vel, pose, frame.dof_vel
        )
        view = self.view(state, ids, time, env.glimpses(ids, time, 1)(0, 1), env.action_low[None], env.action_low[None])
        if not bool(torch.isfinite(self.observe(view)).all()):
            raise UserError(
                f"{_WHO}, and an observation looks at contact forces, which are no part of a state; leave it out"
            )
        self._reward = self._imaginable(view)
        return all(part.margin(view) is not None for part in self._failing)

    def _imaginable(self, view: View) -> Any:
        """The env's reward as far as states tell it; UserError if the env's own needs contact forces."""
        reward = self._env._reward
        if isinstance(reward, Rewards):
            blind = [term for term in reward.terms if not bool(torch.isfinite(term.each(view)).all())]
            if blind:
                names = ", ".join(f"env.rewards.{term.name}" for term in blind)
                print(f"note: {names}: of contact forces, which are not imagined; the policy does not learn from it",
                      file=sys.stderr)  # fmt: skip
            reward = reward.without(blind)
        assert reward is not None
        if not bool(torch.isfinite(reward(view)).all()):
            raise UserError(f"{_WHO}, and the reward looks at contact forces, which are no part of a state")
        return reward

    @property
    def control_dt(self) -> float:
        """s, of a step."""
        return self._env.control_dt

    def glimpses(self, ids: Tensor, time: Tensor, count: int) -> Callable[[int, int], Any]:
        """See :meth:`ImitationEnv.glimpses`."""
        return self._env.glimpses(ids, time, count)

    def view(self, state: Tensor, ids: Tensor, time: Tensor, glimpse: Any, action: Tensor, last_action: Tensor) -> View:
        """The moment of states ``[n, X]`` at times ``[n]`` (s) of clips ``[n]``; see :meth:`ImitationEnv.imagined`."""
        env = self._env
        character = self._layout.character_state(state, env._key_bodies)
        forces = self._forces.expand(len(ids), -1, -1)
        return env.imagined(character, ids, time, glimpse, action, last_action, forces)

    def observe(self, view: View, of_reference: bool | None = None) -> Tensor:
        """The raw observation ``[n, .]``: all of it, its ``shown`` columns alone, or its ``own``."""
        parts = [part for part in self._showing if of_reference is None or part.of_reference == of_reference]
        blocks = [block for part in parts for block in part.observe(view, view.rows)]
        return torch.cat(blocks, dim=-1) if blocks else view.time.new_zeros(len(view.time), 0)

    def joined(self, own: Tensor, shown: Tensor) -> Tensor:
        """The whole observation ``[..., O]`` of its two kinds of columns."""
        return torch.cat([own, shown], dim=-1).index_select(-1, self._order)

    def judge(self, view: View) -> tuple[Tensor, Tensor]:
        """Rewards and log-probabilities to go on ``[n]``.

        What terminations say themselves counts (``Part.margin``); an episode ends where its clip does, if that ends it.
        """
        reward = self._reward(view)
        alive = torch.zeros_like(reward)
        if self._env._clip_end == "success":
            alive = torch.where(view.motion_time >= view.clip_end, -1e4, alive)
        for part in self._failing:
            margin = part.margin(view)
            if margin is not None:
                alive = alive + functional.logsigmoid(margin)
        return reward, alive


def engine_state(env: ImitationEnv, layout: StateLayout) -> Tensor:
    """The states ``[N, X]`` of all environments in the simulator now."""
    state = env.engine.states[CHARACTER]
    return layout.pack(state.root_pos, state.root_rot, state.root_vel, state.root_ang_vel, state.dof_pos, state.dof_vel)
