"""Takes a few steps of an engine with two environments: ``mimickit doctor`` runs it in a process of its own.

    python -m mimickit_hydra.doctor.engine_trial OVERRIDE...

prints one JSON object: seconds and versions, or ``{"error": line}``.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from typing import Any

NUM_ENVS = 2
STEPS = 10
HEIGHT = 1.5  # m, of the root at the start: clear of the ground


def main(overrides: list[str]) -> int:
    try:
        found = step(overrides)
    except Exception as error:
        from mimickit_hydra.config.messages import one_line

        line = one_line(error, overrides) or f"{type(error).__name__}: {' '.join(str(error).split())}"
        print("\n" + json.dumps({"error": line}))
        return 1
    print("\n" + json.dumps(found))
    return 0


def step(overrides: list[str]) -> dict[str, Any]:
    """Build the engine of the composed config, let the character fall for some control steps, and look at it."""
    import torch

    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.config.paths import resolve_data_file
    from mimickit_hydra.engines.interface import EngineError
    from mimickit_hydra.engines.registry import make_engine
    from mimickit_hydra.envs.scene import build_scene
    from mimickit_hydra.training.processes import check_devices

    run = to_run(compose(overrides))
    device = check_devices(run.devices)[0]
    torch.set_num_threads(1)
    char_file = str(resolve_data_file(run.env.char_file, run.data_root))
    scene = build_scene(
        run.env, char_file, lambda path: resolve_data_file(path, run.data_root), gains=run.character.gains
    )
    began = time.perf_counter()
    engine = make_engine(run.engine, scene, NUM_ENVS, str(device))
    try:
        built = time.perf_counter()
        command = torch.zeros(NUM_ENVS, engine.models[0].num_dofs, device=device)
        engine.reset(torch.ones(NUM_ENVS, dtype=torch.bool, device=device), {0: _at_rest(command)})
        seconds = []
        for _ in range(STEPS + 1):
            started = time.perf_counter()
            if engine.control_mode != "none":
                engine.set_command(command)
            engine.step()
            height = engine.states[0].root_pos[:, 2].tolist()  # waits for the device
            seconds.append(time.perf_counter() - started)
        if not all(map(math.isfinite, height)):
            raise EngineError(f"engine={run.engine.engine_name}: the root is at {height} m after {STEPS + 1} steps")
        return {
            "device": str(engine.device),
            "num_envs": NUM_ENVS,
            "build_s": round(built - began, 3),
            "first_step_s": round(seconds[0], 4),
            "step_ms": round(1000 * statistics.median(seconds[1:]), 3),
            "worker": engine.worker_versions or {},
        }
    finally:
        engine.close()


def _at_rest(dofs: Any) -> Any:
    import torch

    from mimickit_hydra.engines.interface import ResetState

    still = torch.zeros(len(dofs), 3, device=dofs.device)
    upright = torch.tensor([0.0, 0.0, 0.0, 1.0], device=dofs.device).repeat(len(dofs), 1)
    above = torch.tensor([0.0, 0.0, HEIGHT], device=dofs.device).repeat(len(dofs), 1)
    return ResetState(above, upright, still, still.clone(), dofs.clone(), dofs.clone())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
