"""What each ingredient of method=supermimic is worth: one run with all of them, and one without each.

    python benchmarks/supermimic_ablations.py --iterations 1500 --out ablations.json \
        character=g1_mjlab env.motion_file='clips/*.npz' engine=mjwarp
    python benchmarks/supermimic_ablations.py --minutes 3 --device cpu --only all,average,probes \
        character=humanoid motion=humanoid_walk engine=mujoco

Every variant runs alone, one after the other, with the same seed, for so many iterations or minutes of training.
Afterwards its averaged policy is tested without noise, on the training's env. **return** and **length** (steps) are
those of the tests' episodes, **joints** the model's error against the ballistic predictor's after eight steps in
environments that it was not fitted to. Words that are no options are those of a run, and hold for all variants.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from throughput import name_of, wait

# What is left out, by name, and how.
VARIANTS: dict[str, tuple[str, ...]] = {
    "all": (),
    "average": ("agent.policy_average=0",),
    "muon": ("agent.actor_optimizer.type=Adam", "agent.world_optimizer.type=Adam"),
    "bootstrap": ("agent.bootstrap=false",),
    "adjoint clip": ("agent.adjoint_clip=1e6",),
    "reference first": ("agent.follow_reference=false",),
    "imagined noise": ("agent.imagined_std=0",),
    "windows": ("agent.window=1", "agent.first_window=1"),
    "half of the horizon": ("agent.horizon={half}",),
    "probes": ("agent.probe_share=0",),
    "hard starts": ("agent.probe_share=0", "env.sampling_params.uniform_share=1"),
    "lifted starts": ("env.lift_starts=false",),
}


def main() -> None:
    args = arguments()
    rows: list[dict[str, Any]] = []
    for name in args.only or VARIANTS:
        rows.append(row_of(args, name))
        print(json.dumps(rows[-1]), flush=True)
        if args.out:
            content = {"torch": torch.__version__, "python": platform.python_version(), "rows": rows}
            Path(args.out).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(table(rows))


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=names, default=[], help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--iterations", type=int, default=0, help="of each variant")
    parser.add_argument("--minutes", type=float, default=0.0, help="or minutes of training, whichever is over first")
    parser.add_argument("--episodes", type=int, default=64, help="of the test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", default="", help="JSON, written after every variant")
    parser.add_argument("overrides", nargs="*", help="of all runs, e.g. character=g1_mjlab")
    args = parser.parse_intermixed_args(argv)
    if args.iterations <= 0 and args.minutes <= 0.0:
        parser.error("give --iterations, --minutes or both")
    return args


def names(text: str) -> list[str]:
    found = [name.strip() for name in text.split(",")]
    for name in found:
        if name not in VARIANTS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(VARIANTS)}")
    return found


def composed(args: argparse.Namespace, own: Sequence[str]) -> Any:
    """The run with the words of a variant, as its dataclass."""
    from mimickit_hydra.checks.check import validate
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.errors import UserError

    words = ["method=supermimic", "env=tracking", f"devices=[{args.device}]", f"rand_seed={args.seed}", *args.overrides]
    try:
        if any("{half}" in word for word in own):
            half = max(to_run(compose(words)).agent.horizon // 2, 1)
            own = [word.format(half=half) for word in own]
        run = to_run(compose([*words, *own]))
        validate(run)
    except UserError as error:
        raise SystemExit(str(error)) from None
    return run


def row_of(args: argparse.Namespace, name: str) -> dict[str, Any]:
    from mimickit_hydra.training.processes import launch

    return launch(functools.partial(trained, run=composed(args, VARIANTS[name]), args=args, name=name), [args.device])  # type: ignore[no-any-return]


def trained(comm: Any, device: torch.device, *, run: Any, args: argparse.Namespace, name: str) -> dict[str, Any]:
    from mimickit_hydra.training.build import build
    from mimickit_hydra.training.rng import seed_everything

    if device.type == "cpu":
        torch.set_num_threads(1)
    seed_everything(run.rand_seed)
    parts = build(run, comm, device)
    agent, log = parts.agent, {}
    with parts:
        wait(device)
        start, busy = time.perf_counter(), time.process_time()
        while True:
            row = agent.train_iteration()
            if agent.is_output_iteration(agent.iteration - 1):
                log = row  # the model is validated in these alone
            wait(device)
            spent = time.perf_counter() - start
            if agent.iteration == args.iterations or 0.0 < 60.0 * args.minutes <= spent:
                break
        busy = time.process_time() - busy
        test = agent.test(args.episodes)
    return {
        "without": name, "overrides": list(VARIANTS[name]), "of_all": args.overrides, "seed": args.seed,
        "device": name_of(device), "iterations": agent.iteration, "samples": agent.samples, "seconds": spent,
        "processor_s": busy, "return": test["Test_Return"], "length": test["Test_Episode_Length"],
        "joints_8": log.get("World_Joint_Ratio_8"), "foretold": log.get("Reward_Foretold"),
        "logged": log.get("Reward_Logged"), "falls_per_hour": log.get("Probe_Falls_Per_Hour"),
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    columns = ("without", "iterations", "samples", "s", "return", "length", "joints")
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for row in rows:
        joints = "-" if row["joints_8"] is None else f"{row['joints_8']:.2f}"
        lines.append(
            f"| {'-' if row['without'] == 'all' else row['without']} | {row['iterations']} | {row['samples']:,} | "
            f"{row['seconds']:.0f} | {row['return']:.2f} | {row['length']:.0f} | {joints} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
