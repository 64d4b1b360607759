"""How much of MuJoCo's bare speed is left behind the engine interface.

    python benchmarks/physics.py --num-envs 256

Interleaves, round by round in one process, (a) ``mujoco.batch.Batch`` stepping the engine's own model with nothing
else around it and (b) ``engine.set_command`` + ``engine.step``. Both get the same targets and start again from the same
pose at the same times. An environment step is one control interval. Prints medians, and the median over rounds of the
ratio (b)/(a), as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import torch
from mujoco import batch as mujoco_batch

from mimickit_hydra.engines.catalog import available_cores
from mimickit_hydra.engines.interface import ObjectSpec, ResetState, SceneSpec
from mimickit_hydra.engines.mujoco.engine import MujocoEngine

HUMANOID = Path(__file__).parents[1] / "mimickit_hydra" / "data" / "assets" / "humanoid" / "humanoid.xml"
EPISODE = 30  # control steps between restarts
HEIGHT = 0.882416  # m, standing


@dataclass(frozen=True)
class Settings:
    """The attributes of the engine's configuration."""

    control_freq: int
    sim_freq: int
    num_threads: int
    control_mode: str = "pos"
    iterations: int = 100
    ls_iterations: int = 50
    impratio: float = 10.0


def standing_targets(num_envs: int, num_dofs: int) -> torch.Tensor:
    """PD targets ``[EPISODE, N, D]``: arms down, plus noise of 0.1 rad."""
    pose = torch.zeros(num_dofs)
    pose[6], pose[10] = 1.5708, -1.5708
    noise = torch.randn(EPISODE, num_envs, num_dofs, generator=torch.Generator().manual_seed(0))
    return pose + 0.1 * noise


def engine_stepper(engine: MujocoEngine, targets: torch.Tensor) -> Callable[[int], None]:
    n, dofs = engine.num_envs, engine.models[0].num_dofs
    everyone, upright = torch.ones(n, dtype=torch.bool), torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(n, 1)
    pos, zero = torch.tensor([0.0, 0.0, HEIGHT]).repeat(n, 1), torch.zeros(n, 3)
    start = ResetState(pos, upright, zero, zero, torch.zeros(n, dofs), torch.zeros(n, dofs))

    def step(k: int) -> None:
        if k % EPISODE == 0:
            engine.reset(everyone, {0: start})
        engine.set_command(targets[k % EPISODE])
        engine.step()

    return step


def bare_stepper(
    model: mujoco.MjModel, num_envs: int, settings: Settings, targets: torch.Tensor
) -> Callable[[int], None]:
    batch = mujoco_batch.Batch(model, num_envs, settings.num_threads)
    ctrl, controls = batch.bind("ctrl"), targets.double().numpy()
    start = batch.state.copy()
    substeps = settings.sim_freq // settings.control_freq

    def step(k: int) -> None:
        if k % EPISODE == 0:
            batch.state[...] = start
        ctrl[...] = controls[k % EPISODE]
        batch.step(nstep=substeps)

    return step


def rate(step: Callable[[int], None], num_envs: int) -> float:
    """Environment steps per second over one episode."""
    start = time.perf_counter()
    for k in range(EPISODE):
        step(k)
    return num_envs * EPISODE / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num-envs", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--control-freq", type=int, default=30)
    parser.add_argument("--sim-freq", type=int, default=120)
    parser.add_argument("--num-threads", type=int, default=0, help="0: all cores of this process")
    parser.add_argument("--output", type=Path, help="also write the JSON here")
    args = parser.parse_args()
    torch.set_num_threads(1)  # torch threads and physics threads on the same cores cost more than they bring

    settings = Settings(args.control_freq, args.sim_freq, args.num_threads or available_cores())
    scene = SceneSpec((ObjectSpec("humanoid", str(HUMANOID), start_pos=(0.0, 0.0, HEIGHT)),))
    engine = MujocoEngine(settings, scene, args.num_envs)
    targets = standing_targets(args.num_envs, engine.models[0].num_dofs)
    steppers = {
        "bare": bare_stepper(engine.scene.model, args.num_envs, settings, targets),
        "engine": engine_stepper(engine, targets),
    }
    for step in steppers.values():
        rate(step, args.num_envs)  # warm up
    rates: dict[str, list[float]] = {name: [] for name in steppers}
    for r in range(args.rounds):
        for name in sorted(steppers, reverse=bool(r % 2)):  # neither is always second
            rates[name].append(rate(steppers[name], args.num_envs))

    ratios = np.array(rates["engine"]) / np.array(rates["bare"])
    result = {
        "num_envs": args.num_envs,
        "num_threads": settings.num_threads,
        "sim_freq": args.sim_freq,
        "control_freq": args.control_freq,
        "rounds": args.rounds,
        "bare_env_steps_per_s": round(statistics.median(rates["bare"])),
        "engine_env_steps_per_s": round(statistics.median(rates["engine"])),
        "ratio": round(float(np.median(ratios)), 3),
        "ratio_quartiles": [round(float(q), 3) for q in np.percentile(ratios, [25, 75])],
        "mujoco": mujoco.__version__,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.output:
        args.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
