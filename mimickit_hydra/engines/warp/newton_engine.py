"""The engine for Newton's MuJoCo solver: Newton reads the scene, MuJoCo Warp steps it."""

from __future__ import annotations

from mimickit_hydra.engines.warp import newton_scene
from mimickit_hydra.engines.warp.engine import WarpEngine


class NewtonEngine(WarpEngine):
    """Newton behind the engine interface. Of ``config`` the attributes of ``NewtonEngineConfig`` are read."""

    name = "newton"
    build_scene = staticmethod(newton_scene.build_scene)
