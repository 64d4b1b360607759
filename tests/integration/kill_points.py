"""Start one run again and again and kill it each time: ``kill_points.py KILLED_DIR WHOLE_DIR KILLS SEED``.

Afterwards the run is brought to its end, and another one goes there without interruption.

Imports once and forks for each start, so that a start costs a fraction of a second. Prints one JSON line per kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from tiny_run import SAMPLES, TINY, iteration_of

import mimickit_hydra.runtime.curves
import mimickit_hydra.runtime.train  # noqa: F401  imported before the forks
from mimickit_hydra.adapter.run import run
from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.runtime.checkpoint import list_checkpoints
from mimickit_hydra.runtime.lock import read_holder


def start(run_dir: Path, config: RunConfig, text: str) -> int:
    """Begin or go on in a child process; its number."""
    child = os.fork()
    if child:
        return child
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    code = 1
    try:
        run(config, resolved_yaml=text, overrides=[], out_dir=str(run_dir), restart=True)
        code = 0
    finally:
        os._exit(code)


def config_of(run_dir: Path, max_samples: float) -> tuple[RunConfig, str]:
    cfg = compose([*TINY, f"out_dir={run_dir}", f"max_samples={max_samples}"])
    return to_run(cfg), resolved_yaml(cfg)


def kill_one(run_dir: Path, config: RunConfig, text: str, seconds: float, training: bool) -> dict[str, object]:
    """Start, wait until the child works in the directory or has saved something new, then for ``seconds``, and kill."""
    newest = list_checkpoints(run_dir)[-1:]
    child = start(run_dir, config, text)
    while (read_holder(run_dir) or {}).get("pid") != child or (training and list_checkpoints(run_dir)[-1:] == newest):
        time.sleep(0.002)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    iteration = iteration_of(run_dir) if list_checkpoints(run_dir) else 0
    left = sorted(path.name for path in run_dir.glob("checkpoints/.*.tmp"))
    return {"killed": os.WIFSIGNALED(status), "iteration": iteration, "after_s": seconds, "left": left}


def finish(run_dir: Path, iterations: int) -> None:
    _, status = os.waitpid(start(run_dir, *config_of(run_dir, iterations * SAMPLES)), 0)
    if status:
        raise SystemExit(os.waitstatus_to_exitcode(status))


def main() -> None:
    killed, whole, kills, seed = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:5])
    torch.set_num_threads(1)
    draw = random.Random(seed)
    endless = config_of(killed, 1e9)
    iterations = 0
    for number in range(kills):
        starting = number % 5 == 0  # one in five dies while it starts, the others anywhere between two checkpoints
        row = kill_one(killed, *endless, draw.uniform(0.0, 0.8 if starting else 0.3), not starting)
        iterations = int(str(row["iteration"]))
        print(json.dumps(row), flush=True)
    for run_dir in (killed, whole):
        finish(run_dir, iterations + 4)


if __name__ == "__main__":
    main()
