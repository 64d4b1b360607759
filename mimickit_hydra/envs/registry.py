"""From an env's configuration to the scene it needs and to the env itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mimickit_hydra.config.schema import CharEnvConfig, DeepMimicEnvConfig
from mimickit_hydra.engines.interface import Engine, ObjectModel, ObjectSpec, SceneSpec
from mimickit_hydra.envs.actions import action_bounds
from mimickit_hydra.envs.errors import EnvError, nearest
from mimickit_hydra.envs.imitation import CHARACTER, ImitationEnv
from mimickit_hydra.envs.parts import CharacterObs, Fall, ImitationReward, Part, PhaseObs, PoseLost, TargetObs
from mimickit_hydra.envs.reference import ReferenceMotion
from mimickit_hydra.envs.rewards import TERMS
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.library import MotionLibrary


def build_scene(config: CharEnvConfig, char_file: str) -> SceneSpec:
    """What the engine has to build. ``char_file`` is the absolute path of the character's asset."""
    position, rotation = _start_pose(config.init_pose)
    character = ObjectSpec("character", char_file, start_pos=position, start_rot=rotation)
    return SceneSpec((character,))


def make_env(
    config: CharEnvConfig, engine: Engine, character: CharacterModel, library: MotionLibrary, timers: Any = None
) -> ImitationEnv:
    """The env that ``config.env_name`` asks for, on the engine of :func:`build_scene`; EnvError if it cannot be."""
    makers: dict[str, Callable[..., ImitationEnv]] = {"deepmimic": _make_deepmimic}
    if config.env_name not in makers:
        hint = nearest(config.env_name, list(makers))
        raise EnvError(f"env.env_name: found {config.env_name!r}, allowed are {', '.join(makers)}{hint}")
    _check_engine_matches(engine.models[CHARACTER], character)
    _check_length("env.init_pose", config.init_pose, (0, 3, 6 + character.num_dofs), "(position, or position and DoFs)")
    return makers[config.env_name](config, engine, character, library, timers)


def _make_deepmimic(
    config: DeepMimicEnvConfig, engine: Engine, character: CharacterModel, library: MotionLibrary, timers: Any
) -> ImitationEnv:
    _check_deepmimic(config, character)
    device = torch.device(engine.device)
    keys = body_indices("env.key_bodies", config.key_bodies, character.body_names)
    key_bodies = torch.tensor(keys, dtype=torch.int64, device=device)
    # Only an agent that sees where the reference goes can be asked to be there.
    track_root = config.enable_tar_obs and config.global_obs
    steps = list(config.tar_obs_steps) if config.enable_tar_obs else []
    reference = ReferenceMotion(library, character, key_bodies, config.rand_reset)
    parts: list[Part] = [*_observations(config, character, library, len(keys), len(steps), device)]
    if config.enable_early_termination:
        parts += _failures(config, character, track_root, device)
    return ImitationEnv(
        engine, character, reference, key_bodies,
        action_bounds(engine.models[CHARACTER], engine.control_mode, config.zero_center_action),
        parts,
        _imitation_reward(config, character, track_root, device),
        target_steps=steps,
        episode_length=config.episode_length,
        log_tracking_error=config.log_tracking_error,
        timers=timers,
    )  # fmt: skip


def _observations(
    config: DeepMimicEnvConfig,
    character: CharacterModel,
    library: MotionLibrary,
    num_keys: int,
    num_steps: int,
    device: torch.device,
) -> list[Part]:
    frame = {"global_obs": config.global_obs, "root_height": config.root_height_obs}
    parts: list[Part] = [CharacterObs(character.num_joints, character.num_dofs, num_keys, **frame)]
    if config.enable_phase_obs:
        parts.append(PhaseObs(library, config.num_phase_encoding, device))
    if config.enable_tar_obs:
        parts.append(TargetObs(num_steps, character.num_joints, num_keys, **frame))
    return parts


def _failures(
    config: DeepMimicEnvConfig, character: CharacterModel, track_root: bool, device: torch.device
) -> list[Part]:
    parts: list[Part] = []
    if config.contact_bodies:
        forbidden = torch.ones(character.num_bodies, dtype=torch.bool, device=device)
        forbidden[body_indices("env.contact_bodies", config.contact_bodies, character.body_names)] = False
        parts.append(Fall(forbidden))
    if config.pose_termination:
        parts.append(PoseLost(config.pose_termination_dist, track_root=track_root, global_obs=config.global_obs))
    return parts


def _imitation_reward(
    config: DeepMimicEnvConfig, character: CharacterModel, track_root: bool, device: torch.device
) -> ImitationReward:
    joints = torch.ones(character.num_joints) if config.joint_err_w is None else torch.tensor(list(config.joint_err_w))
    widths = torch.as_tensor(character.dof_dim, dtype=torch.int64).cpu()[1:]
    return ImitationReward(
        [getattr(config, f"reward_{term}_w") for term in TERMS],
        [getattr(config, f"reward_{term}_scale") for term in TERMS],
        joints.to(device),
        torch.repeat_interleave(joints, widths).to(device),
        track_root=track_root,
        root_height=config.root_height_obs,
    )


def body_indices(key: str, names: Sequence[str], bodies: Sequence[str]) -> list[int]:
    """Indices of ``names`` among ``bodies``; EnvError naming the config ``key`` for one that is not there."""
    for name in names:
        if name not in bodies:
            raise EnvError(
                f"{key}: the character has no body {name!r}{nearest(name, bodies)}; bodies: {', '.join(bodies)}"
            )
    return [list(bodies).index(name) for name in names]


def _check_deepmimic(config: DeepMimicEnvConfig, character: CharacterModel) -> None:
    if not config.key_bodies:
        raise EnvError("env.key_bodies: found none, but the imitation reward compares at least one key body")
    if config.enable_tar_obs and not config.tar_obs_steps:
        raise EnvError("env.tar_obs_steps: found none, but env.enable_tar_obs asks for at least one")
    if config.joint_err_w is not None:
        _check_length("env.joint_err_w", config.joint_err_w, (character.num_joints,), "(one per body without the root)")


def _check_length(key: str, values: Sequence[float], allowed: Sequence[int], meaning: str) -> None:
    if len(values) not in allowed:
        lengths = " or ".join(str(n) for n in allowed)
        raise EnvError(f"{key}: found {len(values)} numbers, this character needs {lengths} {meaning}")


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


def _start_pose(init_pose: Sequence[float]) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """Position (m) and rotation (xyzw) of ``init_pose``: position 3, exponential map 3, DoFs; missing ones are 0."""
    if 0 < len(init_pose) < 3:
        raise EnvError(f"env.init_pose: found {len(init_pose)} numbers, allowed are none, 3 or 6 + number of DoFs")
    x, y, z, *rest = [float(v) for v in init_pose] or [0.0, 0.0, 0.0]
    ex, ey, ez = (*rest, 0.0, 0.0, 0.0)[:3]
    angle = math.sqrt(ex * ex + ey * ey + ez * ez)
    if angle < 1e-9:
        return (x, y, z), (0.0, 0.0, 0.0, 1.0)
    s = math.sin(0.5 * angle) / angle
    return (x, y, z), (ex * s, ey * s, ez * s, math.cos(0.5 * angle))
