"""What is left of the physics' speed after the environment, and after the learning.

    python benchmarks/pipeline.py [--rounds 9] [OVERRIDES ...]

Builds the run that ``train.py`` would build from the same overrides. Every round measures, one after the other in one
process, (a) whole training iterations, (b) ``env.step`` and ``env.reset`` alone, under the policy of the moment, and
(c) MuJoCo's ``Batch`` alone, stepping a bare copy of the engine's model through exactly the states and controls that
(b) met. The ratios are taken within a round; medians over rounds are printed, and everything as JSON with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mujoco
import numpy as np
import torch
from mujoco import batch as mujoco_batch

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.done import DONE_NULL
from mimickit_hydra.training.build import Parts, build


class Recorder:
    """Keeps the full state in front of every physics step, and the time that keeping it took."""

    def __init__(self, physics: Any) -> None:
        self.states: list[np.ndarray] = []
        self.substeps = 0
        self.seconds = 0.0
        self.recording = False
        self._step = physics.step
        physics.step = self._record

    def _record(self, nstep: int) -> Any:
        if self.recording:
            began = time.perf_counter()
            self.states.append(self._physics_state())
            self.substeps = nstep
            self.seconds += time.perf_counter() - began
        return self._step(nstep)

    def _physics_state(self) -> np.ndarray:
        return self._step.__self__.state()

    def start(self) -> None:
        self.states.clear()
        self.seconds = 0.0
        self.recording = True


def time_env(parts: Parts, recorder: Recorder, steps: int) -> float:
    """Seconds of ``steps`` env steps with their resets; the policy's own time is left out."""
    env, agent, spent = parts.env, parts.agent, 0.0
    recorder.start()
    for _ in range(steps):
        action = agent.act(env.obs, deterministic=False)
        began = time.perf_counter()
        _, _, done, _ = env.step(action)
        env.reset(done != DONE_NULL)
        spent += time.perf_counter() - began
    recorder.recording = False
    return spent - recorder.seconds


def time_bare(batch: Any, recorder: Recorder) -> float:
    """Seconds of bare physics through the recorded states."""
    spent = 0.0
    for state in recorder.states:
        batch.state[...] = state
        began = time.perf_counter()
        batch.step(nstep=recorder.substeps)
        spent += time.perf_counter() - began
    return spent


def measure(overrides: list[str], rounds: int, warmup: int) -> dict[str, Any]:
    run = to_run(compose(overrides))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    began = time.perf_counter()
    parts = build(run, Comm(), torch.device("cpu"))
    build_seconds = time.perf_counter() - began
    engine: Any = parts.engine
    recorder = Recorder(engine._physics)
    model: mujoco.MjModel = engine.scene.model
    threads = engine._physics._batch.nthread
    batch = mujoco_batch.Batch(model, run.num_envs, threads)
    steps = run.agent.steps_per_iter
    for _ in range(warmup):
        parts.agent.train_iteration()
    rows = []
    for _ in range(rounds):
        began = time.perf_counter()
        parts.agent.train_iteration()
        train = time.perf_counter() - began
        rows.append({"train": train, "env": time_env(parts, recorder, steps), "bare": time_bare(batch, recorder)})
    samples = run.num_envs * steps

    def median(values: list[float]) -> float:
        return statistics.median(values)

    return {
        "num_envs": run.num_envs,
        "sim_freq": run.engine.sim_freq,
        "physics_threads": threads,
        "rounds": rounds,
        "bare_steps_per_s": median([samples / row["bare"] for row in rows]),
        "env_steps_per_s": median([samples / row["env"] for row in rows]),
        "train_samples_per_s": median([samples / row["train"] for row in rows]),
        "env_to_bare": median([row["bare"] / row["env"] for row in rows]),
        "train_to_bare": median([row["bare"] / row["train"] for row in rows]),
        "build_s": build_seconds,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "mujoco": mujoco.__version__,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warmup", type=int, default=10, help="training iterations before the first round")
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args()
    result = measure(options.overrides, options.rounds, options.warmup)
    for key, value in result.items():
        print(f"{key:22} {value:,.3f}" if isinstance(value, float) else f"{key:22} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
