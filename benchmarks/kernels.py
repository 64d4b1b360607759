"""Which kernels a GPU spends a rollout and an update on: launches and microseconds of each, by their own clocks.

    python benchmarks/kernels.py --num-envs 4096 --top 30 --out benchmarks/results/h100_kernels.json engine=mjwarp
    python benchmarks/kernels.py --num-envs 16384 engine=newton character=g1_mjlab motion=g1_walk

Profiles one captured rollout and the rest of one training iteration after a warm-up, kernels inside graphs included.
Kernels of the physics are told by MuJoCo Warp's names. Prints both tables; the JSON holds every kernel.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from throughput import name_of, timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-envs", type=int, default=4096)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--warm", type=int, default=4, help="iterations before")
    parser.add_argument("--top", type=int, default=25, help="kernels shown of each part")
    parser.add_argument("--out", default="")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    from mimickit_hydra.training.processes import launch

    found = launch(functools.partial(measure, args=args), [args.device])
    for part in ("physics", "rollout", "update"):
        print(table(part, found[part], args.top))
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measure(comm: Any, device: torch.device, *, args: argparse.Namespace) -> dict[str, Any]:
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.training.build import build
    from mimickit_hydra.training.rng import seed_everything

    words = [*args.overrides, f"devices=[{args.device}]", f"num_envs={args.num_envs}"]
    seed_everything(0)
    parts = build(to_run(compose(words)), comm, device)
    agent = parts.agent
    for _ in range(args.warm):
        agent.train_iteration()
    whole = timed(agent.train_iteration, device)
    rollout = timed(agent._rollout, device)
    found: dict[str, Any] = {
        "device": name_of(device), "num_envs": args.num_envs, "overrides": args.overrides,
        "steps": agent.buffer.steps, "iteration_s": whole, "rollout_s": rollout,
        "physics": profiled(parts.engine.step), "rollout": profiled(agent._rollout),
    }  # fmt: skip
    both = {row["kernel"]: row for row in profiled(agent.train_iteration)}
    for row in found["rollout"]:
        same = both.get(row["kernel"])
        if same is not None:
            same["us"], same["launches"] = same["us"] - row["us"], same["launches"] - row["launches"]
    found["update"] = sorted((row for row in both.values() if row["launches"] > 0), key=lambda row: -row["us"])
    parts.close()
    return found


def profiled(function: Callable[[], Any]) -> list[dict[str, Any]]:
    """Launches and microseconds of every kernel that ``function`` runs, most time first."""
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA], acc_events=True) as profile:
        function()
        torch.cuda.synchronize()
    rows = [
        {"kernel": event.key, "launches": event.count, "us": event.self_device_time_total}
        for event in profile.key_averages()
        if event.self_device_time_total > 0 and str(event.device_type).endswith("CUDA")
    ]
    return sorted(rows, key=lambda row: -row["us"])


def table(part: str, rows: list[dict[str, Any]], top: int) -> str:
    total, launches = sum(row["us"] for row in rows), sum(row["launches"] for row in rows)
    lines = [f"{part}: {total / 1e3:.2f} ms in {launches:,} launches", "| us | launches | us each | kernel |"]
    lines.append("| --- " * 4 + "|")
    for row in rows[:top]:
        lines.append(
            f"| {row['us']:,.0f} | {row['launches']} | {row['us'] / row['launches']:.1f} | {row['kernel'][:90]} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
