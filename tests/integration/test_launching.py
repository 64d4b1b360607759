"""``launch=tmux`` and ``packed`` against the real programs."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest_tools import ROOT, has_saved, state_of, submit, wait_until
from tiny_run import SAMPLES, TINY


def test_tmux_session_outlives_the_shell_and_can_be_attached(tmux: None, tmp_path: Path) -> None:
    path = tmp_path / "run.1"
    said = submit(*TINY, "max_samples=1e9", "launch=tmux", f"out_dir={path}", cwd=tmp_path)
    session = "mk_train_mujoco_run-1"
    assert f"submitted   session {session}" in said
    panes = tmux_says("list-panes", "-t", session, "-F", "#{pane_current_command}")
    assert len(panes.splitlines()) == 2
    assert "top" in panes
    wait_until(lambda: has_saved(path), "a checkpoint", 90)
    assert "samples" in tmux_says("capture-pane", "-p", "-t", f"{session}:0.0")  # what one who attaches sees
    assert b"samples" in attached(path)
    assert state_of(path).state == "running"  # detached, not ended
    subprocess.run(["tmux", "send-keys", "-t", f"{session}:0.0", "C-c"], check=True)
    wait_until(lambda: state_of(path).state == "stopped", "the saved stop")
    wait_until(
        lambda: subprocess.run(["tmux", "has-session", "-t", session], capture_output=True).returncode != 0, "end"
    )
    assert "everything is saved" in (path / "output.log").read_text()


def attached(run_dir: Path) -> bytes:
    """What ``mimickit attach`` shows in a terminal, which is then left with tmux's own keys."""
    child, terminal = pty.fork()
    if child == 0:
        command = [sys.executable, "-m", "mimickit_hydra.cli.main", "attach", str(run_dir)]
        os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"})
    seen, deadline = b"", time.monotonic() + 60
    while b"samples" not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.5)[0]:
            seen += os.read(terminal, 65536)
    os.write(terminal, b"\x02d")  # Ctrl-b d
    with contextlib.suppress(OSError):  # how a terminal ends
        while os.read(terminal, 65536):
            pass
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    return seen


def tmux_says(*arguments: str) -> str:
    return subprocess.run(["tmux", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_packed_runs_a_limited_number_side_by_side(tmp_path: Path) -> None:
    words = [
        "-m",
        *TINY,
        "rand_seed=1,2",
        f"max_samples={2 * SAMPLES}",
        "launch=packed",
        "launch.parallel=1",
        "out_dir=s",
    ]
    submit(*words, cwd=tmp_path)
    runs = sorted((tmp_path / "s").glob("*_deepmimic_humanoid_mujoco"))
    wait_until(lambda: all(state_of(run).state == "finished" for run in runs), "both ends", 120)
    first, second = (state_of(run) for run in runs)
    assert first.updated <= (second.started or 0.0)
    assert json.loads((runs[0] / "result.json").read_text())
