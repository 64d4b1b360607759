"""Test rollouts that measure the deterministic policy and leave the training undisturbed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mimickit_hydra.agents import metrics, state
from mimickit_hydra.agents.graph import Repeated
from mimickit_hydra.agents.returns import ReturnTracker, mean_episode
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.done import DONE_NULL
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
    further ones of fast environments count too. Where the env can step some environments alone (on a CPU), no more than
    ceil(episodes / processes) of them act, and each rests once it has ended its share. ``callback`` sees each step
    before the resets. Once ``should_stop`` says so the rollout ends early, and the numbers are those of the episodes
    until then. Returns ``Test_Return``, ``Test_Episode_Length``, ``Test_Episodes`` over all processes, and the env's
    diagnostics.
    """
    with undisturbed(env, device):
        env.set_mode(True)
        try:
            tracker = _rollout(env, policy, device, math.ceil(episodes / comm.world_size), callback, should_stop)
            scalars = {name: value.double().mean() for name, value in env.diagnostics().items()}
        finally:
            env.step_only(None)
            env.set_mode(False)
        means, sums = metrics.read(scalars, tracker.sums, comm)
    mean_return, mean_length, count = mean_episode(sums)
    return {"Test_Return": mean_return, "Test_Episode_Length": mean_length, "Test_Episodes": count, **means}


@contextmanager
def undisturbed(env: Env, device: torch.device) -> Iterator[None]:
    """Context that puts the environments and torch's random generators back as they were before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        before, obs = state.clone(env.state_dict()), env.obs.clone()
        try:
            yield
        finally:
            env.load_state_dict(before)
            env.obs.copy_(obs)


def _rollout(
    env: Env,
    policy: Policy,
    device: torch.device,
    episodes: int,
    callback: TestCallback | None,
    should_stop: ShouldStop | None = None,
) -> ReturnTracker:
    stride = 1 if device.type == "cpu" else _ACCELERATOR_STRIDE
    tracker = ReturnTracker(env.num_envs, device)
    narrowed = False
    share = torch.full_like(tracker.episodes, math.ceil(episodes / env.num_envs))
    if device.type == "cpu":
        acting = torch.arange(env.num_envs) < episodes
        if narrowed := env.step_only(acting):
            share *= acting
    env.reset()
    on_cuda = device.type == "cuda"
    action = env.action_low.new_zeros(env.num_envs, len(env.action_low))
    advance = Repeated(lambda: env.step(action.copy_(policy(env.obs))), env, on_cuda)
    restart = Repeated(lambda: env.reset(env.done != DONE_NULL), env, on_cuda)
    step = 0
    while step % stride or bool((tracker.episodes < share).any()):
        if should_stop is not None and should_stop():
            break
        advance()
        tracker.add(env.reward, env.done)
        if callback is not None:
            callback(step, env.obs, action, env.reward, env.done)
        restart()
        if narrowed:
            env.step_only(tracker.episodes < share)
        step += 1
    return tracker
