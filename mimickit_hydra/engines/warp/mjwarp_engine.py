"""The engine for MuJoCo Warp alone: the model that ``engine=mujoco`` compiles, stepped on a GPU."""

from __future__ import annotations

import math
from typing import Any, Tuple

import mujoco_warp as mjw
import numpy as np

from mimickit_hydra.engines.interface import EngineError, SceneSpec
from mimickit_hydra.engines.mujoco.model import SolverOptions, build_model
from mimickit_hydra.engines.warp.converted import Converted
from mimickit_hydra.engines.warp.engine import WarpEngine
from mimickit_hydra.engines.warp.scene import WarpScene, populate
from mimickit_hydra.mj import mujoco

_KINDS = mujoco.mjtJacobian
_JACOBIANS = {"auto": _KINDS.mjJAC_AUTO, "dense": _KINDS.mjJAC_DENSE, "sparse": _KINDS.mjJAC_SPARSE}


def build_scene(config: Any, scene: SceneSpec, num_envs: int, device: Any) -> WarpScene:
    """Build ``num_envs`` copies of ``scene`` on ``device``. EngineError for what MuJoCo Warp does not simulate."""
    options = SolverOptions(config.iterations, config.ls_iterations, config.impratio)
    made = build_model(scene, config.control_mode, 1.0 / config.sim_freq, options)
    contacts, rows = _capacity(config, made.model)
    one = Converted(made.model, _put(config, made.model), contacts, rows, None)
    return populate(one, [layout.model for layout in made.layouts], config, num_envs, device)


def _put(config: Any, compiled: mujoco.MjModel) -> Any:
    """The model in MuJoCo Warp. Its sensors rest: contact forces are summed by a kernel of ours."""
    compiled.opt.jacobian = int(_JACOBIANS[getattr(config, "jacobian", "auto")])
    try:
        model = mjw.put_model(compiled)
    except (NotImplementedError, ValueError) as error:
        raise EngineError(
            "engine=mjwarp: MuJoCo Warp {} does not simulate it: {}; use engine=mujoco".format(
                mjw.__version__, " ".join(str(error).split())
            )
        ) from error
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_SENSOR)
    model.opt.tolerance.fill_(getattr(config, "tolerance", 1e-6))
    model.opt.ls_tolerance.fill_(getattr(config, "ls_tolerance", 0.01))
    return model


def _capacity(config: Any, compiled: mujoco.MjModel) -> Tuple[int, int]:
    """Contacts and constraint rows of one environment: the configured ones, or by what can collide and what always is.

    As with Newton, and a contact for each pair of the file, and rows for equality constraints and dry friction.
    """
    colliding = np.count_nonzero((compiled.geom_contype | compiled.geom_conaffinity) != 0) - 1
    contacts = int(config.nconmax) or 16 + compiled.npair + math.ceil(1.25 * max(colliding, 1))
    data = mujoco.MjData(compiled)
    mujoco.mj_forward(compiled, data)
    rows = int(config.njmax) or 32 + data.ne + data.nf + math.ceil(2.4 * contacts)
    return contacts, rows


class MjwarpEngine(WarpEngine):
    """MuJoCo Warp behind the engine interface. Of ``config`` the attributes of ``MjwarpEngineConfig`` are read."""

    name = "mjwarp"
    build_scene = staticmethod(build_scene)
