"""A process of a run on several devices is killed: how long until the others have ended, and what goes on from there.

    python benchmarks/kill_rank.py --device cuda --devices 4 --out kill.json method=deepmimic engine=newton
    python benchmarks/kill_rank.py --device cpu --devices 4 --ranks 2,0 method=amp num_envs=4

For every rank of ``--ranks`` the run starts, or goes on, until it has saved, and then that rank gets SIGKILL. Measured
is the time until all its processes have ended; noted are their exit code, what they said about it, and who is left.
Afterwards the run is resumed on other numbers of devices, which must be refused in one line, and on as many as before,
where it must go on from its checkpoint and end with the same parameters on all ranks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import several

ROOT = Path(__file__).resolve().parents[1]
MORE = 2  # iterations that the resumed run makes
QUICK = ("test_episodes=0", "agent.test_episodes=1", "video=false", "logger=txt", "agent.iters_per_output=2")
STOP = "All processes of this run stop"
LONG = 1e15  # samples: until somebody ends it


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="mimickit_kill_") as folder:
        found = measured(args, Path(folder) / "run")
    print(json.dumps(found, indent=2))
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(0 if found["good"] else 1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--ranks", default="2,0", help="which are killed, one after the other; at most DEVICES - 1")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds for a start until its checkpoint")
    parser.add_argument("--bound", type=float, default=60.0, help="seconds that the others may take to end")
    parser.add_argument("--out", default="", help="JSON")
    parser.add_argument("overrides", nargs="*", help="of the run")
    args = parser.parse_intermixed_args()
    args.ranks = [int(text) for text in args.ranks.split(",")]
    if max(args.ranks) >= args.devices or args.devices < 2:
        parser.error(f"--ranks: found {max(args.ranks)}, must be below --devices={args.devices}, which is at least 2")
    several.check_devices(parser, args.device, args.devices)
    return args


def measured(args: argparse.Namespace, run_dir: Path) -> dict[str, Any]:
    """Everything, as JSON; ``good`` if all of it is as the docs say."""
    kills = [killed(args, run_dir, rank, first=number == 0) for number, rank in enumerate(args.ranks)]
    others = sorted({1, args.devices // 2} - {args.devices})
    refusals = {str(count): refused(args, run_dir, count) for count in others}
    resumed = finished(args, run_dir)
    good = (
        all(kill["seconds"] < args.bound and kill["left"] == 0 and len(kill["said"]) == 1 for kill in kills)
        and all(found["code"] == 2 and len(found["said"]) == 1 for found in refusals.values())
        and resumed["code"] == 0 and resumed["equal"] and resumed["iteration"] >= resumed["from_iteration"] + MORE
    )  # fmt: skip
    return {
        "devices": args.devices, "device": args.device, "overrides": args.overrides, "good": good, "kills": kills,
        "refused": refusals, "resumed": resumed,
    }  # fmt: skip


def started(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def killed(args: argparse.Namespace, run_dir: Path, rank: int, *, first: bool) -> dict[str, Any]:
    """Start or resume, wait for a checkpoint, kill the rank, and see how the others end."""
    devices = f"devices=[{','.join(several.devices_of(args.device, args.devices))}]"
    begin = [*QUICK, *args.overrides, devices, f"max_samples={LONG}", f"out_dir={run_dir}"]
    before = iteration(run_dir)
    process = started(*(begin if first else [f"resume={run_dir}"]))
    try:
        deadline = time.monotonic() + args.patience
        while iteration(run_dir) <= before + 2:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"no checkpoint came before the kill of rank {rank}: {ended(process)[-2000:]}")
            time.sleep(0.05)
        pids = ranks_of(process.pid)
        began = time.monotonic()
        os.kill(pids[rank], signal.SIGKILL)
        out = ended(process, args.bound)  # which is when the last of them has closed its output
        seconds = time.monotonic() - began
        left = sum(alive(pid) for pid in pids)
        said = [line for line in out.splitlines() if STOP in line or line.startswith(("error", "Traceback"))]
        return {
            "rank": rank, "seconds": seconds, "code": process.returncode, "said": said, "left": left,
            "at_iteration": iteration(run_dir),
        }  # fmt: skip
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ended(process: subprocess.Popen[str], seconds: float = 5.0) -> str:
    """What a process printed, once it has ended; after ``seconds`` it is made to."""
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]


def ranks_of(root: int) -> list[int]:
    """The process ids of a run, rank 0 first: its children are started one after the other."""
    children = Path(f"/proc/{root}/task/{root}/children").read_text(encoding="ascii").split()
    spawned = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return [root, *sorted(spawned)]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False


def iteration(run_dir: Path) -> int:
    """Of the newest checkpoint of rank 0; -1 without one."""
    from mimickit_hydra.training.checkpoint import list_checkpoints

    newest = [path.name.split("_")[1].split(".")[0] for path in list_checkpoints(run_dir)[-1:]]
    return int(newest[0]) if newest else -1


def refused(args: argparse.Namespace, run_dir: Path, count: int) -> dict[str, Any]:
    """A resume on another number of devices: its exit code and what it said."""
    process = started(f"resume={run_dir}", f"devices=[{','.join(several.devices_of(args.device, count))}]")
    out = ended(process, args.patience)
    said = [line.replace(str(run_dir), "RUN") for line in out.splitlines() if not line.startswith("taking over")]
    return {"code": process.returncode, "said": said}


def finished(args: argparse.Namespace, run_dir: Path) -> dict[str, Any]:
    """The resume on as many devices as before, for a few iterations more."""
    from mimickit_hydra.training.checkpoint import load_checkpoint

    before = load_checkpoint(run_dir, world_size=args.devices, replay=False).payload["agent"]
    each = before["samples"] // max(before["iteration"], 1)
    began = time.monotonic()
    process = started(f"resume={run_dir}", f"max_samples={before['samples'] + MORE * each}")
    out = ended(process, args.patience)
    agents = [
        load_checkpoint(run_dir, rank=rank, world_size=args.devices, replay=False).payload["agent"]
        for rank in range(args.devices)
    ]
    sums = [several.checksum([agent[part] for part in ("model", "normalizers", "optimizers")]) for agent in agents]
    return {
        "code": process.returncode, "seconds": time.monotonic() - began, "from_iteration": before["iteration"],
        "iteration": agents[0]["iteration"], "equal": len(set(sums)) == 1, "sha256": sums,
        "said": [line.replace(str(run_dir), "RUN") for line in out.splitlines() if line.startswith("resumed")],
    }  # fmt: skip


if __name__ == "__main__":
    main()
