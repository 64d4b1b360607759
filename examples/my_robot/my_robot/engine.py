"""An engine: MuJoCo, with less friction."""

from typing import Any

from mimickit_hydra.engines.interface import SceneSpec
from mimickit_hydra.engines.mujoco.engine import MujocoEngine


class SlipperyEngine(MujocoEngine):
    """An engine of your own derives from ``engines.interface.Engine``; this one only changes another's model.

    It may live in another Python (``engine.python=``), so this file must not need more than that Python has.
    """

    name = "slippery"

    def __init__(self, config: Any, scene: SceneSpec, num_envs: int, device: str = "cpu") -> None:
        super().__init__(config, scene, num_envs, device)
        self.scene.model.geom_friction[:, 0] *= config.friction
