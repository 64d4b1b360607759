"""What it costs to submit runs, to save them, to stop them and to report on them.

    python benchmarks/runs.py [submission signal checkpoint report] [--rounds 5] [--json FILE]

submission  seconds until 100 runs are submitted, for each launcher that is here; with Slurm the jobs are held, then
            cancelled, and the runs of launch=packed are stopped at once
signal      SIGTERM to the default run at a random moment: seconds to a complete checkpoint, and to the end of the run
checkpoint  share of a training interval that its checkpoint takes: what the loop waits for, and all processor time of
            the writing thread as if it were lost to training
report      seconds for the page and the table of 100 runs with 1,000 logged rows each

Medians over rounds. Every figure comes with processor seconds where the machine's other work would spoil the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TRAIN = [sys.executable, str(ROOT / "train.py")]
MIMICKIT = [sys.executable, "-m", "mimickit_hydra.cli.main"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
RUNS, ROWS = 100, 1000
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as train.py does, before torch is loaded


def main() -> None:
    parts: dict[str, Callable[[Path, int], Any]] = {
        "submission": submission,
        "signal": stopping,
        "checkpoint": checkpoint,
        "report": report,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all of them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "load_before": load()}
    for name in args.parts or parts:
        with tempfile.TemporaryDirectory() as folder:
            result[name] = parts[name](Path(folder), args.rounds)
    result["load_after"] = load()
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


def load() -> float:
    return round(os.getloadavg()[0], 2)


def timed(command: list[str], cwd: Path) -> tuple[float, float]:
    """Wall-clock and processor seconds of a command that has to succeed."""
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)
    wall, after = time.perf_counter() - began, os.times()
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def medians(rounds: list[tuple[float, float]]) -> dict[str, Any]:
    walls, processor = zip(*rounds, strict=True)
    return {
        "seconds": round(statistics.median(walls), 2),
        "processor_seconds": round(statistics.median(processor), 2),
        "slowest_seconds": round(max(walls), 2),
        "rounds": len(rounds),
    }


# ----------------------------------------------------------------------------------------------------------- submission


def submission(folder: Path, rounds: int) -> dict[str, Any]:
    ways = {"packed": ["launch=packed", "launch.parallel=1"]}
    if shutil.which("sbatch") and subprocess.run(["sinfo"], capture_output=True).returncode == 0:
        ways["slurm"] = ["launch=slurm", "launch.sbatch={hold: true}", "launch.mem=100MB", "launch.cpus=1"]
    result = {}
    for name, words in ways.items():
        found = []
        for number in range(rounds):
            place = f"{name}{number}"
            found.append(timed([*TRAIN, "-m", f"rand_seed=range({RUNS})", f"out_dir={place}", *words], folder))
            subprocess.run([*MIMICKIT, "cancel", place], cwd=folder, env=ENVIRONMENT, capture_output=True)
        result[name] = medians(found)
    return {"runs": RUNS, **result}


# --------------------------------------------------------------------------------------------------------------- signal


def stopping(folder: Path, rounds: int) -> dict[str, Any]:
    draw = random.Random(0)
    saved, ended = [], []
    for number in range(rounds):
        run_dir = folder / str(number)
        process = subprocess.Popen(
            [*TRAIN, f"out_dir={run_dir}"], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        newest = run_dir / "checkpoints" / "last.pt"
        while not newest.exists():
            time.sleep(0.1)
            if process.poll() is not None:
                raise SystemExit("the default run ended before its first checkpoint")
        time.sleep(draw.uniform(2.0, 6.0))
        asked, before = time.time(), newest.stat().st_mtime
        process.send_signal(signal.SIGTERM)
        code = process.wait()
        ended.append(time.time() - asked)
        saved.append(newest.stat().st_ctime - asked)
        if code != 75 or newest.stat().st_mtime == before:
            raise SystemExit(f"no checkpoint after the signal, exit code {code}")
    return {
        "to_complete_checkpoint_s": round(statistics.median(saved), 2),
        "slowest_to_checkpoint_s": round(max(saved), 2),
        "to_end_of_process_s": round(statistics.median(ended), 2),
        "rounds": rounds,
    }


# ----------------------------------------------------------------------------------------------------------- checkpoint


def checkpoint(folder: Path, rounds: int) -> dict[str, Any]:
    return {
        method: checkpoint_of(folder / method, rounds, f"method={method}") for method in ("deepmimic", "amp", "add")
    }


def checkpoint_of(run_dir: Path, rounds: int, *overrides: str) -> dict[str, Any]:
    import torch

    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.distributed import Comm
    from mimickit_hydra.training.build import build
    from mimickit_hydra.training.checkpoint import list_checkpoints
    from mimickit_hydra.training.processes import check_devices
    from mimickit_hydra.training.signals import StopSignal
    from mimickit_hydra.training.train import Trainer

    torch.set_num_threads(1)  # as a run does
    run = to_run(compose([*overrides, "rand_seed=0", f"out_dir={run_dir}"]))
    parts = build(run, Comm(), check_devices(run.devices)[0])
    trainer = Trainer(parts, run, run_dir, Comm(), StopSignal(), "")
    iterations, waits, writes = [], [], []
    parts.agent.train_iteration()
    for number in range(rounds + 1):
        began = time.perf_counter()
        parts.agent.train_iteration()
        middle = time.perf_counter()
        used = time.process_time()
        trainer._save(None)
        waited = time.perf_counter()
        trainer.saver.wait()
        if number > 0:  # the first one makes the buffers
            iterations.append(middle - began)
            waits.append(waited - middle)
            writes.append(time.process_time() - used)
    parts.close()
    iteration, wait, write = map(statistics.median, (iterations, waits, writes))
    interval = run.agent.iters_per_output * iteration
    return {
        "megabytes": round(list_checkpoints(run_dir)[-1].stat().st_size / 1e6, 1),
        "interval_iterations": run.agent.iters_per_output,
        "iteration_s": round(iteration, 3),
        "loop_waits_s": round(wait, 4),
        "processor_s": round(write, 4),
        "percent_of_training_waited": round(100 * wait / interval, 3),
        "percent_of_training_at_most": round(100 * max(wait, write) / interval, 3),
        "rounds": rounds,
    }


# --------------------------------------------------------------------------------------------------------------- report


def report(folder: Path, rounds: int) -> dict[str, Any]:
    make_runs(folder / "sweep")
    found = [timed([*MIMICKIT, "report", "sweep"], folder) for _ in range(rounds)]
    size = (folder / "sweep" / "report.html").stat().st_size
    return {"runs": RUNS, "rows": ROWS, **medians(found), "page_megabytes": round(size / 1e6, 2)}


def make_runs(sweep: Path) -> None:
    """Ten settings with ten seeds each, as finished runs leave them."""
    from mimickit_hydra.config.compose import compose, resolved_yaml
    from mimickit_hydra.runs.state import FINISHED, RunState, write_state
    from mimickit_hydra.training.loggers import TextLogger

    draw = random.Random(0)
    names = ("Critic_Loss", "Actor_Loss", "Clip_Frac", "Train_Return", "Train_Episode_Length", "Wall_Time")
    for number in range(RUNS):
        run_dir = sweep / f"{number:02d}_deepmimic_humanoid_mujoco"
        run_dir.mkdir(parents=True)
        rate = 1e-4 * (1 + number // 10)
        cfg = compose([f"agent.actor_optimizer.learning_rate={rate}", f"rand_seed={number % 10}", f"out_dir={run_dir}"])
        (run_dir / "config.yaml").write_text(resolved_yaml(cfg), encoding="utf-8")
        lines = TextLogger(run_dir / "log.txt")
        for row in range(ROWS):
            values = {name: draw.gauss(row, 30.0) for name in names}
            step = 100_000 * (row + 1)
            lines.write({"Iteration": row, "Test_Return": draw.gauss(row / 10, 5.0), **values}, step)
        metrics = {"return": 90.0, "success_rate": 1.0, "body_pos_err": 0.03}
        (run_dir / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        write_state(run_dir, RunState(FINISHED, samples=100_000 * ROWS))


if __name__ == "__main__":
    main()
