"""Build the parts of one process - character, motions, engine, env, agent - from the composed configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.comm import Comm
from mimickit_hydra.agents.registry import make_agent
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.schema import RunConfig, SMPAgentConfig
from mimickit_hydra.engines.interface import Engine
from mimickit_hydra.engines.registry import make_engine
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.envs.registry import build_scene, make_env
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.runtime.device_clock import DeviceClock
from mimickit_hydra.runtime.timers import Timers


@dataclass
class Parts:
    """Everything one process trains or tests with."""

    character: CharacterModel
    library: MotionLibrary | None  # None where the env has no reference motion
    engine: Engine
    env: ImitationEnv
    agent: Agent
    timers: Timers
    char_file: str

    def close(self) -> None:
        self.engine.close()


def build(run: RunConfig, comm: Comm, device: torch.device, *, num_envs: int | None = None) -> Parts:
    """Build this process's parts in the order of the data: character, motions, engine, env, agent."""
    with _collector_paused():
        return _build(run, comm, device, num_envs)


def _build(run: RunConfig, comm: Comm, device: torch.device, num_envs: int | None) -> Parts:
    timers = Timers(DeviceClock(device) if device.type == "cuda" else None)

    def resolve(path: str) -> Path:
        return resolve_data_file(path, run.data_root)

    char_file = str(resolve(run.env.char_file))
    character = CharacterModel.from_file(char_file, device=device)
    library = None
    if hasattr(run.env, "motion_file"):
        library = MotionLibrary.from_file(resolve(run.env.motion_file), character, device, resolve=resolve)
    scene = build_scene(run.env, char_file, resolve)
    engine = make_engine(
        _share_cores(run.engine, comm.world_size),
        scene,
        num_envs if num_envs is not None else run.num_envs,
        str(device),
    )
    env = make_env(run.env, engine, character, library, timers)
    agent = make_agent(_located(run), env, device, comm, timers, _update_threads(run, comm.world_size))
    return Parts(character, library, engine, env, agent, timers, char_file)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection: what is imported and built here stays, and looking it through doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _located(run: RunConfig) -> Any:
    """The agent's config, with files it names found in the data roots; the agent explains those that are missing."""
    if not isinstance(run.agent, SMPAgentConfig):
        return run.agent
    found: dict[str, Any] = {}
    for key in ("smp_prior_cfg", "smp_prior_model"):
        with contextlib.suppress(UserError):
            found[key] = str(resolve_data_file(getattr(run.agent, key), run.data_root))
    return dataclasses.replace(run.agent, **found)


SAMPLES_WORTH_THREADS = 2048  # a smaller update ends before its threads have met


def _update_threads(run: RunConfig, world_size: int) -> int:
    """Torch threads of an update on the CPU, while the physics rests."""
    if run.num_envs * run.agent.steps_per_iter < SAMPLES_WORTH_THREADS:
        return 1
    return max(1, available_cores() // world_size)


def _share_cores(engine: Any, world_size: int) -> Any:
    """Divide the cores among the processes of a CPU run, where the configuration leaves the number of threads open."""
    if getattr(engine, "num_threads", None) != 0:
        return engine
    return dataclasses.replace(engine, num_threads=max(1, available_cores() // world_size))


def available_cores() -> int:
    """Cores this process may use, which in a container or under Slurm is fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1
