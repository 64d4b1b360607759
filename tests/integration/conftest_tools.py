"""Starting runs from the command line, waiting for what they do, and looking at what they have saved."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tiny_run import SAMPLES, TINY, iteration_of

from mimickit_hydra.runs.state import RunState, read_state
from mimickit_hydra.training.checkpoint import list_checkpoints

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


def train(*arguments: str, cwd: Path, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """``train.py`` from the command line."""
    return subprocess.run(
        [sys.executable, str(root / "train.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=900,  # a busy machine
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def submit(*arguments: str, cwd: Path, root: Path = ROOT) -> str:
    """The same for what has to succeed; what it printed."""
    done = train(*arguments, cwd=cwd, root=root)
    assert done.returncode == 0, done.stderr
    return done.stdout


def mimickit(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``mimickit`` from the command line."""
    return subprocess.run(
        [sys.executable, "-m", "mimickit_hydra.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def kill_all_in(folder: Path) -> None:
    """SIGKILL for every process whose command line names something in a folder, those that have only begun too."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{folder}/".encode() in file.read_bytes():
                os.kill(int(file.parent.name), signal.SIGKILL)


def state_of(run_dir: Path) -> RunState:
    return read_state(run_dir) or RunState()


def has_saved(run_dir: Path, iterations: int = 1) -> bool:
    return bool(list_checkpoints(run_dir)) and iteration_of(run_dir) >= iterations


def reference(path: Path, iterations: int, *overrides: str, ranks: int = 1) -> Path:
    """A run of the same length that nothing interrupts."""
    submit(*TINY, *overrides, f"out_dir={path}", f"max_samples={iterations * SAMPLES * ranks}", cwd=path.parent)
    return path


def end_at(run_dir: Path, iterations: int, ranks: int = 1) -> None:
    """Give a run whose budget is endless an end, in its frozen config."""
    file = run_dir / "frozen.yaml"
    file.write_text(
        re.sub(r"(?m)^max_samples: .*$", f"max_samples: {iterations * SAMPLES * ranks}.0", file.read_text())
    )
