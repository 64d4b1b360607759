"""Everything that is to be measured on several devices of one host, as one command that can be repeated.

    python benchmarks/scaling.py --plan --data g1/                 # the commands, and an estimate of their minutes
    python benchmarks/scaling.py --data g1/ --out out/scaling      # all of it, on 1, 2, 4 and 8 GPUs
    python benchmarks/scaling.py --device cpu --devices 1,4 --out out/scaling_cpu    # the same at a small size

In order: throughput (weak scaling) of DeepMimic, tracking on the G1 and AMP, the kill of a rank and what is resumed
after it, and the time until ``method=supermimic`` has learned LAFAN1. A step is a command of its own with a limit of
minutes, after which it and its processes are killed; what fails does not stop the others. What is complete in ``--out``
is not made again, so a run that was cut off goes on with the same command, on another machine too if the folder is
brought along. With ``--budget`` no step begins that would not be over in so many minutes from the start.

Each step leaves ``STEP.json`` and ``STEP.log``; ``scaling.json`` holds the results of all of them with their commands
and minutes, and the names of those that were not run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import lafan1
import several
import throughput

HERE = Path(__file__).resolve().parent
CLIP = "env.motion_file=data/motions/g1/g1_humanoid_walk.npz"
WANTED = {4: 3.8, 8: 7.4}  # times the throughput of one GPU
WANTED_S = {4: 0.86 * 60.0}  # until LAFAN1 has been learned: what XMimic needs on four H100s
TINY_NETS = [f"agent.model.{name}_net=fc_2layers_128units" for name in ("actor", "critic")]
TINY_WORLD = [
    *TINY_NETS, "agent.model.world_net=[32,32]", "engine.num_threads=1", "agent.warmup_steps=12", "agent.horizon=2",
    "agent.buffer_steps=16", "agent.holdout_envs=1", "agent.world_warmup=2", "agent.window=3", "agent.first_window=2",
    "agent.window_iters=4", "agent.test_episodes=1",
]  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A command that writes its result to the file that its last argument names."""

    name: str
    command: list[str]
    minutes: float  # that it is thought to take
    limit: float  # minutes after which it is killed


@dataclass(frozen=True)
class Size:
    """What is run at one size, and what it takes: seconds of a row of throughput, of a kill, of what LAFAN1 adds."""

    cells: dict[str, tuple[str, str]]  # name: engine, METHOD:NUM_ENVS:OVERRIDE ...
    throughput: list[str]
    kill: dict[str, list[str]]
    lafan1: list[str]
    minutes: float  # of training on LAFAN1
    row_s: float
    first_s: float  # of the first row of an engine besides: kernels
    kill_s: float
    lafan1_s: float


FULL = Size(
    cells={
        "deepmimic": ("newton", "deepmimic:4096"),
        "tracking_g1": ("mjwarp", f"tracking:4096:character=g1_mjlab:{CLIP}"),
        "amp": ("newton", "amp:4096"),
    },
    throughput=["--iterations", "5", "--limit", "90"],
    kill={
        "deepmimic": ["method=deepmimic", "engine=newton", "num_envs=1024"],
        "supermimic": [
            "method=supermimic", "env=tracking", "character=g1_mjlab", CLIP, "engine=mjwarp", "num_envs=1024",
        ],
    },
    lafan1=["--engine", "mjwarp", "--num-envs", "4096", "--every", "100"],
    minutes=2.5, row_s=30.0, first_s=90.0, kill_s=100.0, lafan1_s=70.0,
)  # fmt: skip
SMALL = Size(
    cells={
        "deepmimic": ("mujoco", "deepmimic:16"),
        "tracking_g1": ("mujoco", f"tracking:8:character=g1_mjlab:{CLIP}:agent.steps_per_iter=8"),
        "amp": ("mujoco", "amp:8:agent.steps_per_iter=8:agent.disc_buffer_size=1000"),
    },
    throughput=["--iterations", "2", "--warm", "1", "--bare-steps", "30", "engine.num_threads=1"],
    kill={
        "deepmimic": ["method=deepmimic", "engine=mujoco", "num_envs=4", "agent.steps_per_iter=8", *TINY_NETS],
        "supermimic": ["method=supermimic", "env=tracking", "engine=mujoco", "num_envs=4", *TINY_WORLD],
    },
    lafan1=["--engine", "mujoco", "--num-envs", "4", "--every", "2", "compute=cpu", *TINY_WORLD],
    minutes=0.1, row_s=20.0, first_s=0.0, kill_s=150.0, lafan1_s=40.0,
)  # fmt: skip


def main() -> None:
    args = arguments()
    steps = planned(args)
    if args.plan:
        print(described(steps, args))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    perform(steps, args.out, args.budget)
    found = collected(steps, args.out)
    (args.out / "scaling.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(tables(found))
    raise SystemExit(1 if found["not_run"] else 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: a small size, on processes")
    parser.add_argument("--devices", type=several.counts, default=[1, 2, 4, 8], help="how many, e.g. 1,2,4,8")
    parser.add_argument("--data", default="", help="LAFAN1's folder; on the CPU the bundled clip by default")
    parser.add_argument("--minutes", type=float, default=0.0, help="of training on LAFAN1, for each number of devices")
    parser.add_argument("--out", type=Path, default=Path("out/scaling"), help="folder of the results")
    parser.add_argument("--budget", type=float, default=float("inf"), help="minutes; what does not fit is left")
    parser.add_argument("--plan", action="store_true", help="print the steps and an estimate, run nothing")
    args = parser.parse_args()
    if not args.plan:
        several.check_devices(parser, args.device, max(args.devices))
    if args.device == "cpu" and not args.data:
        args.data = str(HERE.parent / "mimickit_hydra" / "data" / "motions" / "g1")
    return args


def planned(args: argparse.Namespace) -> list[Step]:
    """All steps, in order."""
    size = SMALL if args.device == "cpu" else FULL
    counts = ",".join(str(count) for count in args.devices)
    device = ["--device", "cpu" if args.device == "cpu" else "cuda:0"]
    steps: list[Step] = []
    engines: set[str] = set()
    for name, (engine, cell) in size.cells.items():
        words = ["--engine", engine, "--cells", cell, *device, "--devices", counts, *size.throughput]
        minutes = (size.row_s * len(args.devices) + size.first_s * (engine not in engines)) / 60.0
        engines.add(engine)
        steps.append(step(f"throughput_{name}", "throughput.py", words, minutes))
    most = max(args.devices)
    for name, words in size.kill.items() if most > 1 else ():
        ranks = "2,0" if most > 2 else "1,0"
        kill = ["--device", args.device, "--devices", str(most), "--ranks", ranks, *words]
        steps.append(step(f"kill_{name}", "kill_rank.py", kill, size.kill_s / 60.0))
    training = args.minutes or size.minutes
    for count in args.devices if args.data else ():
        words = [args.data, "--method", "supermimic", *device, "--devices", str(count), "--minutes", f"{training:g}"]
        words += ["--keep", str(args.out / "lafan1"), *size.lafan1]
        steps.append(step(f"lafan1_{count}", "lafan1.py", words, training + size.lafan1_s / 60.0))
    return steps


def step(name: str, script: str, words: list[str], minutes: float) -> Step:
    return Step(name, [sys.executable, str(HERE / script), *words, "--out"], minutes, 3.0 * minutes + 1.0)


def typed(one: Step) -> list[str]:
    """The command as one would type it, without the file of its result."""
    words = ["python", f"benchmarks/{Path(one.command[1]).name}", *one.command[2:-1]]
    return [word.removeprefix(f"{HERE.parent}/") for word in words]


def described(steps: list[Step], args: argparse.Namespace) -> str:
    """The plan, for people: commands as one would type them, with minutes, and how many in all."""
    lines = []
    for one in steps:
        shown = shlex.join([*typed(one), one.command[-1], str(args.out / f"{one.name}.json")])
        done = ", done" if (args.out / f"{one.name}.json").is_file() else ""
        lines += [f"# {one.name}: about {one.minutes:.1f} minutes, at most {one.limit:.0f}{done}", shown]
    left = sum(one.minutes for one in steps if not (args.out / f"{one.name}.json").is_file())
    if not args.data:
        lines.append("# lafan1: left out without --data FOLDER, for each number of devices")
    return "\n".join([*lines, f"# in all about {left:.0f} minutes, of one machine with {max(args.devices)} devices"])


# ----------------------------------------------------------------------------------------------------------- running


def perform(steps: list[Step], out: Path, budget: float) -> None:
    """Run what is not complete yet."""
    began = time.monotonic()
    for one in steps:
        if (out / f"{one.name}.json").is_file():
            print(f"{one.name}: done before", flush=True)
            continue
        if (time.monotonic() - began) / 60.0 + one.minutes > budget:
            print(f"{one.name}: left, its {one.minutes:.1f} minutes do not fit into the budget", flush=True)
            continue
        print(f"{one.name}: {attempt(one, out)}", flush=True)


def attempt(one: Step, out: Path) -> str:
    """Run a step and keep its result if it is complete; a line about it."""
    part, began = out / f"{one.name}.part.json", time.monotonic()
    part.unlink(missing_ok=True)
    with open(out / f"{one.name}.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen([*one.command, str(part)], stdout=log, stderr=log, start_new_session=True)
        try:
            code = process.wait(60.0 * one.limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):  # what it started is in its session
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    minutes = (time.monotonic() - began) / 60.0
    if code is None:
        return f"killed after {minutes:.1f} minutes, see {one.name}.log"
    wrong = problem(part)
    if code or wrong:
        return f"failed after {minutes:.1f} minutes ({wrong or f'exit code {code}'}), see {one.name}.log"
    found = json.loads(part.read_text(encoding="utf-8"))
    kept = {**found, "command": typed(one), "minutes": minutes}
    (out / f"{one.name}.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    part.unlink()
    return f"done in {minutes:.1f} minutes"


def problem(part: Path) -> str:
    """What keeps a result from being complete; nothing if it is."""
    if not part.is_file():
        return "no result"
    errors = [row["error"] for row in json.loads(part.read_text(encoding="utf-8")).get("rows", []) if "error" in row]
    return errors[0] if errors else ""


# ------------------------------------------------------------------------------------------------------------ results


def collected(steps: list[Step], out: Path) -> dict[str, Any]:
    """All results in one: rows of throughput and LAFAN1, kills, and the steps that are missing."""
    found: dict[str, Any] = {
        "torch": torch.__version__, "machine": platform.machine(), "cores": os.cpu_count(), "steps": [],
        "not_run": [], "throughput": [], "lafan1": [], "kills": {},
    }  # fmt: skip
    for one in steps:
        file = out / f"{one.name}.json"
        if not file.is_file():
            found["not_run"].append(one.name)
            continue
        result = json.loads(file.read_text(encoding="utf-8"))
        found["steps"].append({"name": one.name, "minutes": result["minutes"], "command": result["command"]})
        kind = one.name.split("_")[0]
        if kind == "kill":
            found["kills"][one.name] = {key: result[key] for key in result if key not in ("minutes", "command")}
        else:
            found[kind] += result["rows"]
    several.times_one(found["lafan1"], lafan1.SAME, lambda row: row["samples_per_s"])
    return found


def tables(found: dict[str, Any]) -> str:
    parts = []
    if found["throughput"]:
        parts.append(throughput.table(found["throughput"]))
    if found["lafan1"]:
        parts.append(lafan1.table(found["lafan1"]))
    for name, kill in found["kills"].items():
        parts += [f"{name}: {'as documented' if kill['good'] else 'NOT as documented'}"]
        parts += [f"  rank {one['rank']} killed, all ended after {one['seconds']:.1f} s" for one in kill["kills"]]
    rows = [row for row in (*found["throughput"], *found["lafan1"]) if "parameters" in row]
    equal = sum(row["parameters"]["equal"] for row in rows)
    parts += verdicts(found)
    parts.append(f"parameters equal on all ranks in {equal} of {len(rows)} rows of several devices")
    if found["not_run"]:
        parts.append(f"not run: {', '.join(found['not_run'])}")
    return "\n\n".join(parts)


def verdicts(found: dict[str, Any]) -> list[str]:
    """What was wanted of several GPUs, and what came of it, a line each."""
    lines = []
    for row in found["throughput"]:
        wanted = WANTED.get(row["devices"], 0.0)
        if wanted and "NVIDIA" in row["device"] and "times_one" in row:
            how = "reached" if row["times_one"] >= wanted else "missed"
            lines.append(
                f"{row['method']} on {row['devices']}: {row['times_one']:.2f} times one, wanted {wanted:g}: {how}"
            )
    for row in found["lafan1"]:
        wanted, first = WANTED_S.get(row["devices"], 0.0), row["first_s"]
        if wanted and "NVIDIA" in row["device"]:
            how = "reached" if first is not None and first < wanted else "missed"
            took = "not reached" if first is None else f"{first:.0f} s"
            lines.append(f"LAFAN1 on {row['devices']}: {took}, wanted below {wanted:.0f} s: {how}")
    return lines


if __name__ == "__main__":
    main()
