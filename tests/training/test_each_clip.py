"""A test of a set plays each clip once from its first frame to its end, and says how every one went."""

from __future__ import annotations

import csv
import json
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.playback import PlaybackEnv
from mimickit_hydra.training.build import Parts, build
from mimickit_hydra.training.each_clip import lanes
from mimickit_hydra.training.evaluate import evaluate
from mimickit_hydra.training.run import run

LENGTHS = {"humanoid_kick": 47 / 30, "humanoid_run": 0.8, "humanoid_spinkick": 77 / 60}
WORDS = ["debug=tiny", "env.episode_length=0.5", "test_episodes=2", "video=false", "engine.num_threads=1"]


@pytest.fixture
def a_list(tmp_path: Path) -> Path:
    """Three clips of 30 and 60 Hz, one of which does not repeat; the longest episodes are shorter than any."""
    path = tmp_path / "three.yaml"
    lines = [f"  - {{file: data/motions/humanoid/{name}.npz, weight: 1}}" for name in LENGTHS]
    path.write_text("\n".join(["motions:", *lines, ""]))
    return path


def a_run(path: Path, out: Path, *words: str) -> list[str]:
    return [*WORDS, "mode=test", f"env.motion_file={path}", f"out_dir={out}", *words]


def parts_of(path: Path, out: Path, *words: str) -> Parts:
    return build(to_run(compose(a_run(path, out, *words))), Comm(), torch.device("cpu"))


@pytest.mark.parametrize("number", [1, 2, 5])
def test_lanes_play_every_clip_once_and_are_about_as_long(number: int) -> None:
    seconds = [3.0, 1.0, 1.0, 2.0, 5.0, 0.5]
    queues = lanes(seconds, number)
    assert sorted(clip for queue in queues for clip in queue) == list(range(6))
    longest = max(sum(seconds[clip] for clip in queue) for queue in queues)
    assert longest <= max(5.0, sum(seconds) / number + 3.0)


@pytest.mark.parametrize("num_envs", [1, 2, 4])
def test_a_perfect_policy_plays_every_clip_to_its_end(num_envs: int, a_list: Path, tmp_path: Path) -> None:
    with parts_of(a_list, tmp_path, f"num_envs={num_envs}") as parts:
        env: Any = parts.env
        env._physics = types.MethodType(PlaybackEnv._physics, env)
        metrics = evaluate(parts, tmp_path, episodes=2, video=False)
    assert metrics["episodes"] == 3
    assert (metrics["success_rate"], metrics["failed_clips"], metrics["progress"]) == (1.0, 0, 1.0)
    assert metrics["mpkpe"] < 1e-4
    rows = {row["clip"]: row for row in metrics["clips"]}
    assert set(rows) == set(LENGTHS)
    for name, row in rows.items():
        assert row["success"]
        assert row["cause"] == ""
        assert row["mean_reward"] == pytest.approx(1.0, abs=2e-2)
        steps = -(-LENGTHS[name] * 30 // 1)
        assert row["return"] == pytest.approx(steps, abs=1.01 + 0.02 * steps)


def test_an_untrained_policy_fails_with_time_and_cause_hardest_first(a_list: Path, tmp_path: Path) -> None:
    found = []
    for number in (1, 3):
        out = tmp_path / str(number)
        words = a_run(a_list, out, f"num_envs={number}")
        cfg = compose(words)
        run(to_run(cfg), resolved_yaml=resolved_yaml(cfg), overrides=words, out_dir=str(out))
        found.append(json.loads((out / "metrics.json").read_text()))
    first, second = (metrics["clips"] for metrics in found)
    for one, other in zip(first, second, strict=True):  # however many environments share the clips
        assert all(one[key] == other[key] for key in ("clip", "success", "failure_time", "cause"))
        assert one["return"] == pytest.approx(other["return"], rel=1e-4)
    with open(tmp_path / "1" / "clips.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["clip"] for row in table] == [row["clip"] for row in first]
    progress = [row["progress"] for row in first]
    assert progress == sorted(progress)
    failed = [row for row in first if not row["success"]]
    assert failed
    for row in failed:
        assert row["cause"] in ("pose", "fall")
        assert 0.0 < row["failure_time"] < LENGTHS[row["clip"]]
        assert row["progress"] == pytest.approx(row["failure_time"] / LENGTHS[row["clip"]], abs=0.05)
    assert found[0]["failed_clips"] == len(failed)


@pytest.mark.slow
def test_the_hardest_three_are_filmed_and_reported(a_list: Path, tmp_path: Path) -> None:
    from mimickit_hydra.cli.main import main

    out = tmp_path / "run"
    words = a_run(a_list, out, "video=true", "num_envs=2")
    cfg = compose(words)
    run(to_run(cfg), resolved_yaml=resolved_yaml(cfg), overrides=words, out_dir=str(out))
    assert {path.stem for path in out.glob("video*")} == {"video", "video_2", "video_3"}
    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    rows = json.loads((out / "metrics.json").read_text())["clips"]
    assert all(row["clip"] in page for row in rows)
    assert page.index(rows[0]["clip"]) < page.index(rows[-1]["clip"])


def test_a_method_that_follows_no_clip_is_tested_over_episodes(a_list: Path, tmp_path: Path) -> None:
    with parts_of(a_list, tmp_path, "method=amp", "num_envs=2", "agent.disc_eval_batch_size=8") as parts:
        metrics = evaluate(parts, tmp_path, episodes=2, video=False)
    assert "clips" not in metrics
    assert not (tmp_path / "clips.csv").exists()
