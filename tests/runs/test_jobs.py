"""What is said about jobs, with answers that a real squeue gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimickit_hydra.runs.jobs import Jobs
from mimickit_hydra.runs.state import PREEMPTED, RunState

QUEUE = "3_0 launch failed requeued held\n3_1 JobHeldUser\n4 BeginTime\n"


@pytest.mark.parametrize(
    ("launcher", "job", "said"),
    [
        ("slurm", "3_0", "launch failed requeued held; scontrol release 3_0 lets it go on"),
        ("slurm", "3_1", "JobHeldUser"),
        ("slurm", "4", "BeginTime"),
        ("slurm", "5", ""),
        ("tmux", "4", ""),
        ("slurm", None, ""),
    ],
)
def test_why_a_job_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str, job: str | None, said: str
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\nprintf '{QUEUE}'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert Jobs().reason(RunState(state=PREEMPTED, launcher=launcher, job_id=job)) == said
