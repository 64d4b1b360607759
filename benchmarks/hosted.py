"""What hosting an engine in another process costs: engine=mujoco in this process against the same engine in a worker.

    python benchmarks/hosted.py --num-envs 256

Interleaves both, round by round, with the same targets from the same starts; a worker that waits for its host uses no
core. Prints environment steps per second (medians), the median over rounds of hosted / in-process, and the
microseconds that an exchange between the processes adds to a command, states included, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mimickit_hydra.engines.catalog import available_cores
from mimickit_hydra.engines.interface import Engine, ObjectSpec, ResetState, SceneSpec
from mimickit_hydra.engines.registry import make_engine
from mimickit_hydra.engines.subprocess.engine import HostedEngine

HUMANOID = Path(__file__).parents[1] / "mimickit_hydra" / "data" / "assets" / "humanoid" / "humanoid.xml"
EPISODE = 30  # control steps between restarts
HEIGHT = 0.882416  # m, standing


def build(python: str, num_envs: int, args: argparse.Namespace) -> Engine:
    config = SimpleNamespace(
        engine_name="mujoco", python=python, control_mode="pos", control_freq=30, sim_freq=args.sim_freq,
        num_threads=args.num_threads or available_cores(), iterations=100, ls_iterations=50, impratio=10.0,
    )  # fmt: skip
    scene = SceneSpec((ObjectSpec("humanoid", str(HUMANOID), start_pos=(0.0, 0.0, HEIGHT)),))
    return make_engine(config, scene, num_envs, "cpu")


def episode(engine: Engine) -> Callable[[], float]:
    """One episode of noisy standing, with a tenth of the environments reset at every step; seconds."""
    n, dofs = engine.num_envs, engine.models[0].num_dofs
    generator = torch.Generator().manual_seed(0)
    pose = torch.zeros(dofs)
    pose[6], pose[10] = 1.5708, -1.5708
    targets = pose + 0.1 * torch.randn(EPISODE, n, dofs, generator=generator)
    masks = torch.rand(EPISODE, n, generator=generator) < 0.1
    masks[0] = True
    upright = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(n, 1)
    height, still = torch.tensor([0.0, 0.0, HEIGHT]).repeat(n, 1), torch.zeros(n, 3)
    start = ResetState(height, upright, still, still, torch.zeros(n, dofs), torch.zeros(n, dofs))

    def run() -> float:
        began = time.perf_counter()
        for target, mask in zip(targets, masks, strict=True):
            engine.reset(mask, {0: start})
            engine.set_command(target)
            engine.step()
        return time.perf_counter() - began

    return run


def command_cost(args: argparse.Namespace) -> dict[str, float]:
    """Microseconds of ``set_command`` and an exchange that leaves the simulator alone."""
    engine = build(args.python, args.command_envs, args)
    assert isinstance(engine, HostedEngine)
    target = torch.zeros(args.command_envs, engine.models[0].num_dofs)
    times = []
    for _ in range(5000):
        began = time.perf_counter()
        engine.set_command(target)
        engine.exchange()
        times.append(1e6 * (time.perf_counter() - began))
    engine.close()
    deciles = statistics.quantiles(times, n=10)
    return {
        "num_envs": args.command_envs,
        "median_us": round(statistics.median(times), 1),
        "p90_us": round(deciles[-1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num-envs", type=int, default=256)
    parser.add_argument("--command-envs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sim-freq", type=int, default=240)
    parser.add_argument("--num-threads", type=int, default=0, help="0: all cores of this process")
    parser.add_argument("--python", default=sys.executable, help="the worker's interpreter")
    args = parser.parse_args()
    torch.set_num_threads(1)  # torch threads and physics threads on the same cores cost more than they bring

    engines = {
        "in_process": build("in-process", args.num_envs, args),
        "hosted": build(args.python, args.num_envs, args),
    }
    episodes = {name: episode(engine) for name, engine in engines.items()}
    seconds: dict[str, list[float]] = {name: [] for name in episodes}
    for r in range(args.rounds + 1):
        for name in sorted(episodes, reverse=bool(r % 2)):  # neither is always second
            taken = episodes[name]()
            if r:  # the first round warms up
                seconds[name].append(taken)
    for engine in engines.values():
        engine.close()
    ratios = [a / b for a, b in zip(seconds["in_process"], seconds["hosted"], strict=True)]
    steps = args.num_envs * EPISODE
    quartiles = statistics.quantiles(ratios, n=4)
    result = {
        "num_envs": args.num_envs,
        "sim_freq": args.sim_freq,
        "in_process_env_steps_per_s": round(steps / statistics.median(seconds["in_process"])),
        "hosted_env_steps_per_s": round(steps / statistics.median(seconds["hosted"])),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
        "command": command_cost(args),
        "load_average": round(os.getloadavg()[0], 1),
        "cores": available_cores(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
