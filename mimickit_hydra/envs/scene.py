"""The scene that an env asks the engine to build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.engines.interface import ObjectSpec, SceneSpec
from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.schema import CharEnvConfig
from mimickit_hydra.envs.starts import start_pose
from mimickit_hydra.plugins import ENVS

STATIC_COLOR = (0.3, 0.3, 0.3)


def build_scene(
    config: CharEnvConfig, char_file: str, resolve: Callable[[str], Path] = resolve_data_file, gains: Any = None
) -> SceneSpec:
    """The scene of an env: the character, then static objects, then what a task adds.

    ``char_file`` is the absolute path of the character's asset; ``resolve`` finds the files that the config names;
    ``gains`` is ``character.gains``.
    """
    position, rotation = start_pose(config.init_pose)
    looked_at = config.env_name in ("view_motion", "char_dof_test")
    character = ObjectSpec(
        "character", char_file, start_pos=position, start_rot=rotation,
        enable_self_collisions=not looked_at,
        fix_root=config.env_name == "char_dof_test",
        disable_motors=config.env_name == "view_motion",
        gains=gains,
    )  # fmt: skip
    return SceneSpec((character, *_static_objects(config, resolve), *task_objects(config, resolve)))


def task_objects(config: CharEnvConfig, resolve: Callable[[str], Path]) -> list[ObjectSpec]:
    """The objects that the env's task, if it has one, adds to the scene; they are the engine's last."""
    entry = ENVS[config.env_name]
    return entry.load().scene(config, resolve) if entry.facts.get("task") else []


def _static_objects(config: CharEnvConfig, resolve: Callable[[str], Path]) -> list[ObjectSpec]:
    specs = []
    for i, obj in enumerate(getattr(config, "objects", [])):
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
