"""From an env's configuration to the env itself."""

from __future__ import annotations

from typing import Any

import torch

from mimickit_hydra.config.schema import CharEnvConfig, DeepMimicEnvConfig, ViewMotionEnvConfig
from mimickit_hydra.engines.interface import Engine, ObjectModel
from mimickit_hydra.envs.actions import action_bounds
from mimickit_hydra.envs.builder import IMITATION, TASKS, ImitationBuilder
from mimickit_hydra.envs.checks import body_indices, check_length
from mimickit_hydra.envs.errors import EnvError, nearest
from mimickit_hydra.envs.imitation import CHARACTER, ImitationEnv
from mimickit_hydra.envs.parts import CharacterObs, Part
from mimickit_hydra.envs.playback import DofSweep, EveryClip, PlaybackEnv, one
from mimickit_hydra.envs.scene import build_scene
from mimickit_hydra.envs.starts import DefaultPose, default_pose
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.library import MotionLibrary

REPEATS_SHOWN = 5.0  # of a clip that repeats

ENV_NAMES = (*IMITATION, "static_objects", *TASKS, "char", "view_motion", "char_dof_test")


def make_env(
    config: CharEnvConfig, engine: Engine, character: CharacterModel, library: MotionLibrary | None, timers: Any = None
) -> ImitationEnv:
    """The env that ``config.env_name`` asks for, on the engine of :func:`build_scene`; EnvError if it cannot be.

    ``library`` may be None for the envs without a reference motion, ``char`` and ``char_dof_test``.
    """
    if config.env_name not in ENV_NAMES:
        hint = nearest(config.env_name, list(ENV_NAMES))
        raise EnvError(f"env.env_name: found {config.env_name!r}, allowed are {', '.join(ENV_NAMES)}{hint}")
    _check_engine_matches(engine.models[CHARACTER], character)
    check_length("env.init_pose", config.init_pose, (0, 3, 6 + character.num_dofs), "(position, or position and DoFs)")
    if isinstance(config, DeepMimicEnvConfig):
        return ImitationBuilder(config, engine, character, _needed(config, library), timers).build()
    if isinstance(config, ViewMotionEnvConfig):
        return _make_view_motion(config, engine, character, _needed(config, library), timers)
    return _make_plain(config, engine, character, timers)


def _needed(config: CharEnvConfig, library: MotionLibrary | None) -> MotionLibrary:
    if library is None:
        raise EnvError(f"env.motion_file: env {config.env_name} needs a reference motion")
    return library


def _make_plain(config: CharEnvConfig, engine: Engine, character: CharacterModel, timers: Any) -> ImitationEnv:
    """``char`` and ``char_dof_test``: a character, no reference, reward 1."""
    device = torch.device(engine.device)
    bounds = action_bounds(engine.models[CHARACTER], engine.control_mode, config.zero_center_action)
    keys = _key_bodies(config, character, device)
    pose = default_pose(config.init_pose, character.num_dofs, device)
    parts: list[Part] = [_character_obs(config, character), DefaultPose(pose, engine.num_envs)]
    length = config.episode_length
    if config.env_name == "char_dof_test":
        sweep = DofSweep(bounds[0].to(device), bounds[1].to(device), engine.num_envs)
        parts.append(sweep)
        length = sweep.duration
    return ImitationEnv(
        engine, character, None, keys, bounds, parts, one, episode_length=length, timers=timers
    )  # fmt: skip


def _make_view_motion(
    config: ViewMotionEnvConfig, engine: Engine, character: CharacterModel, library: MotionLibrary, timers: Any
) -> ImitationEnv:
    device = torch.device(engine.device)
    keys = _key_bodies(config, character, device)
    reference = EveryClip(library, character, keys)
    ids, _ = reference.draw(engine.num_envs)
    loops = torch.where(torch.isinf(reference.clip_end), REPEATS_SHOWN, 1.0)
    return PlaybackEnv(
        engine, character, reference, keys,
        action_bounds(engine.models[CHARACTER], engine.control_mode, config.zero_center_action),
        [_character_obs(config, character)],
        one,
        episode_length=(loops * library.lengths.to(device))[ids],
        clip_end_is_success=False,
        timers=timers,
    )  # fmt: skip


def _character_obs(config: CharEnvConfig, character: CharacterModel) -> CharacterObs:
    return CharacterObs(
        character.num_joints, character.num_dofs, len(config.key_bodies),
        global_obs=config.global_obs, root_height=config.root_height_obs,
    )  # fmt: skip


def _key_bodies(config: CharEnvConfig, character: CharacterModel, device: torch.device) -> torch.Tensor:
    keys = body_indices("env.key_bodies", config.key_bodies, character.body_names)
    return torch.tensor(keys, dtype=torch.int64, device=device)


def _check_engine_matches(model: ObjectModel, character: CharacterModel) -> None:
    """Every tensor is indexed in the character's body order, so the engine's must be that one, to the last body."""
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


__all__ = ["ENV_NAMES", "build_scene", "make_env"]
