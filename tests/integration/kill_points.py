"""Start one run again and again and kill it each time: ``kill_points.py KILLED_DIR WHOLE_DIR KILLS SEED [WORD...]``.

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
from collections.abc import Callable
from pathlib import Path

import torch
from dying import die_at
from tiny_run import SAMPLES, TINY, iteration_of

from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.runs.lock import read_holder
from mimickit_hydra.training.checkpoint import list_checkpoints
from mimickit_hydra.training.run import run

# Where it dies: a part of the path of the file operation, and up to which such operation. The first three have none.
MOMENTS = ("start", "training", "training")
OPERATIONS = {"save": ("checkpoints/", 60), "log": ("log.txt", 14), "state": ("state.json", 7), "resume": ("", 60)}
PLACES = (*MOMENTS, "save", "save", *OPERATIONS)


def forked(body: Callable[[], object]) -> int:
    """Call ``body`` in a child process; its number."""
    child = os.fork()
    if child:
        return child
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    code = 1
    try:
        body()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def start(run_dir: Path, config: RunConfig, text: str, death: tuple[str, int, float] | None = None) -> int:
    """Begin or go on in a child process, which dies at that file operation; its number."""

    def body() -> None:
        if death is not None:
            die_at(*death)
        run(config, resolved_yaml=text, overrides=[], out_dir=str(run_dir), restart=True)

    return forked(body)


def config_of(run_dir: Path, max_samples: float, words: list[str]) -> tuple[RunConfig, str]:
    cfg = compose([*TINY, *words, f"out_dir={run_dir}", f"max_samples={max_samples}"])
    return to_run(cfg), resolved_yaml(cfg)


def kill_one(run_dir: Path, config: RunConfig, text: str, draw: random.Random) -> dict[str, object]:
    """Start it and see that it dies: at a random moment of its start or its training, or at a random file operation."""
    place = draw.choice(PLACES)
    if place in OPERATIONS:
        part, most = OPERATIONS[place]
        moment = draw.choice([0.0, draw.uniform(0.0, 0.003)])
        number = draw.randint(1, most)
        child = start(run_dir, config, text, (part or str(run_dir), number, moment))
    else:
        newest = list_checkpoints(run_dir)[-1:]
        child = start(run_dir, config, text)
        while not holds(run_dir, child) or (place == "training" and list_checkpoints(run_dir)[-1:] == newest):
            time.sleep(0.002)
        moment, number = draw.uniform(0.0, 0.8 if place == "start" else 0.3), 0
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    iteration = iteration_of(run_dir) if list_checkpoints(run_dir) else 0
    left = sorted(path.name for path in run_dir.rglob(".*.tmp"))
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return {"killed": killed, "iteration": iteration, "place": place, "number": number, "after": moment, "left": left}


def holds(run_dir: Path, child: int) -> bool:
    if os.waitpid(child, os.WNOHANG)[0]:
        raise SystemExit(f"the run ended by itself: see {run_dir}/state.json")
    return (read_holder(run_dir) or {}).get("pid") == child


def finish(run_dir: Path, iterations: int, words: list[str]) -> None:
    _, status = os.waitpid(start(run_dir, *config_of(run_dir, iterations * SAMPLES, words)), 0)
    if status:
        raise SystemExit(os.waitstatus_to_exitcode(status))


def main() -> None:
    killed, whole, kills, seed = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:5])
    words = sys.argv[5:]
    torch.set_num_threads(1)
    draw = random.Random(seed)
    endless = config_of(killed, 1e9, words)
    iterations = 0
    for _ in range(kills):
        row = kill_one(killed, *endless, draw)
        iterations = int(str(row["iteration"]))
        print(json.dumps(row), flush=True)
    for run_dir in (killed, whole):
        finish(run_dir, iterations + 4, words)


if __name__ == "__main__":
    main()
