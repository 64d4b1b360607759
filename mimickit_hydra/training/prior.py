"""Data and files of a diffusion prior, from the composed config."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.agents.prior import DiffusionPrior
from mimickit_hydra.agents.prior_config import (
    CONFIG_NAME,
    ENV_CONFIG_NAME,
    MODEL_NAME,
    PriorConfig,
    WindowSettings,
    parse_prior_config,
)
from mimickit_hydra.config.overrides import parse
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.envs.checks import body_indices
from mimickit_hydra.envs.disc_obs import AMPDiscObs, DemoSampler
from mimickit_hydra.envs.generative import decode_windows
from mimickit_hydra.envs.reference import ReferenceMotion
from mimickit_hydra.envs.schema import AMPEnvConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.files import write_atomic, write_text_atomic
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode, MotionClip
from mimickit_hydra.motion.dataset import run_clips
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.motion.rotations import quat_to_exp_map

PREFIX = "prior."
# MimicKit's settings for one clip; anything else is given on the command line.
SHIPPED: dict[str, Any] = {"model_ema": True}


def prior_config(run: RunConfig, settings: Sequence[str]) -> PriorConfig:
    """MimicKit's settings of a prior with ``prior.KEY=VALUE`` of ``settings`` laid over them."""
    words = {word.key.removeprefix(PREFIX): word for word in map(parse, settings)}
    given = {key: word.value if isinstance(word.value, bool) else word.typed for key, word in words.items()}
    values = {**SHIPPED, **given}
    values |= {"motion_file": run.env.motion_file, "control_freq": run.engine.control_freq}
    config = parse_prior_config(values, "prior")
    return dataclasses.replace(config, device=pick_device(config.device).type)


def pick_device(name: str) -> torch.device:
    """The device of a prior: for ``auto``, and for ``cuda`` where there is none, what this machine has."""
    if name == "auto" or (name.startswith("cuda") and not torch.cuda.is_available()):
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def window_sampler(run: RunConfig, device: torch.device) -> DemoSampler:
    """A sampler of the windows that the run's env would show an SMP agent; no simulator is involved."""
    env = run.env
    if not isinstance(env, AMPEnvConfig):
        raise UserError(f"env.env_name: {env.env_name} shows no motion windows; choose smp or a task of it")
    if not env.root_height_obs:
        raise UserError("env.root_height_obs: found false, but motion can be read from windows only with the height")
    character = CharacterModel.from_file(resolve_data_file(env.char_file, run.data_root), device=device)
    library = MotionLibrary.of_set(env.motion_file, run_clips(run), character, device)
    keys = torch.tensor(
        body_indices("env.key_bodies", env.key_bodies, character.body_names), dtype=torch.int64, device=device
    )
    disc_obs = AMPDiscObs(
        character.num_joints, character.num_dofs, len(keys),
        heading_frame=not env.global_obs, track_root=env.enable_tar_obs and env.global_obs,
        root_height=env.root_height_obs, dof_vel=env.disc_dof_vel_obs,
    )  # fmt: skip
    reference = ReferenceMotion(library, character, keys)
    return DemoSampler(reference, disc_obs, env.num_disc_obs_steps, 1.0 / run.engine.control_freq)


def write_prior_configs(folder: Path, config: PriorConfig, run: RunConfig) -> None:
    """The two configuration files of a prior, in MimicKit's form."""
    import yaml

    values = {**dataclasses.asdict(config), "env_config": str(folder / ENV_CONFIG_NAME)}
    for name, content in ((CONFIG_NAME, values), (ENV_CONFIG_NAME, dataclasses.asdict(run.env))):
        write_text_atomic(folder / name, yaml.safe_dump(content, sort_keys=False))


def save_prior(folder: Path, prior: DiffusionPrior) -> None:
    """Write ``model.pt``: tensors by name on the CPU; those with two names are stored once."""
    copies: dict[int, Tensor] = {}
    weights = {}
    for name, value in prior.state_dict().items():
        weights[name] = copies.setdefault(value.data_ptr(), value.detach().cpu())
    write_atomic(folder / MODEL_NAME, lambda file: torch.save(weights, file))


def windows_to_clips(
    samples: Tensor, window: WindowSettings, env: dict[str, Any], fps: float, data_root: Sequence[str] = ()
) -> list[MotionClip]:
    """Windows [n, L, C] in the units of the data as clips of the prior's character."""
    if not window.root_height_obs:
        raise UserError("env_config.yaml: root_height_obs: found false; motion can be read only with the height")
    char_file = resolve_data_file(str(env.get("char_file")), data_root)
    character = CharacterModel.from_file(char_file, device=samples.device)
    keys = body_indices("key_bodies", window.key_bodies, character.body_names)
    decoded = decode_windows(samples, character, torch.tensor(keys, device=samples.device), 1.0 / fps)
    root = torch.cat([decoded.state.root_pos, quat_to_exp_map(decoded.state.rotations[..., 0, :])], -1)
    frames = torch.cat([root, decoded.dof_pos], -1).cpu().numpy()
    return [MotionClip(motion, fps, LoopMode.CLAMP, f"motion_{index:03d}") for index, motion in enumerate(frames)]
