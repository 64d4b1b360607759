"""Builds envs by name."""

from __future__ import annotations

from typing import Any

import torch

from mimickit_hydra.engines.interface import Engine, ObjectModel
from mimickit_hydra.envs.actions import action_bounds
from mimickit_hydra.envs.builder import build_imitation, needed, seen_by_critic
from mimickit_hydra.envs.checks import body_indices, check_length
from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.imitation import CHARACTER, ImitationEnv
from mimickit_hydra.envs.parts import Part, World
from mimickit_hydra.envs.playback import DofSweep, EveryClip, PlaybackEnv, one
from mimickit_hydra.envs.playback_schema import ViewMotionEnvConfig
from mimickit_hydra.envs.schema import CharEnvConfig
from mimickit_hydra.envs.starts import DefaultPose, default_pose
from mimickit_hydra.envs.terms import observed, registered, with_terms
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.plugins import ENVS

REPEATS_SHOWN = 5.0  # of a clip that repeats


def make_env(
    config: CharEnvConfig, engine: Engine, character: CharacterModel, library: MotionLibrary | None, timers: Any = None
) -> ImitationEnv:
    """Build the env ``config.env_name`` on the engine of :func:`scene.build_scene`; UserError if it cannot be built.

    ``library`` may be None for the envs without a reference motion, ``char`` and ``char_dof_test``.
    """
    entry = ENVS[config.env_name]
    _check_engine_matches(engine.models[CHARACTER], character)
    check_length("env.init_pose", config.init_pose, (0, 3, 6 + character.num_dofs), "(position, or position and DoFs)")
    build: Any = build_imitation if entry.facts.get("task") else entry.load()
    env: ImitationEnv = build(config, engine, character, library, timers)
    return env


def build_plain(
    config: CharEnvConfig, engine: Engine, character: CharacterModel, library: MotionLibrary | None, timers: Any
) -> ImitationEnv:
    """Build ``char`` or ``char_dof_test``: a character, no reference, reward 1."""
    device = torch.device(engine.device)
    bounds = action_bounds(engine.models[CHARACTER], engine.control_mode, config.zero_center_action)
    keys = _key_bodies(config, character, device)
    pose = default_pose(config.init_pose, character.num_dofs, device)
    world = World(engine, character, None, len(keys), default=pose.dof_pos[0], bounds=bounds)
    character_obs = _character_obs(config, world)
    character_obs.privileged = not config.state_estimation
    parts: list[Part] = [character_obs, DefaultPose(pose, engine.num_envs)]
    length = config.episode_length
    if config.env_name == "char_dof_test":
        sweep = DofSweep(bounds[0].to(device), bounds[1].to(device), engine.num_envs)
        parts.append(sweep)
        length = sweep.duration
    parts, reward = with_terms(config, world, parts, one)
    parts += observed(config, world, "critic_observations")
    return ImitationEnv(
        engine, character, None, keys, bounds, parts, reward,
        critic=seen_by_critic(config, parts), episode_length=length, timers=timers,
    )  # fmt: skip


def build_view_motion(
    config: ViewMotionEnvConfig, engine: Engine, character: CharacterModel, library: MotionLibrary | None, timers: Any
) -> ImitationEnv:
    """Build the env in which the environments play the clips of the library in turn."""
    library = needed(config, library)
    device = torch.device(engine.device)
    keys = _key_bodies(config, character, device)
    reference = EveryClip(library, character, keys)
    ids, _ = reference.draw(engine.num_envs)
    loops = torch.where(torch.isinf(reference.clip_end), REPEATS_SHOWN, 1.0)
    world = World(engine, character, library, len(keys))
    parts, reward = with_terms(config, world, [_character_obs(config, world)], one)
    return PlaybackEnv(
        engine, character, reference, keys,
        action_bounds(engine.models[CHARACTER], engine.control_mode, config.zero_center_action),
        parts,
        reward,
        episode_length=(loops * library.lengths.to(device))[ids],
        clip_end=None,
        timers=timers,
    )  # fmt: skip


def _character_obs(config: CharEnvConfig, world: World) -> Part:
    frame = {"global_obs": config.global_obs, "root_height": config.root_height_obs}
    return registered(world, "observations", "character", frame)


def _key_bodies(config: CharEnvConfig, character: CharacterModel, device: torch.device) -> torch.Tensor:
    keys = body_indices("env.key_bodies", config.key_bodies, character.body_names)
    return torch.tensor(keys, dtype=torch.int64, device=device)


def _check_engine_matches(model: ObjectModel, character: CharacterModel) -> None:
    """EnvError unless the engine has the character's bodies in its order, by which every tensor is indexed."""
    ours, theirs = list(character.body_names), list(model.body_names)
    for i in range(max(len(ours), len(theirs))):
        a, b = (names[i] if i < len(names) else "nothing" for names in (ours, theirs))
        if a != b:
            raise EnvError(f"env.char_file: body {i} is {a!r} in the character but {b!r} in the engine's model")
    widths = [int(d) for d in character.dof_dim]
    for i, (width, found) in enumerate(zip(widths, model.dof_dims, strict=True)):
        if width != int(found):
            raise EnvError(
                f"env.char_file: body {ours[i]!r} has {width} DoFs in the character but {found} in the engine's model"
            )
