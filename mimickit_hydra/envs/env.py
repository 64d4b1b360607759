"""The interface between a learning agent and an environment."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mimickit_hydra.distributed import Comm


class Env(abc.ABC):
    """``N`` environments stepped together, driven in physical actions.

    ``obs``, ``reward``, ``done`` and the tensors of ``info`` are the same objects for the life of the environment:
    ``step`` and ``reset`` overwrite them, so whoever keeps a value copies it. Nothing restarts by itself: the caller
    resets the environments whose ``done`` is set, after copying their last observation.
    """

    num_envs: int
    obs_size: int
    action_low: Tensor  # [A]
    action_high: Tensor  # [A]
    control_dt: float  # s, one step
    device: torch.device
    obs: Tensor  # [N, obs_size] float32
    reward: Tensor  # [N] float32
    done: Tensor  # [N] int32, see envs.done
    info: dict[str, Tensor]
    critic_obs: Tensor | None = None  # [N, C] float32, what a value function may see instead of ``obs``
    bounded: bool = True  # whether actions are held within ``action_low`` and ``action_high``
    has_reward: bool = True  # False where it stays 0, because the agent makes the reward
    on_step: Callable[[], None] | None = None  # called after each step, before any reset, by whoever watches

    @abc.abstractmethod
    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Restart the environments where ``mask`` ``[N]`` (bool) is set, all without one; returns ``obs``."""

    @abc.abstractmethod
    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Clip ``action`` ``[N, A]`` to the bounds, advance by ``control_dt``; returns (obs, reward, done, info)."""

    def step_only(self, rows: Tensor | None) -> bool:
        """Step the environments of ``rows`` ``[N]`` (bool) alone from now on, and all again with None.

        The others rest: they keep their states, earn nothing, do not end, and count in no diagnostics. Returns False,
        and goes on with all, where that saves nothing.
        """
        return rows is None

    @abc.abstractmethod
    def set_mode(self, test: bool) -> None:
        """Switch between training and testing. Entering the test mode restarts the diagnostics."""

    def graph_key(self) -> tuple[bool, ...]:
        """Python values that decide what a step or a reset does; a captured rollout is captured anew for each."""
        return ()

    @abc.abstractmethod
    def diagnostics(self) -> dict[str, Tensor]:
        """Live scalars worth logging, by name; they keep the values of the last test until the next one."""

    def iteration_over(self, comm: Comm) -> dict[str, Tensor]:
        """Join over all processes what was learned about starts; returns scalars of training to log, by name."""
        return {}

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Everything, the engine included, that an exact continuation needs, as CPU tensors.

        Random numbers come from torch's default generators, whose state the checkpoint holds beside this.
        """

    @abc.abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore :meth:`state_dict`, into the same buffers. EnvError if it is of another environment."""
