"""How equal two runs of one seed are, iteration by iteration: their weights, their losses, their test returns.

    python benchmarks/repeatability.py [--iterations 50] [--every 1] [--json FILE] [WORD ...]

Trains twice with the same words and one seed (``rand_seed=1`` unless a word gives another), one run after the other,
and compares the checkpoints and the rows of the log. On the CPU they are equal bit by bit, or the exit code is 1; on a
GPU the order in which threads add up is not fixed, in the simulator or in an update, and what is printed is the bound
that this machine, this engine and this method reach:

    python benchmarks/repeatability.py engine=newton compute=gpu_fast --iterations 300 --every 5

For each thing that is compared: the first iteration at which it differs, the largest relative difference up to then and
over all iterations. That of two numbers is |a - b| / max(|a|, |b|), that of weights the same with the norms of tensors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
CLOCK = ("Wall_Time", "Samples_Per_Second")
SHOWN = ("Test_Return", "Train_Return", "Critic_Loss", "Actor_Loss")  # of the log; the others count as "log"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD", help="as for train.py")
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--every", type=int, default=1, help="compare every so many iterations")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words, samples, devices = what_to_train(args.words, args.iterations, args.every)
        first, second = (train(words, samples, Path(folder) / name) for name in ("a", "b"))
        differences = {**of_logs(first, second), "weights": of_weights(first, second)}
    bounds = {name: bound(rows) for name, rows in differences.items()}
    print_table(args.words, bounds)
    if args.json:
        args.json.write_text(json.dumps({"words": args.words, "every": args.every, **bounds}, indent=2) + "\n")
    equal = all(found["first"] is None for found in bounds.values())
    return int(not equal and all(device == "cpu" for device in devices))


def what_to_train(words: list[str], iterations: int, every: int) -> tuple[list[str], int, list[str]]:
    """All words, the number of samples, and the devices."""
    from mimickit_hydra import api

    seed = [] if any(word.startswith(("rand_seed=", "seed=")) for word in words) else ["rand_seed=1"]
    words = [*words, *seed, f"agent.iters_per_output={every}", "save_int_models=true", "test_episodes=0"]
    run = api.compose(words)
    return words, iterations * run.num_envs * run.agent.steps_per_iter * len(run.devices), run.devices


def train(words: list[str], samples: int, run_dir: Path) -> Path:
    """A run that keeps the checkpoint and logs a row of every iteration that is compared."""
    command = [sys.executable, str(ROOT / "train.py"), *words, f"max_samples={samples}", f"out_dir={run_dir}"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(done.stderr)
    return run_dir


def of_logs(first: Path, second: Path) -> dict[str, list[tuple[int, float]]]:
    """The relative difference at each logged iteration of the columns shown, and the largest of the others."""
    from mimickit_hydra.runs.log_table import read_log

    a, b = (read_log(path / "log.txt") for path in (first, second))
    found: dict[str, list[tuple[int, float]]] = {name: [] for name in (*SHOWN, "log")}
    for row, iteration in enumerate(a["Iteration"]):
        others = 0.0
        for name in (name for name in a if name not in CLOCK):
            difference = relative(float(a[name][row]), float(b[name][row]))
            if name in found:
                found[name].append((int(iteration), difference))
            else:
                others = max(others, difference)
        found["log"].append((int(iteration), others))
    return {name: rows for name, rows in found.items() if rows}


def of_weights(first: Path, second: Path) -> list[tuple[int, float]]:
    """The largest relative difference of a tensor of the networks and normalisers, at each kept checkpoint."""
    from mimickit_hydra.training.checkpoint import load_file

    rows = []
    for path in sorted(first.glob("int_models/ckpt_*.pt")):
        a, b = (load_file(folder / "int_models" / path.name)["agent"]["model"] for folder in (first, second))
        largest = max(
            float((a[name] - b[name]).norm() / max(float(a[name].norm()), float(b[name].norm()), 1e-30))
            for name in a
            if a[name].is_floating_point()
        )
        equal = all(bool((a[name] == b[name]).all()) for name in a)
        rows.append((int(path.stem.split("_")[1]), 0.0 if equal else max(largest, sys.float_info.min)))
    return rows


def relative(a: float, b: float) -> float:
    return 0.0 if a == b or (a != a and b != b) else abs(a - b) / max(abs(a), abs(b))


def bound(rows: list[tuple[int, float]]) -> dict[str, Any]:
    differing = [(iteration, difference) for iteration, difference in rows if difference > 0.0]
    return {
        "iterations": rows[-1][0],
        "first": differing[0][0] if differing else None,
        "at_first": differing[0][1] if differing else 0.0,
        "at_last": rows[-1][1],
        "largest": max(difference for _, difference in rows),
    }


def print_table(words: list[str], bounds: dict[str, dict[str, Any]]) -> None:
    print(f"two runs of one seed, {' '.join(words) or 'the default run'}: relative differences")
    print(f"{'':<14}{'first at':>10}{'there':>12}{'at the end':>12}{'largest':>12}")
    for name, found in bounds.items():
        first = "never" if found["first"] is None else str(found["first"])
        print(f"{name:<14}{first:>10}{found['at_first']:>12.1e}{found['at_last']:>12.1e}{found['largest']:>12.1e}")
    last = max(found["iterations"] for found in bounds.values())
    differing = [found["first"] for found in bounds.values() if found["first"] is not None]
    print(f"equal bit by bit over {last} iterations" if not differing else f"equal until iteration {min(differing)}")


if __name__ == "__main__":
    raise SystemExit(main())
