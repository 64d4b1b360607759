"""launch=tmux: each run in a tmux session, with the machine's load in a second pane."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mimickit_hydra.runs.snapshot import read_frozen
from mimickit_hydra.sweeps.launcher import LOG, LaunchError, command_of, python_path
from mimickit_hydra.sweeps.schema import TmuxLaunchConfig

# A tmux server that runs already has the environment of the shell that started it, not of this one.
_CARRIED = (
    "PATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "MUJOCO_GL", "MIMICKIT_CONF", "MIMICKIT_DATA",
)  # fmt: skip


def submit_tmux(launch: TmuxLaunchConfig, frozen: Sequence[Path], *, cwd: str) -> list[str]:
    """Start every run in a new session and return the sessions' names."""
    if shutil.which("tmux") is None:
        raise LaunchError("launch=tmux: no tmux on this machine; install it, or use launch=packed")
    return [_start(launch, path, cwd) for path in frozen]


def _start(launch: TmuxLaunchConfig, frozen: Path, cwd: str) -> str:
    session = _free_name(session_name(frozen))
    log = frozen.parent / LOG
    _tmux("new-session", "-d", "-s", session, "-x", "180", "-y", "50", "-c", cwd, _script(session, frozen))
    _tmux("pipe-pane", "-t", f"={session}:0.0", f"cat >> {shlex.quote(str(log))}")
    if launch.monitor:
        _tmux("split-window", "-d", "-t", f"={session}:0.0", "-l", "15", launch.monitor)
    _tmux("wait-for", "-S", f"{session}_ready")
    return session


def session_name(frozen: Path) -> str:
    """The session's name ``mk_<mode>_<engine>_<name>``, where the run directory gives the name."""
    run = read_frozen(frozen).run
    text = f"mk_{run.mode}_{run.engine.engine_name}_{frozen.parent.name}"
    return re.sub(r"[^\w-]+", "-", text)  # dots and colons mean something to tmux


def _script(session: str, frozen: Path) -> str:
    """The shell line of the session's first pane: wait for the log, run, then close the second pane."""
    names = (*_CARRIED, *read_frozen(frozen).job.env_copy)
    carried = {name: os.environ[name] for name in names if name in os.environ}
    assignments = [f"{name}={value}" for name, value in {**carried, "PYTHONPATH": python_path()}.items()]
    run = shlex.join(["env", *assignments, *command_of(frozen)])
    name = shlex.quote(session)
    return f"tmux wait-for {name}_ready; {run}; tmux kill-session -t {shlex.quote(f'={session}')}"


def _free_name(name: str) -> str:
    number, found = 1, name
    while subprocess.run(["tmux", "has-session", "-t", f"={found}"], capture_output=True).returncode == 0:
        number += 1
        found = f"{name}-{number}"
    return found


def _tmux(*arguments: str) -> None:
    done = subprocess.run(["tmux", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise LaunchError(f"launch=tmux: tmux {arguments[0]} failed: {' '.join(done.stderr.split())}")
