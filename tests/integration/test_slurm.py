"""``launch=slurm`` on a real cluster of two nodes: preemption, time limit, dead tasks, and what is said of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest_tools import ROOT, end_at, has_saved, mimickit, reference, state_of, submit, train, wait_until
from tiny_run import SAMPLES, TINY, assert_same_run, iteration_of

from mimickit_hydra.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow
SLURM = ["launch=slurm", "launch.cpus=1", "launch.mem=500MB", "launch.time=60"]


def squeue(columns: str = "%i") -> str:
    return subprocess.run(["squeue", "-h", "-o", columns], capture_output=True, text=True, check=True).stdout.strip()


def scancel(*arguments: str) -> None:
    subprocess.run(["scancel", *arguments], check=True)


def statuses(folder: Path) -> dict[str, str]:
    """State of each run as ``mimickit status`` sees it."""
    done = mimickit("status", str(folder), "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return {Path(entry["run"]).name: entry["state"] for entry in json.loads(done.stdout)}


def wait_for_start(run_dir: Path, number: int) -> None:
    wait_until(lambda: state_of(run_dir).starts == number, f"start number {number}", 120)


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that stands in for Weights & Biases in the job; the file in which it notes every start."""
    folder = tmp_path / "stand_in"
    folder.mkdir()
    notes = folder / "starts.jsonl"
    (folder / "wandb.py").write_text(
        "import json\n"
        "class Run:\n"
        "    step = 0\n"
        "    def log(self, values, step): pass\n"
        "    def finish(self): pass\n"
        "def init(**arguments):\n"
        f"    with open({str(notes)!r}, 'a') as file:\n"
        "        file.write(json.dumps([arguments['id'], arguments['resume'], arguments['dir']]) + '\\n')\n"
        "    return Run()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return notes


def test_preemption_requeue_and_signal_with_two_tasks(slurm: Path, tmp_path: Path, wandb: Path) -> None:
    """Preempted by another job, requeued by hand, told to stop: each time it goes on in its directory; then equal.

    None of these counts as a time limit, of which none is allowed here.
    """
    path = tmp_path / "run"
    logger = ["logger.tb=true", "logger.wandb=true"]
    words = [*TINY, *logger, "max_samples=1e9", *SLURM, "launch.tasks=2", "launch.max_timeouts=0", f"out_dir={path}"]
    said = submit(*words, cwd=tmp_path)
    job = str(state_of(path).job_id)
    assert f"submitted   job {job}" in said
    wait_until(lambda: has_saved(path), "a checkpoint", 90)
    node = squeue("%N")
    urgent = ["sbatch", "-p", "urgent", "-w", node, "-c", "4", "--mem=100", "--output=/dev/null", "--wrap", "sleep 1"]
    subprocess.run(urgent, check=True, capture_output=True)
    wait_until(lambda: state_of(path).state == "preempted", "the preemption")
    wait_for_start(path, 2)
    for number, command in ((3, ["scontrol", "requeue", job]), (4, ["scancel", "--signal=USR2", job])):
        saved = iteration_of(path)
        wait_until(lambda saved=saved: has_saved(path, saved + 1), "another checkpoint", 90)  # type: ignore[misc]
        subprocess.run(command, check=True)
        wait_until(lambda: state_of(path).state == "preempted", " ".join(command))
        assert statuses(tmp_path) == {"run": "preempted"}
        if number == 4:
            iterations = iteration_of(path) + 4
            end_at(path, iterations, ranks=2)
        wait_for_start(path, number)
    wait_until(lambda: state_of(path).state == "finished", "the end", 120)
    assert state_of(path).job_id == job
    assert state_of(path).timeouts == 0
    starts = [json.loads(line) for line in wandb.read_text().splitlines()]
    assert len(starts) == 4
    assert len({tuple(start) for start in starts}) == 1  # the same id, allowed to resume, in the same directory
    other = reference(tmp_path / "other", iterations, "devices=[cpu,cpu]", ranks=2)
    assert_same_run(path, other, ranks=2)
    assert tensorboard_steps(path) == tensorboard_steps_expected(path)


def tensorboard_steps(folder: Path) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.step for event in events.Scalars("0_Main/Test_Return")]


def tensorboard_steps_expected(folder: Path) -> list[int]:
    from mimickit_hydra.runs.log_table import read_log

    return [int(samples) for samples in read_log(folder / "log.txt")["Samples"]]


def test_the_time_limit_comes_as_often_as_allowed(slurm: Path, tmp_path: Path) -> None:
    """A limit of one minute, the shortest there is: once it goes on by itself, the second time it stops and says so."""
    path = tmp_path / "run"
    words = [*TINY, "max_samples=1e9", *SLURM, "launch.time=1", "launch.signal_delay=10", "launch.max_timeouts=1"]
    submit(*words, f"out_dir={path}", cwd=tmp_path)
    job = state_of(path).job_id
    wait_until(lambda: has_saved(path), "a checkpoint", 90)
    wait_until(lambda: state_of(path).state == "preempted", "the time limit", 90)
    assert state_of(path).timeouts == 1
    first = iteration_of(path)
    wait_for_start(path, 2)
    assert state_of(path).job_id == job
    wait_until(lambda: state_of(path).timeouts == 2, "the second time limit", 120)  # said after the run has stopped
    assert state_of(path).state == "stopped"
    assert "launch.max_timeouts=1 allows no more" in str(state_of(path).error)
    assert "launch.max_timeouts=1 allows no more" in mimickit("status", str(path), cwd=tmp_path).stdout
    second = iteration_of(path)
    assert second > first
    wait_until(lambda: not squeue(), "an empty queue")
    submit(f"resume={path}", *SLURM, f"max_samples={(second + 4) * SAMPLES}", cwd=tmp_path)
    wait_until(lambda: state_of(path).state == "finished", "the end", 120)
    assert state_of(path).timeouts == 0  # asked anew
    assert_same_run(path, reference(tmp_path / "other", second + 4))


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_task_ends_all_of_two_nodes(slurm: Path, tmp_path: Path, victim: int) -> None:
    """One process on each of two nodes. When one is killed nothing hangs, the state says why, and the run goes on."""
    path = tmp_path / "run"
    submit(*TINY, "max_samples=1e9", *SLURM, "launch.nodes=2", f"out_dir={path}", cwd=tmp_path)
    wait_until(lambda: has_saved(path), "a checkpoint", 120)
    assert squeue("%D %N") == "2 one,two"
    places = {number: node for number, node, _ in tasks(path)}
    assert sorted(places) == [0, 1]
    assert sorted(places.values()) == ["one", "two"]
    began = time.monotonic()
    os.kill(next(pid for number, _, pid in tasks(path) if number == victim), signal.SIGKILL)
    wait_until(lambda: not squeue(), "the end of the job", 60)
    assert time.monotonic() - began < 45
    wait_until(lambda: state_of(path).state == "failed", "the state", 20)
    assert not tasks(path)
    status = mimickit("status", str(path), cwd=tmp_path).stdout
    assert "failed" in status
    assert "a task of job" in status
    assert "ended with signal 9" in status
    iterations = iteration_of(path) + 4
    submit(f"resume={path}", *SLURM, "launch.nodes=2", f"max_samples={iterations * SAMPLES * 2}", cwd=tmp_path)
    wait_until(lambda: state_of(path).state == "finished", "the end", 120)
    assert_same_run(path, reference(tmp_path / "other", iterations, "devices=[cpu,cpu]", ranks=2), ranks=2)


def tasks(run_dir: Path) -> list[tuple[int, str, int]]:
    """Number, node and process of every living task of the run's job."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            environment = dict(
                text.split("=", 1) for text in (folder / "environ").read_bytes().decode().split("\0") if "=" in text
            )
        except (OSError, UnicodeDecodeError):
            continue
        if "submitit.core._submit" in words and str(run_dir / "slurm") in words and "SLURM_STEP_ID" in environment:
            found.append((int(environment["SLURM_PROCID"]), environment["SLURMD_NODENAME"], int(folder.name)))
    return found


def test_status_attach_and_cancel(slurm: Path, tmp_path: Path) -> None:
    """An array of two, one at a time; the first is looked on at and cancelled, then the sweep with what waits."""
    sweep = tmp_path / "s"
    words = [*TINY, "rand_seed=1,2", "max_samples=1e9", *SLURM, "launch.array_parallelism=1", "out_dir=s"]
    said = submit("-m", *words, cwd=tmp_path)
    first, second = sorted(path.name for path in sweep.glob("*_deepmimic_humanoid_mujoco"))
    jobs = [str(state_of(sweep / name).job_id) for name in (first, second)]
    assert [job.split("_")[1] for job in jobs] == ["0", "1"]
    assert all(f"job {job}" in said for job in jobs)
    assert statuses(sweep)[second] == "queued"
    wait_until(lambda: has_saved(sweep / first), "a checkpoint", 90)
    assert statuses(sweep) == {first: "running", second: "queued"}
    assert f"slurm {jobs[0]}" in mimickit("status", "s", cwd=tmp_path).stdout
    assert follows(sweep / first, tmp_path)
    assert mimickit("cancel", str(sweep / first), cwd=tmp_path).stdout == f"s/{first}: scancel {jobs[0]}\n"
    wait_until(lambda: statuses(sweep)[first] == "stopped", "the saved stop")
    assert has_saved(sweep / first)
    wait_until(lambda: statuses(sweep)[second] == "running", "the second run")
    assert f"s/{second}: scancel {jobs[1]}\n" in mimickit("cancel", "s", cwd=tmp_path).stdout
    wait_until(lambda: not squeue(), "an empty queue")
    wait_until(lambda: statuses(sweep) == {first: "stopped", second: "stopped"}, "both saved stops")
    assert mimickit("cancel", "s", cwd=tmp_path).stdout == "nothing runs or waits there\n"


def follows(run_dir: Path, cwd: Path) -> bool:
    """Whether ``mimickit attach`` shows what the run prints, and leaves it alone when interrupted."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mimickit_hydra.cli.main", "attach", str(run_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert "the run goes on" in said
    return any("samples" in line for line in seen)


def test_a_line_of_setup_that_fails_ends_the_job(slurm: Path, tmp_path: Path) -> None:
    """The first that fails, with its exit code; one that may fail says so itself."""
    words = [*TINY, f"max_samples={2 * SAMPLES}", *SLURM]
    fails = "launch.setup=['export A=1; false || true', 'no_such_command $A', 'touch never']"
    submit(*words, fails, "out_dir=bad", cwd=tmp_path)
    submit(*words, "launch.setup=['export A=1; false || true', 'touch here']", "out_dir=good", cwd=tmp_path)
    wait_until(lambda: set(statuses(tmp_path).values()) == {"failed", "finished"}, "both ends", 120)
    line = "launch.setup: a line of it ended with exit code 127, so the run did not begin: no_such_command $A"
    assert state_of(tmp_path / "bad").error == line
    assert line in mimickit("status", str(tmp_path), cwd=tmp_path).stdout
    assert (tmp_path / "here").exists()
    assert not (tmp_path / "never").exists()


def test_attach_says_what_a_queued_run_waits_for(slurm: Path, tmp_path: Path) -> None:
    words = [*TINY, f"max_samples={2 * SAMPLES}", *SLURM, "launch.sbatch={hold: true}"]
    submit(*words, "out_dir=run", cwd=tmp_path)
    job = state_of(tmp_path / "run").job_id
    process = subprocess.Popen(
        [sys.executable, "-m", "mimickit_hydra.cli.main", "attach", "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    assert re.fullmatch(rf"waiting for slurm {job} to start run: JobHeldUser \(\d+ s\)\n", process.stderr.readline())
    subprocess.run(["scontrol", "release", str(job)], check=True)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "samples" in said
    assert state_of(tmp_path / "run").state == "finished"


def test_editing_a_yaml_in_the_queue_changes_nothing(slurm: Path, tmp_path: Path) -> None:
    """Held in the queue, ``conf/`` edited, released: it trains with what was frozen."""
    root = tmp_path / "checkout"
    shutil.copytree(
        ROOT / "mimickit_hydra", root / "mimickit_hydra", ignore=shutil.ignore_patterns("data", "__pycache__")
    )
    (root / "mimickit_hydra" / "data").symlink_to(ROOT / "mimickit_hydra" / "data")
    shutil.copytree(ROOT / "conf", root / "conf")
    shutil.copy(ROOT / "train.py", root)
    path = tmp_path / "run"
    held = [*SLURM, "launch.sbatch={hold: true}"]
    submit(*TINY, f"max_samples={2 * SAMPLES}", *held, f"out_dir={path}", cwd=tmp_path, root=root)
    before = yaml.safe_load((path / "frozen.yaml").read_text())
    assert statuses(tmp_path)["run"] == "queued"
    assert "JobHeldUser" in squeue("%r")
    for file in (root / "conf").rglob("*.yaml"):
        file.write_text(file.read_text().replace("discount:", "discount: 0.5 #"))
    for file in (root / "conf" / "method").glob("*.yaml"):
        file.unlink()
    subprocess.run(["scontrol", "release", str(state_of(path).job_id)], check=True)
    wait_until(lambda: state_of(path).state in ("finished", "failed"), "the end", 90)
    assert state_of(path).error is None
    after = yaml.safe_load((path / "config.yaml").read_text())
    assert after == before
    assert after["agent"]["discount"] != 0.5
    assert yaml.safe_load(load_checkpoint(path).payload["config"]) == before


def test_a_refused_sweep_is_one_line_and_can_be_submitted_again(slurm: Path, tmp_path: Path) -> None:
    words = ["-m", *TINY, "rand_seed=1,2", f"max_samples={2 * SAMPLES}", *SLURM, "out_dir=s"]
    done = train(*words, "launch.partition=nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if not line.startswith("waiting for ")]) == 1
    assert "invalid partition" in done.stderr
    assert set(statuses(tmp_path / "s").values()) == {"missing"}
    again = mimickit("sweep", "resume", "s", "launch.partition=normal", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("submitted   job ") == 2
    wait_until(lambda: set(statuses(tmp_path / "s").values()) == {"finished"}, "both ends", 90)
    assert "2 of 2 runs have finished" in mimickit("sweep", "resume", "s", cwd=tmp_path).stdout
