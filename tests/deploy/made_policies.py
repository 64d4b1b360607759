"""Small policies of every method, with weights that move the character, as files and as what they were made of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.deploy.export import Export, Exported
from mimickit_hydra.distributed import Comm
from mimickit_hydra.training.build import Parts, build

SMALL = [
    "engine=mujoco", "num_envs=1", "engine.num_threads=1", "agent.steps_per_iter=2", "env.episode_length=1.0",
    "agent.model.actor_net=fc_2layers_128units", "rand_seed=3", "motion=humanoid_walk",
]  # fmt: skip
FURTHER = {
    "supermimic": ["agent.buffer_steps=64"],
    "ase": ["agent.latent_time_min=100", "agent.latent_time_max=100", "env.default_reset_prob=0"],
}
METHODS = ("deepmimic", "amp", "ase", "add", "awr", "lcp", "tracking", "supermimic")


class Made(NamedTuple):
    path: Path
    parts: Parts
    export: Export
    done: Exported


@contextlib.contextmanager
def policy(method: str, folder: Path, *words: str) -> Iterator[Export]:
    """The export of an untrained policy whose normaliser has seen a few states."""
    run = to_run(compose([f"method={method}", *SMALL, *FURTHER.get(method, []), *words]))
    torch.manual_seed(0)
    with build(run, Comm(), torch.device("cpu"), num_envs=1) as parts:
        _stir(parts)
        checkpoint = folder / "checkpoints" / "best.pt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.touch()
        yield Export(parts, run, 0, checkpoint)


@torch.no_grad()
def _stir(parts: Parts) -> None:
    """Actions of some size that depend on the state, and statistics of states near the start."""
    agent, env = parts.agent, parts.env
    for name, weight in agent.net.named_parameters():
        if name.endswith(("_mean_net.weight", "policy.2.weight")):
            weight.normal_(0.0, 0.03)
    env.set_mode(True)
    states = []
    for _ in range(20):
        env.reset()
        states.append(env.obs.clone())
    rows = torch.cat(states)
    agent.obs_norm._mean.copy_(rows.mean(0))
    agent.obs_norm._std.copy_(rows.std(0).clamp(min=0.1))
    agent.obs_norm.rebuild()


@contextlib.contextmanager
def made(method: str, folder: Path, *words: str, form: str = "obs", precision: str = "float32") -> Iterator[Made]:
    """A file, and what it was made of."""
    with policy(method, folder, *words) as export:
        path = folder / "policy.onnx"
        yield Made(path, export.parts, export, export.write(path, form, precision, states=100))
