"""What ``launch=slurm`` asks of the cluster, and how a job reads what the cluster says; no Slurm needed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.schema import LaunchConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.sweeps.launch_settings import change_launch
from mimickit_hydra.sweeps.launcher import LaunchError
from mimickit_hydra.sweeps.schema import SlurmLaunchConfig
from mimickit_hydra.sweeps.slurm import submit_slurm
from mimickit_hydra.sweeps.slurm_end import checked
from mimickit_hydra.sweeps.slurm_job import is_at_time_limit, name_the_first_node, was_requeued
from mimickit_hydra.sweeps.submit import submit

pytest.importorskip("submitit", reason="pip install 'mimickit-hydra[launch]'")


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tools"
    program(folder, "sbatch", f"cat $1 > {tmp_path}/script; echo Submitted batch job 12")
    program(folder, "srun", "exit 0")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def script(tmp_path: Path, *overrides: str, runs: int = 1) -> list[str]:
    """The batch script that the overrides lead to, without a cluster."""
    launch = to_run(compose(["launch=slurm", *overrides])).launch
    assert isinstance(launch, SlurmLaunchConfig)
    frozen = []
    for number in range(runs):
        folder = tmp_path / "runs" / str(number)
        folder.mkdir(parents=True)
        frozen.append(folder / "frozen.yaml")
    ids = submit_slurm(launch, frozen, name="a_name", cwd=str(tmp_path))
    assert ids == (["12"] if runs == 1 else [f"12_{number}" for number in range(runs)])
    return (tmp_path / "script").read_text().splitlines()


def test_gpus_nodes_and_tasks(tools: Path, tmp_path: Path) -> None:
    lines = script(
        tmp_path, "launch.gpus=4", "launch.gpu_type=a100", "launch.nodes=2", "launch.partition=gpu",
        "launch.account=lab", "launch.time=2880", "launch.cpus=8", "launch.mem=64GB", "launch.signal_delay=60",
        "launch.setup=[module load cuda]", "launch.sbatch={mail-type: END, exclusive: true}",
    )  # fmt: skip
    for wanted in (
        "--gpus-per-node=a100:4", "--nodes=2", "--ntasks-per-node=4", "--cpus-per-task=8", "--mem=64GB", "--time=2880",
        "--partition=gpu", "--account=lab", "--signal=USR2@60", "--requeue", "--job-name=a_name",
        f"--chdir={tmp_path}", "--mail-type=END", "--exclusive", "--open-mode=append",
    ):  # fmt: skip
        assert f"#SBATCH {wanted}" in lines, wanted
    (start,) = [line for line in lines if line.startswith("srun ")]
    assert "--kill-on-bad-exit=1 --cpus-per-task=8" in start
    assert lines.index("module load cuda") < lines.index(start) < lines.index("code=$?")


def test_a_gpu_of_any_kind_an_array_and_no_requeue(tools: Path, tmp_path: Path) -> None:
    lines = script(tmp_path, "launch.gpus=1", "launch.requeue=false", "launch.array_parallelism=2", runs=3)
    for wanted in ("--gpus-per-node=1", "--ntasks-per-node=1", "--no-requeue", "--array=0-2%2"):
        assert f"#SBATCH {wanted}" in lines, wanted
    assert not any("partition" in line or "account" in line for line in lines)


def test_without_gpus_none_are_asked_for(tools: Path, tmp_path: Path) -> None:
    lines = script(tmp_path, "launch.tasks=2")
    assert not any("--gpu" in line for line in lines)
    assert "#SBATCH --ntasks-per-node=2" in lines


def test_without_slurm_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LaunchError, match="launch=slurm: no sbatch on this machine"):
        submit_slurm(SlurmLaunchConfig("slurm"), [tmp_path / "frozen.yaml"], name="n", cwd=str(tmp_path))
    with pytest.raises(LaunchError, match="launch=packed, tmux or slurm"):
        submit(LaunchConfig("local"), [tmp_path / "frozen.yaml"], name="n", cwd=str(tmp_path))


def test_a_requeued_job_is_told_from_a_cancelled_one() -> None:
    assert was_requeued({"JobState": "COMPLETING", "Restarts": "1"}, {})
    assert was_requeued({"JobState": "COMPLETING", "Restarts": "3"}, {"SLURM_RESTART_COUNT": "2"})
    assert not was_requeued({"JobState": "COMPLETING", "Restarts": "0"}, {})
    assert not was_requeued({"JobState": "RUNNING", "Restarts": "2"}, {"SLURM_RESTART_COUNT": "2"})


def test_the_time_limit_is_told_from_a_preemption() -> None:
    now = time.mktime(time.strptime("2026-11-23T10:00:00", "%Y-%m-%dT%H:%M:%S"))
    soon, late = {"EndTime": "2026-11-23T10:02:00"}, {"EndTime": "2026-11-23T14:00:00"}
    assert is_at_time_limit({**soon, "PreemptTime": "None"}, 150.0, now)
    assert not is_at_time_limit({**soon, "PreemptTime": "2026-11-23T09:59:58"}, 150.0, now)
    assert not is_at_time_limit(late, 150.0, now)
    assert not is_at_time_limit({"EndTime": "Unknown"}, 150.0, now)


def test_tasks_meet_at_an_address_where_the_name_is_none(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tools, "scontrol", '[ "$2" = node ] && echo "NodeName=$4 NodeAddr=10.0.0.7 CPUs=4" || echo no.invalid')
    for name in ("MASTER_ADDR", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    name_the_first_node()
    assert "MASTER_ADDR" not in os.environ
    monkeypatch.setenv("SLURM_STEP_NODELIST", "no.invalid")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("MASTER_ADDR", "")
    del os.environ["MASTER_ADDR"]  # put back by the line before
    name_the_first_node()
    assert os.environ["MASTER_ADDR"] == "10.0.0.7"


def test_the_launch_of_a_frozen_run_can_be_changed() -> None:
    run = to_run(compose(["launch=slurm", "launch.time=10", "launch.setup=[a b]", "launch.sbatch={x: y}"]))
    changed = change_launch(run, ["launch.time=20", "launch.partition=big"])
    assert isinstance(changed, SlurmLaunchConfig)
    assert (changed.time, changed.partition, changed.setup, changed.sbatch) == (20, "big", ["a b"], {"x": "y"})
    assert change_launch(run, ["launch=packed"]).launcher == "packed"
    assert change_launch(run, []) is run.launch
    with pytest.raises(UserError, match="only launch=NAME"):
        change_launch(run, ["rand_seed=3"])
    with pytest.raises(UserError, match=r"launch\.time"):
        change_launch(run, ["launch.time=0"])


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        (["true", "false || true", "if false; then", "true", "fi", "source ./inner"], ""),
        (["true", "ls /no/such/folder", "echo on"], "ls /no/such/folder"),
        (["no_such_module load cuda"], "no_such_module load cuda"),
    ],
)
def test_a_line_of_setup_that_fails_ends_the_job(tmp_path: Path, setup: list[str], said: str) -> None:
    (tmp_path / "inner").write_text("false\ntrue\n")
    script = "\n".join(["#!/bin/bash", *checked(setup, tmp_path), "echo the run"])
    (tmp_path / "script").write_text(script.replace(sys.executable, "echo recorded"))
    done = subprocess.run(["bash", "script"], cwd=tmp_path, capture_output=True, text=True)
    assert ("the run" in done.stdout) == (done.returncode == 0) == (said == "")
    if said:
        assert said in done.stdout
        assert f"launch.setup: failed with exit code {done.returncode}: {said}" in done.stderr
