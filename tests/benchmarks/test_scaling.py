"""``benchmarks/scaling.py``: the plan, what is run again and what is not, and what becomes of a step that fails."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import kill_rank
import scaling
import several
import throughput

SCRIPTS = Path(scaling.__file__).parent
WRITES = "import sys, json, pathlib; pathlib.Path(sys.argv[-1]).write_text(json.dumps({'rows': %s, 'n': 7}))"


def planned(*words: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[scaling.Step], argparse.Namespace]:
    monkeypatch.setattr(sys, "argv", ["scaling.py", "--plan", *words])
    args = scaling.arguments()
    return scaling.planned(args), args


def test_the_plan_names_every_step_with_its_minutes(monkeypatch, tmp_path: Path) -> None:
    steps, args = planned("--data", "g1", "--devices", "1,2,4", "--out", str(tmp_path), monkeypatch=monkeypatch)
    names = [step.name for step in steps]
    assert names == [
        "throughput_deepmimic", "throughput_tracking_g1", "throughput_amp", "kill_deepmimic", "kill_supermimic",
        "lafan1_1", "lafan1_2", "lafan1_4",
    ]  # fmt: skip
    assert [step.minutes for step in steps[:3]] == [3.0, 3.0, 1.5]  # three rows of 30 s; an engine's kernels take 90 s
    text = scaling.described(steps, args)
    assert f"in all about {sum(step.minutes for step in steps):.0f} minutes, of one machine with 4 devices" in text
    assert (
        "python benchmarks/throughput.py --engine newton --cells deepmimic:4096 --device cuda:0 --devices 1,2,4" in text
    )
    assert f"--device cuda:0 --devices 4 --minutes 2.5 --keep {tmp_path}/lafan1" in text
    (tmp_path / "lafan1_4.json").write_text("{}")
    left = sum(step.minutes for step in steps[:-1])
    assert f"in all about {left:.0f} minutes" in scaling.described(steps, args)
    steps, args = planned("--devices", "1,8", monkeypatch=monkeypatch)
    assert not any(step.name.startswith("lafan1") for step in steps)
    assert "left out without --data" in scaling.described(steps, args)


def test_what_is_complete_is_not_made_again_and_what_failed_is(capsys, tmp_path: Path) -> None:
    def step(name: str, code: str, minutes: float = 0.01, limit: float = 1.0) -> scaling.Step:
        return scaling.Step(name, [sys.executable, "-c", code, "--out"], minutes, limit)

    steps = [
        step("throughput_a", WRITES % "[{'x': 1}]"),
        step("throughput_b", WRITES % "[{'error': 'no kernel'}]"),
        step("lafan1_1", "raise SystemExit(3)"),
        scaling.Step("kill_a", ["sh", "-c", "sleep 600 & echo $!; wait"], minutes=0.01, limit=0.03),
        step("kill_b", WRITES % "[]", minutes=5.0),
    ]
    began = time.monotonic()
    scaling.perform(steps, tmp_path, budget=4.0)
    assert time.monotonic() - began < 30.0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("throughput_a: done in ")
    assert lines[1].startswith("throughput_b: failed after ")
    assert "no kernel" in lines[1]
    assert "no result" in lines[2]
    assert lines[3].startswith("kill_a: killed after ")
    assert lines[4] == "kill_b: left, its 5.0 minutes do not fit into the budget"
    child = int((tmp_path / "kill_a.log").read_text())
    while kill_rank.alive(child):  # it has its signal, and ends in a moment
        assert time.monotonic() - began < 60.0
        time.sleep(0.02)
    assert json.loads((tmp_path / "throughput_a.json").read_text())["n"] == 7

    steps[1] = step("throughput_b", WRITES % "[{'x': 2}]")
    scaling.perform(steps[:2], tmp_path, budget=4.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "throughput_a: done before"
    assert lines[1].startswith("throughput_b: done in ")
    found = scaling.collected(steps, tmp_path)
    assert [row["x"] for row in found["throughput"]] == [1, 2]
    assert found["not_run"] == ["lafan1_1", "kill_a", "kill_b"]


def test_devices_are_counted_and_rows_compared_with_that_of_one() -> None:
    assert several.counts("1,2,8") == [1, 2, 8]
    for wrong in ("1,0", "2,2", "cuda:0,cuda:1", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="must be different numbers of devices"):
            several.counts(wrong)
    assert several.devices_of("cuda:1", 2) == ["cuda:1", "cuda:2"]
    assert several.devices_of("cpu", 3) == ["cpu"] * 3
    rows = [
        {"devices": 1, "engine": "a", "rate": 10.0},
        {"devices": 4, "engine": "a", "rate": 35.0},
        {"devices": 4, "engine": "b", "rate": 35.0},
        {"devices": 8, "engine": "a", "error": "no"},
    ]
    several.times_one(rows, ("engine",), lambda row: row.get("rate"))
    assert [row.get("times_one") for row in rows] == [None, 3.5, None, None]


def test_what_was_wanted_of_gpus_is_compared_with_what_came_of_it() -> None:
    gpu = {"device": "NVIDIA H100 80GB HBM3", "method": "amp"}
    rates = [{**gpu, "devices": 4, "times_one": 3.9}, {**gpu, "devices": 8, "times_one": 7.1}, {**gpu, "devices": 1}]
    cpu = {"device": "cpu", "method": "amp", "devices": 4, "times_one": 0.6, "first_s": None}
    clips = [{**gpu, "devices": 4, "first_s": 51.0}, {**gpu, "devices": 4, "first_s": None}, cpu]
    assert scaling.verdicts({"throughput": [*rates, cpu], "lafan1": clips}) == [
        "amp on 4: 3.90 times one, wanted 3.8: reached",
        "amp on 8: 7.10 times one, wanted 7.4: missed",
        "LAFAN1 on 4: 51 s, wanted below 52 s: reached",
        "LAFAN1 on 4: not reached, wanted below 52 s: missed",
    ]


def test_cells_have_overrides_of_their_own() -> None:
    args = argparse.Namespace(method="", num_envs="4096", cells="amp:16,tracking:8:character=g1_mjlab:env.fuse=true")
    assert throughput.cells(args) == [("amp", 16, []), ("tracking", 8, ["character=g1_mjlab", "env.fuse=true"])]
    args = argparse.Namespace(method="", num_envs="32,64", cells="")
    assert throughput.cells(args) == [("deepmimic", 32, []), ("deepmimic", 64, [])]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_one_command_on_two_processes(tmp_path: Path) -> None:
    words = ["--device", "cpu", "--devices", "1,2", "--minutes", "0.05", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, str(SCRIPTS / "scaling.py"), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert found["not_run"] == []
    rows = [row for row in (*found["throughput"], *found["lafan1"]) if row["devices"] == 2]
    assert [row["method"] for row in rows] == ["deepmimic", "tracking", "amp", "supermimic"]
    for row in rows:
        assert row["parameters"]["equal"] is True
        assert len(row["parameters"]["sha256"]) == 2
        assert row["times_one"] > 0.0
    assert all(kill["good"] for kill in found["kills"].values())
