"""Builds the states of all environments from a scene that Newton imports, and checks that Newton read it right."""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

from typing import Any

import numpy as np

from mimickit_hydra.engines.interface import EngineError, ObjectModel, ObjectSpec, SceneSpec
from mimickit_hydra.engines.mujoco.model import load_asset, object_model
from mimickit_hydra.engines.warp.newton_cache import cached
from mimickit_hydra.engines.warp.scene import WarpScene, populate
from mimickit_hydra.mj import mujoco


def build_scene(config: Any, scene: SceneSpec, num_envs: int, device: Any) -> WarpScene:
    """Build ``num_envs`` copies of ``scene`` on ``device``. EngineError for what the interface cannot express."""
    assets = [load_asset(obj) for obj in scene.objects]
    for obj, asset in zip(scene.objects, assets):
        lacking = asset.robot.lacking("newton", has=("contact excludes", "springs"))
        if lacking:
            raise EngineError("{}: {}".format(obj.asset_file, lacking))
    models = [object_model(obj, asset.robot) for obj, asset in zip(scene.objects, assets)]
    one = cached(config, scene, assets, device)
    total, first = sum(facts.num_bodies for facts in models), 1
    if one.mujoco.nbody != 1 + total:
        raise EngineError(
            "{}: Newton made {} bodies of it, MuJoCo {}; it cannot be used with engine=newton".format(
                scene.objects[0].asset_file, one.mujoco.nbody - 1, total
            )
        )
    for obj, facts in zip(scene.objects, models):
        _check(one.mujoco, first, facts, obj)
        first += facts.num_bodies
    return populate(one, models, config, num_envs, device)


def _check(compiled: mujoco.MjModel, first: int, facts: ObjectModel, obj: ObjectSpec) -> None:
    ids = np.arange(first, first + facts.num_bodies)
    parents = np.where(compiled.body_parentid[ids] > 0, compiled.body_parentid[ids] - first, -1)
    kinds = np.array([6, 3, 1, 1])[compiled.jnt_type[compiled.body_jntadr[ids]]]
    dims = np.where(compiled.body_jntnum[ids] > 0, kinds, 0)
    dims[0] = 0
    if not (np.array_equal(parents, facts.parents) and np.array_equal(dims, facts.dof_dims)):
        raise EngineError("{}: Newton reads its bodies or joints otherwise than MuJoCo".format(obj.asset_file))
    if not np.allclose(compiled.body_mass[ids], facts.body_masses, rtol=1e-4, atol=1e-6):
        raise EngineError("{}: Newton reads other body masses from it than MuJoCo".format(obj.asset_file))
