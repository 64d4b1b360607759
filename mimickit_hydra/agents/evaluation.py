"""Test rollouts: the deterministic policy's return, measured without leaving a trace in the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mimickit_hydra.agents import metrics, state
from mimickit_hydra.agents.comm import Comm
from mimickit_hydra.agents.returns import ReturnTracker, mean_episode
from mimickit_hydra.envs.done import DONE_NULL

if TYPE_CHECKING:
    from mimickit_hydra.envs.env import Env

Policy = Callable[[Tensor], Tensor]  # raw obs [N, O] -> environment action [N, A]
ShouldStop = Callable[[], bool]
TestCallback = Callable[[int, Tensor, Tensor, Tensor, Tensor], None]  # (step, obs, action, reward, done)

_ACCELERATOR_STRIDE = 8  # steps between two looks at whether a test is over, where a look stalls the device


def no_test() -> dict[str, float]:
    return {"Test_Return": 0.0, "Test_Episode_Length": 0.0, "Test_Episodes": 0}


@torch.no_grad()
def run_test(
    env: Env,
    policy: Policy,
    comm: Comm,
    device: torch.device,
    episodes: int,
    callback: TestCallback | None = None,
    should_stop: ShouldStop | None = None,
) -> dict[str, float]:
    """Run ``policy`` until every environment has ended its share of ``episodes``.

    Every environment ends at least ceil(ceil(episodes / processes) / N), so that short episodes are not favoured;
    further ones of fast environments count too. ``callback`` sees each step before the resets. Once ``should_stop``
    says so the rollout ends early, and the numbers are those of the episodes until then. Returns ``Test_Return``,
    ``Test_Episode_Length``, ``Test_Episodes`` over all processes, and the env's diagnostics.
    """
    with undisturbed(env, device):
        env.set_mode(True)
        try:
            tracker = _rollout(env, policy, device, _share(env, comm, episodes), callback, should_stop)
            scalars = {name: value.double().mean() for name, value in env.diagnostics().items()}
        finally:
            env.set_mode(False)
        means, sums = metrics.read(scalars, tracker.sums, comm)
    mean_return, mean_length, count = mean_episode(sums)
    return {"Test_Return": mean_return, "Test_Episode_Length": mean_length, "Test_Episodes": count, **means}


@contextmanager
def undisturbed(env: Env, device: torch.device) -> Iterator[None]:
    """Whatever happens inside, the environments and torch's random generators are afterwards as they were before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        before, obs = state.clone(env.state_dict()), env.obs.clone()
        try:
            yield
        finally:
            env.load_state_dict(before)
            env.obs.copy_(obs)


def _share(env: Env, comm: Comm, episodes: int) -> int:
    """Episodes that each environment has to end."""
    return math.ceil(math.ceil(episodes / comm.world_size) / env.num_envs)


def _rollout(
    env: Env,
    policy: Policy,
    device: torch.device,
    episodes_per_env: int,
    callback: TestCallback | None,
    should_stop: ShouldStop | None = None,
) -> ReturnTracker:
    stride = 1 if device.type == "cpu" else _ACCELERATOR_STRIDE
    tracker = ReturnTracker(env.num_envs, device)
    env.reset()
    step = 0
    while step % stride or int(tracker.episodes.min()) < episodes_per_env:
        if should_stop is not None and should_stop():
            break
        action = policy(env.obs)
        obs, reward, done, _ = env.step(action)
        tracker.add(reward, done)
        if callback is not None:
            callback(step, obs, action, reward, done)
        env.reset(done != DONE_NULL)
        step += 1
    return tracker
