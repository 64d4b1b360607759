"""Builds the parts of one process from the composed config: character, motions, engine, env, agent."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.prior_config import CONFIG_NAME
from mimickit_hydra.agents.registry import make_agent
from mimickit_hydra.agents.schema import SMPAgentConfig
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.device_clock import DeviceClock
from mimickit_hydra.distributed import Comm
from mimickit_hydra.engines.catalog import available_cores
from mimickit_hydra.engines.interface import Engine, SceneSpec
from mimickit_hydra.engines.registry import make_engine
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.envs.registry import make_env
from mimickit_hydra.envs.scene import build_scene
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.dataset import run_clips
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.timers import Timers
from mimickit_hydra.waiting import waiting_for


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
    scene: SceneSpec

    def close(self) -> None:
        """End the engine, and the process or GPU context that it holds."""
        self.engine.close()

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
        library = MotionLibrary.of_set(run.env.motion_file, run_clips(run), character, device)
    scene = build_scene(run.env, char_file, resolve, gains=run.character.gains)
    with waiting_for(f"engine={run.engine.engine_name} to start (the first time it compiles its kernels)", first=10.0):
        engine = make_engine(
            _share_cores(run.engine, comm.world_size),
            scene,
            num_envs if num_envs is not None else run.num_envs,
            str(device),
        )
    env = make_env(run.env, engine, character, library, timers)
    agent = make_agent(_located(run.agent, resolve), env, device, comm, timers, _update_threads(run, comm.world_size))
    return Parts(character, library, engine, env, agent, timers, char_file, scene)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Context without garbage collection: what is imported and built stays, and looking it through doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _located(agent: Any, resolve: Callable[[str], Path]) -> Any:
    """The agent's config with the files of a prior found in the data roots; the one may lie beside the other."""
    if not isinstance(agent, SMPAgentConfig):
        return agent

    def find(key: str) -> str:
        try:
            return str(resolve(getattr(agent, key)))
        except UserError as error:
            raise UserError(f"agent.{key}: {error}; train a prior with: mimickit prior train DIR") from None

    model = find("smp_prior_model")
    try:
        config = find("smp_prior_cfg")
    except UserError:
        config = str(Path(model).with_name(CONFIG_NAME))  # where mimickit prior train puts it
        if not os.path.isfile(config):
            raise
    return dataclasses.replace(agent, smp_prior_model=model, smp_prior_cfg=config)


SAMPLES_WORTH_THREADS = 2048  # a smaller update ends before its threads have met


def _update_threads(run: RunConfig, world_size: int) -> int:
    """The number of torch threads for an update on the CPU, while the physics rests."""
    if run.num_envs * run.agent.steps_per_iter < SAMPLES_WORTH_THREADS:
        return 1
    return max(1, available_cores() // world_size)


def _share_cores(engine: Any, world_size: int) -> Any:
    """The engine's config with the cores divided among the processes of a CPU run, unless it states its threads."""
    if getattr(engine, "num_threads", None) != 0:
        return engine
    return dataclasses.replace(engine, num_threads=max(1, available_cores() // world_size))
