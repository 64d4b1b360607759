"""What a setting of the solver of newton or mjwarp costs and does to a trained policy: every variant in one process.

    python benchmarks/solver_variants.py --model-file RUN --num-envs 4096 --out benchmarks/results/h200_variants.json
    python benchmarks/solver_variants.py --variant "60 Hz: engine.sim_freq=60" --only "240 Hz;60 Hz"

For each variant: environment steps per second of the bare physics and of the rollout (policy, environment and resets,
as graphs on CUDA), medians of three; iterations the solver needed; contacts or constraints that did not fit; and with
``--model-file`` (a run directory, whose settings then hold, or a ``model.pt``) the return, the share of episodes that
last to their end and the position error of a test. ``--limit`` seconds after the start no further variant is begun.
Prints a table and writes a JSON after every row.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from throughput import bare, import_engine, memory, name_of, timed, wait

VARIANTS = {
    "240 Hz": (),
    "120 Hz": ("engine.sim_freq=120",),
    "20 iterations": ("engine.iterations=20",),
    "10 iterations, 20 line searches": ("engine.iterations=10", "engine.ls_iterations=20"),
    "5 iterations, 10 line searches": ("engine.iterations=5", "engine.ls_iterations=10"),
    "tolerance 1e-4": ("engine.tolerance=1e-4",),
    "tolerance 1e-3, line search 0.1": ("engine.tolerance=1e-3", "engine.ls_tolerance=0.1"),
    "dense": ("engine.jacobian=dense",),
    "small buffers": ("engine.njmax=96", "engine.nconmax=24"),
    "MimicKit's buffers": ("engine.njmax=450", "engine.nconmax=150"),
    "120 Hz, 10 iterations, 20 line searches": (
        "engine.sim_freq=120", "engine.iterations=10", "engine.ls_iterations=20",
    ),
}  # fmt: skip
COLUMNS = ("bare_samples_per_s", "rollout_samples_per_s", "solver_iterations", "return", "success_rate", "body_pos_err")


def main() -> None:
    args = arguments()
    began = time.perf_counter()
    import_engine(args.engine)
    rows: list[dict[str, Any]] = []
    for name, overrides in chosen(args).items():
        if args.limit and time.perf_counter() - began > args.limit:
            print(f"out of time before {name!r}", flush=True)
            break
        try:
            rows.append({"variant": name, **measure(args, overrides)})
        except Exception as error:  # one variant that fails must not cost the others
            rows.append({"variant": name, "error": repr(error)[:500]})
        print(json.dumps(rows[-1]), flush=True)
        if args.out:
            path = Path(args.out)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n", encoding="utf-8")
        gc.collect()
    print(table(rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--engine", default="newton", help="newton or mjwarp")
    parser.add_argument("--num-envs", type=int, default=4096)
    parser.add_argument("--model-file", default="", help="run directory or model.pt of the policy to test")
    parser.add_argument("--episodes", type=int, default=0, help="of the test; 0: one an environment")
    parser.add_argument("--steps", type=int, default=90, help="of the bare physics")
    parser.add_argument("--variant", action="append", default=[], help='a further one, "NAME: OVERRIDE OVERRIDE"')
    parser.add_argument("--only", default="", help="names of variants, with semicolons between them")
    parser.add_argument("--limit", type=float, default=0.0, help="seconds after which no further variant is begun")
    parser.add_argument("--out", default="")
    parser.add_argument("overrides", nargs="*", help="overrides of every variant, e.g. motion=humanoid_spinkick")
    return parser.parse_args()


def chosen(args: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    variants = dict(VARIANTS)
    for text in args.variant:
        name, _, words = text.partition(":")
        variants[name.strip()] = tuple(words.split())
    wanted = [name.strip() for name in args.only.split(";") if name.strip()]
    unknown = [name for name in wanted if name not in variants]
    if unknown:
        raise SystemExit(f"--only: no variant {unknown[0]!r}; there are: {'; '.join(variants)}")
    return {name: variants[name] for name in wanted} if wanted else variants


def measure(args: argparse.Namespace, overrides: tuple[str, ...]) -> dict[str, Any]:
    from mimickit_hydra.distributed import Comm
    from mimickit_hydra.training.build import build
    from mimickit_hydra.training.rng import seed_everything

    device = torch.device(args.device)
    torch.set_num_threads(1)
    run = configured(args, overrides)
    seed_everything(0)
    before, began = memory(device), time.perf_counter()
    parts = build(run, Comm(), device)
    wait(device)
    row: dict[str, Any] = {
        "overrides": [*args.overrides, *overrides], "num_envs": args.num_envs, "device": name_of(device),
        "build_s": time.perf_counter() - began, "build_parts_s": parts.engine.build_seconds,
    }  # fmt: skip
    try:
        if args.model_file:
            row |= test(args, parts)
        agent = parts.agent
        agent.train_iteration()  # warms graphs and kernels up; the weights change little
        rollout = statistics.median(timed(agent._rollout, device) for _ in range(3))
        row["rollout_samples_per_s"] = agent.buffer.num_samples / rollout
        row["bare_samples_per_s"] = bare(parts.engine, device, args.steps)
        needed = parts.engine.scene.data.solver_niter.numpy()
        row["solver_iterations"], row["solver_iterations_most"] = float(needed.mean()), int(needed.max())
        row["memory_gb"] = memory(device) - before
        row["warnings"] = parts.engine.warnings()
    finally:
        parts.close()
    return row


def configured(args: argparse.Namespace, overrides: tuple[str, ...]) -> Any:
    """The variant's run: of a run directory with what it was trained with, but for its engine's settings."""
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.training.sim2sim import runs_by_engine

    words = (f"devices=[{args.device}]", f"num_envs={args.num_envs}", *args.overrides, *overrides)
    if Path(args.model_file).is_dir() and args.model_file:
        return runs_by_engine(args.model_file, [args.engine], words)[args.engine]
    return to_run(compose([f"engine={args.engine}", *words]))


def test(args: argparse.Namespace, parts: Any) -> dict[str, float]:
    from mimickit_hydra.training.evaluate import evaluate
    from mimickit_hydra.training.run import load_model

    load_model(parts, args.model_file)
    with tempfile.TemporaryDirectory() as folder:
        found = evaluate(parts, Path(folder), episodes=args.episodes or args.num_envs, video=False)
    return {name: float(value) for name, value in found.items()}


def table(rows: list[dict[str, Any]]) -> str:
    heads = ("variant", "bare physics", "rollout", "solver iterations", "return", "success", "position error m")
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for row in rows:
        cells = [row["variant"], row.get("error", "")] if "error" in row else [row["variant"]]
        if "error" not in row:
            cells += [f"{row[name]:,.3g}" if name in row and row[name] < 1e3 else
                      f"{row[name]:,.0f}" if name in row else "" for name in COLUMNS]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
