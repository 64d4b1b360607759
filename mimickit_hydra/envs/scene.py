"""What an env's configuration asks the engine to build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.schema import CharEnvConfig, DeepMimicEnvConfig, DodgeballEnvConfig
from mimickit_hydra.engines.interface import ObjectSpec, SceneSpec
from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.starts import start_pose
from mimickit_hydra.envs.tasks.dodgeball import resting_place

BALL_FILE = "data/assets/objects/dodgeball.xml"
BALL_COLOR = (0.9725, 0.42, 0.1137)
STATIC_COLOR = (0.3, 0.3, 0.3)


def build_scene(config: CharEnvConfig, char_file: str, resolve: Callable[[str], Path] = resolve_data_file) -> SceneSpec:
    """What the engine has to build: the character, then static objects, then balls.

    ``char_file`` is the absolute path of the character's asset; ``resolve`` finds the files that the config names.
    """
    position, rotation = start_pose(config.init_pose)
    looked_at = config.env_name in ("view_motion", "char_dof_test")
    character = ObjectSpec(
        "character", char_file, start_pos=position, start_rot=rotation,
        enable_self_collisions=not looked_at,
        fix_root=config.env_name == "char_dof_test",
        disable_motors=config.env_name == "view_motion",
    )  # fmt: skip
    return SceneSpec((character, *_static_objects(config, resolve), *_balls(config, resolve)))


def first_ball(config: CharEnvConfig) -> int:
    """Index of the first ball among the engine's objects."""
    return 1 + (len(config.objects) if isinstance(config, DeepMimicEnvConfig) else 0)


def _static_objects(config: CharEnvConfig, resolve: Callable[[str], Path]) -> list[ObjectSpec]:
    if not isinstance(config, DeepMimicEnvConfig):
        return []
    specs = []
    for i, obj in enumerate(config.objects):
        position = _numbers(f"env.objects[{i}].pos", obj.pos, 3)
        rotation = _numbers(f"env.objects[{i}].rot", obj.rot, 4)
        specs.append(
            ObjectSpec(
                f"static_object{i}", str(resolve(obj.file)), articulated=False, fix_root=True,
                start_pos=(position[0], position[1], position[2]),
                start_rot=(rotation[0], rotation[1], rotation[2], rotation[3]),
                color=STATIC_COLOR,
            )
        )  # fmt: skip
    return specs


def _numbers(key: str, values: Any, count: int) -> list[float]:
    if len(values) != count:
        raise EnvError(f"{key}: found {len(values)} numbers, needs {count}")
    return [float(v) for v in values]


def _balls(config: CharEnvConfig, resolve: Callable[[str], Path]) -> list[ObjectSpec]:
    if not isinstance(config, DodgeballEnvConfig):
        return []
    if config.num_projectiles < 1:
        raise EnvError(f"env.num_projectiles: found {config.num_projectiles}, allowed are numbers from 1")
    file = str(resolve(BALL_FILE))
    return [
        ObjectSpec(f"projectile{i}", file, articulated=False, start_pos=resting_place(i), color=BALL_COLOR)
        for i in range(config.num_projectiles)
    ]
