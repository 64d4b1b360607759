"""Whole runs: train, stop, resume, test. Tiny sizes, the real simulator."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_run import SAMPLES, TINY, assert_equal, assert_same_state, log_rows

from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.log_table import read_log
from mimickit_hydra.training.checkpoint import list_checkpoints, load_checkpoint
from mimickit_hydra.training.run import STOPPED_EXIT_CODE, run

ROOT = Path(__file__).resolve().parents[2]


def start(out_dir: Path, *overrides: str) -> float | None:
    cfg = compose([*TINY, f"out_dir={out_dir}", *overrides])
    return run(to_run(cfg), resolved_yaml=resolved_yaml(cfg), overrides=list(overrides), out_dir=str(out_dir))


def train(out_dir: Path, iterations: int, *overrides: str) -> None:
    start(out_dir, f"max_samples={iterations * SAMPLES}", *overrides)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight iterations without interruption."""
    path = tmp_path_factory.mktemp("whole") / "run"
    train(path, 8)
    return path


def test_a_run_leaves_its_files(whole_run: Path) -> None:
    for name in ("config.yaml", "overrides.txt", "versions.json", "git.txt", "git.diff", "log.txt", "curves.png"):
        assert (whole_run / name).exists(), name
    assert json.loads((whole_run / "versions.json").read_text())["torch"] == torch.__version__
    table = log_rows(whole_run)
    assert table["Samples"] == [32, 96, 160, 224, 256]  # outputs at iterations 0, 2, 4, 6 and at the end
    assert all(math.isfinite(value) for values in table.values() for value in values)


@pytest.mark.parametrize("stop_at", [1, 3, 6])
def test_resume_gives_the_numbers_of_an_uninterrupted_run(whole_run: Path, tmp_path: Path, stop_at: int) -> None:
    path = tmp_path / "run"
    train(path, stop_at)
    train(path, 8, f"resume={path}")
    assert_same_state(path, whole_run)
    for key, expected in log_rows(whole_run).items():
        resumed = dict(zip(log_rows(path)["Samples"], log_rows(path)[key], strict=True))
        for samples, value in zip(log_rows(whole_run)["Samples"], expected, strict=True):
            # The stop itself was an output, after which the training means start afresh.
            if not key.startswith("Train_"):
                assert resumed[samples] == value, (key, samples)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    train(path, 5)
    newest = list_checkpoints(path)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    train(path, 8, f"resume={path}")
    out = capsys.readouterr().out
    assert newest.name in out
    assert "falling back" in out
    assert_same_state(path, whole_run)


def test_where_the_agent_makes_the_reward_the_newest_policy_is_the_one(tmp_path: Path) -> None:
    path = tmp_path / "run"
    value = start(path, "method=amp", "max_samples=96", "agent.disc_buffer_size=100", "test_episodes=4", "video=false")
    assert not (path / "checkpoints" / "best.pt").exists()
    metrics = json.loads((path / "metrics.json").read_text())
    assert metrics["return"] == 0.0
    assert value == metrics["episode_length"] > 0.0  # what a sweep compares
    assert 0.0 < metrics["dtw_pose_err"] < 1.0
    errors = read_log(path / "log.txt")["Dtw_Pose_Err"]
    assert all(0.0 < error < 1.0 for error in errors)


def test_numbers_that_are_not_finite_stop_the_run_and_leave_a_dump(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(UserError, match=r"stopped at iteration \d+: .*is not finite.*dumped to"):
        train(path, 6, "agent.actor_optimizer.learning_rate=1e30", "agent.critic_optimizer.learning_rate=1e30")
    assert list((path / "non_finite").glob("*.pt"))


def test_a_used_run_directory_is_refused(whole_run: Path) -> None:
    with pytest.raises(UserError, match="already holds a run"):
        train(whole_run, 1)


def test_more_processes_than_before_do_not_begin_anew(whole_run: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in (whole_run / "checkpoints").iterdir()}
    log = (whole_run / "log.txt").read_bytes()
    with pytest.raises(UserError, match=r"its checkpoints are of 1 process.* cannot be resumed by 2 processes"):
        train(whole_run, 9, f"resume={whole_run}", "devices=[cpu,cpu]")
    assert {path: path.stat().st_mtime_ns for path in (whole_run / "checkpoints").iterdir()} == files
    assert (whole_run / "log.txt").read_bytes() == log
    assert json.loads((whole_run / "state.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(("rank", "error"), [("0", UserError), ("3", SystemExit)])
def test_of_processes_started_outside_the_first_refuses_and_the_others_are_silent(
    whole_run: Path, rank: str, error: type, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    places = {"RANK": rank, "WORLD_SIZE": "4", "LOCAL_RANK": rank, "MASTER_ADDR": "localhost", "MASTER_PORT": "9"}
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error) as ended:
        train(whole_run, 9, f"resume={whole_run}")
    assert "cannot be resumed by 4 processes" in str(ended.value) or ended.value.code == 2
    assert capfd.readouterr().err == ""


def test_an_absent_gpu_is_one_line(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match=r"cuda:0.*no CUDA device.*devices=\[cpu\]"):
        train(tmp_path / "run", 1, "devices=[cuda:0]")


def test_test_mode_measures_and_films(whole_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "test"
    value = start(out, "mode=test", f"model_file={whole_run}", "test_episodes=4", "env.episode_length=0.2")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["return"] == value
    assert metrics["episodes"] >= 4
    assert 0.0 <= metrics["success_rate"] <= 1.0
    for key in ("episode_length", "root_pos_err", "body_pos_err", "joint_rot_err", "dof_vel_err", "smoothness"):
        assert math.isfinite(metrics[key]), key
    assert (out / "video.mp4").exists() or (out / "video.gif").exists()


def test_a_test_without_a_reward_gives_the_length_of_its_episodes(tmp_path: Path) -> None:
    """A sweep over AMP's tests would otherwise compare zeros."""
    value = start(
        tmp_path / "test", "mode=test", "method=amp", "test_episodes=2", "env.episode_length=0.2", "video=false"
    )
    metrics = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert metrics["return"] == 0.0
    assert value == metrics["episode_length"] > 0.0


# --------------------------------------------------------------------------------------------- processes and signals


def command(out_dir: Path, *overrides: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *TINY, f"out_dir={out_dir}", *overrides]


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_sigterm_saves_and_the_run_goes_on_with_the_same_numbers(whole_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = subprocess.Popen(
        command(path, "max_samples=1e9"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_for(path / "checkpoints" / "last.pt", process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == STOPPED_EXIT_CODE, out
    assert "SIGTERM" in out
    assert f"resume={path}" in out
    stopped_at = load_checkpoint(path).payload["agent"]["iteration"]
    train(path, stopped_at + 4, f"resume={path}")
    other = tmp_path / "other"
    train(other, stopped_at + 4)
    assert_same_state(path, other)


def test_kill_loses_nothing_before_the_last_checkpoint(tmp_path: Path) -> None:
    path, other = tmp_path / "run", tmp_path / "other"
    process = subprocess.Popen(
        command(path, "max_samples=1e9"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    try:
        wait_for(path / "checkpoints" / "ckpt_0000000005.pt", process)
    finally:
        process.kill()
        process.wait()
    saved = load_checkpoint(path).payload["agent"]["iteration"]
    assert saved >= 3
    train(path, saved + 3, f"resume={path}")
    train(other, saved + 3)
    assert_same_state(path, other)


def test_two_processes_train_in_step(tmp_path: Path) -> None:
    path = tmp_path / "run"
    done = subprocess.run(
        command(path, "devices=[cpu,cpu]", f"max_samples={4 * 2 * SAMPLES}", "test_episodes=2"),
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert (path / "metrics.json").exists()  # the root tests the best policy while the other has gone
    payloads = [load_checkpoint(path, rank=rank, world_size=2).payload for rank in (0, 1)]
    assert_equal(payloads[0]["agent"]["model"], payloads[1]["agent"]["model"], "model")
    assert payloads[0]["agent"]["samples"] == 4 * 2 * SAMPLES
    assert not torch.equal(payloads[0]["env"]["obs"], payloads[1]["env"]["obs"])  # each process has its own episodes
