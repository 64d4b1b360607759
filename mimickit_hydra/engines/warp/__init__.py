"""The engines on MuJoCo Warp: Newton's and MuJoCo Warp alone."""

import mimickit_hydra.mj  # noqa: F401  (first: MuJoCo Warp and Newton import MuJoCo themselves, whatever MUJOCO_GL says)
