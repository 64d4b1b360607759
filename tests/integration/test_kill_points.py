"""Killed without warning at random moments and random file operations, runs and sweeps end as if nothing had happened.

``MIMICKIT_TEST_KILLS`` says how many kills there are in all: 40 without it, 200 in ``.ci/nightly``.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest_tools import (
    ROOT,
    end_at,
    has_saved,
    kill_all_in,
    mimickit,
    reference,
    state_of,
    submit,
    train,
    wait_until,
)
from tiny_run import SAMPLES, TINY, assert_same_run, iteration_of

HERE = Path(__file__).resolve().parent
KILLS = int(os.environ.get("MIMICKIT_TEST_KILLS", "40"))
OF_SLURM, OF_RUNNER, OF_MANIFEST = (max(2, KILLS // 20), max(2, KILLS // 20), KILLS // 5)
OF_RUN = (KILLS - OF_SLURM - OF_RUNNER - OF_MANIFEST + 1) // 2
LIMIT = 200 + 15 * KILLS  # seconds of a test, on a machine that has other work too
CHAINS: list[list[str]] = [
    [],
    ["method=amp", "logger.tb=true", "save_int_models=true"],  # a replay buffer, event files, checkpoints kept for good
]


def script(name: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / name), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{HERE.parent}", "OMP_NUM_THREADS": "1"},
    )


def kills_of(process: subprocess.Popen[str], count: int) -> list[dict[str, Any]]:
    """The kills that a script has reported, once it has ended well."""
    out, err = process.communicate(timeout=60 + 15 * count)
    assert process.returncode == 0, out + err
    kills = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert len(kills) == count
    assert all(kill["killed"] for kill in kills), kills
    return kills


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_kills_of_a_run_lose_nothing(tmp_path: Path) -> None:
    """Two chains of kills side by side, each of one run that starts, goes on, saves, logs and resumes."""
    places = [(tmp_path / f"killed_{number}", tmp_path / f"whole_{number}") for number in range(len(CHAINS))]
    running = [
        script("kill_points.py", *pair, OF_RUN, 3 + number, *words)
        for number, (pair, words) in enumerate(zip(places, CHAINS, strict=True))
    ]
    for process, (killed, whole) in zip(running, places, strict=True):
        saved = [kill["iteration"] for kill in kills_of(process, OF_RUN)]
        assert saved == sorted(saved)  # never behind a checkpoint that was there before
        assert saved[-1] > 0
        assert_same_run(killed, whole)
        assert not list(killed.glob(".*.tmp"))  # what killed processes had begun to write


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_kills_of_what_writes_a_manifest_lose_nothing(tmp_path: Path) -> None:
    kills_of(script("kill_sweeps.py", tmp_path, OF_MANIFEST, 5), OF_MANIFEST)


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_kills_of_what_runs_a_sweep_lose_nothing(tmp_path: Path) -> None:
    """The process that runs a sweep dies, sometimes with its runs, and the sweep is continued, which dies in turn."""
    draw = random.Random(11)
    folder = tmp_path / "s"
    words = [*TINY, "rand_seed=1,2", "agent.iters_per_output=8", f"max_samples={4000 * SAMPLES}", f"out_dir={folder}"]
    command = [sys.executable, str(ROOT / "train.py"), "-m", *words]
    runs: list[Path] = []
    for _ in range(OF_RUNNER):
        runner = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
        wait_until(lambda: (folder / "runner.json").exists(), "the runner")
        time.sleep(draw.uniform(0.0, 8.0))
        runner.kill()
        runner.wait()
        runs = sorted(path.parent for path in folder.glob("*/frozen.yaml"))
        if draw.random() < 0.7:
            for run in runs:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(state_of(run).pid or 2**22 + 1, signal.SIGKILL)
        command = [sys.executable, "-m", "mimickit_hydra.cli.main", "sweep", "resume", str(folder), "--jobs", "2"]
    assert len(runs) == 2
    saved = []
    kill_all_in(folder)
    for run in runs:
        saved.append(iteration_of(run) if has_saved(run) else 0)
        end_at(run, saved[-1] + 4)
    ended = mimickit("sweep", "resume", str(folder), "--jobs", "2", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    for seed, run in enumerate(runs, 1):
        words = [f"rand_seed={seed}", "agent.iters_per_output=8"]
        assert_same_run(run, reference(tmp_path / str(seed), saved[seed - 1] + 4, *words))


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_kills_around_a_requeue_lose_nothing(slurm: Path, tmp_path: Path) -> None:
    """Slurm takes the job back into the queue, and the run dies while it saves, or soon after it has started again."""
    draw, path = random.Random(13), tmp_path / "run"
    slurm_words = ["launch=slurm", "launch.cpus=1", "launch.mem=500MB", "launch.time=60"]
    submit(*TINY, "max_samples=1e9", *slurm_words, f"out_dir={path}", cwd=tmp_path)
    for number in range(OF_SLURM):
        wait_until(lambda number=number: state_of(path).starts > number, "a start", 120)  # type: ignore[misc]
        before = iteration_of(path) if has_saved(path) else 0
        if number % 2 == 0:  # it has trained for some time
            wait_until(lambda before=before: has_saved(path, before + 1), "a checkpoint", 90)  # type: ignore[misc]
        subprocess.run(["scontrol", "requeue", str(state_of(path).job_id)], check=True)
        time.sleep(draw.choice([0.0, draw.uniform(0.0, 0.5)]))
        with contextlib.suppress(ProcessLookupError):
            os.kill(state_of(path).pid or 2**22 + 1, signal.SIGKILL)
        if has_saved(path):
            assert iteration_of(path) >= before
    wait_until(lambda: state_of(path).starts > OF_SLURM, "the last start", 120)
    wait_until(lambda: has_saved(path), "a checkpoint", 90)
    assert train(f"resume={path}", cwd=tmp_path).returncode == 2  # somebody is at it
    subprocess.run(["scancel", str(state_of(path).job_id)], check=True)
    wait_until(lambda: state_of(path).state == "stopped", "the saved stop")
    iterations = iteration_of(path) + 4
    submit(f"resume={path}", f"max_samples={iterations * SAMPLES}", *slurm_words, cwd=tmp_path)
    wait_until(lambda: state_of(path).state == "finished", "the end", 120)
    assert_same_run(path, reference(tmp_path / "other", iterations))
