"""What is allowed but was seen to disappoint, said in one line before the training begins."""

from __future__ import annotations

from mimickit_hydra.config.schema import RunConfig

LEARNS_AT = 240  # Hz, of MuJoCo's solver with implicit PD


def advice(run: RunConfig) -> list[str]:
    """Lines about the run, none for most; docs/engines says how each was found."""
    engine = run.engine
    mujoco_solver = engine.engine_name in ("mujoco", "newton") or getattr(engine, "physics", "") == "newton"
    if run.mode == "train" and mujoco_solver and engine.sim_freq < LEARNS_AT:
        return [
            f"engine.sim_freq={engine.sim_freq}: with this physics policies hardly learned at 120 Hz where they did at "
            f"engine.sim_freq={LEARNS_AT}"
        ]
    return []
