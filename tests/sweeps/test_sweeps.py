"""The manifest of a sweep, and its runs in processes of their own (small scripts here)."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.find import find_runs
from mimickit_hydra.runs.manifest import (
    DamagedManifestError,
    Sweep,
    SweepRun,
    add_runs,
    create_sweep,
    read_sweep,
    rebuild,
)
from mimickit_hydra.runs.state import read_state, update_state
from mimickit_hydra.sweeps import runner as sweep_runner
from mimickit_hydra.sweeps.runner import run_all

SCRIPTS = {
    "good": "import json, pathlib; pathlib.Path(sys.argv[1], 'result.json').write_text(json.dumps({'value': 2.5}))",
    "bad": "print('motion: no such clip'); sys.exit(2)",
    "crash": "import os; os.kill(os.getpid(), 11)",
    "stop": "sys.exit(75)",
    "long": "import signal, time; signal.signal(2, lambda *a: sys.exit(75)); print('up', flush=True); time.sleep(30)",
}


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    def command(sweep: Sweep, run: SweepRun) -> list[str]:
        return [sys.executable, "-c", f"import sys; {SCRIPTS[run.overrides[0]]}", str(sweep.run_dir(run))]

    monkeypatch.setattr(sweep_runner, "command_of", command)
    return create_sweep(tmp_path / "sweep", ["a=1,2"])


def _with(sweep: Sweep, *kinds: str) -> Sweep:
    return add_runs(sweep, [(f"{n}_{kind}", [kind], [f"n={n}"], "num_envs: 1\n") for n, kind in enumerate(kinds)])


def test_the_manifest_comes_back_as_it_was_written(sweep: Sweep) -> None:
    written = _with(sweep, "good", "bad")
    assert read_sweep(sweep.path) == written
    assert read_sweep(sweep.path / "sweep.yaml").runs[1].config == "1_bad/frozen.yaml"
    assert (sweep.path / "1_bad" / "frozen.yaml").read_text() == "num_envs: 1\n"
    with pytest.raises(UserError, match="mimickit sweep resume"):
        create_sweep(sweep.path, [])


@pytest.mark.parametrize("left", ["", "half", "runs: [", "runs: 3\n"])
def test_a_damaged_manifest_is_made_again_from_its_runs(
    left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [[f"rand_seed={n}", "num_envs=8"] for n in range(11)]  # 10 comes after 9
    frozen = [f"# overrides: {json.dumps(some)}\nnum_envs: 8\n" for some in words]
    sweep = create_sweep(tmp_path / "s", ["rand_seed=range(11)", "num_envs=8"])
    planned = [(f"{n}_run", words[n], words[n][:1], frozen[n]) for n in range(11)]
    written = add_runs(sweep, planned)
    (sweep.path / "3_run" / "starts" / "1").mkdir(parents=True)
    (sweep.path / "3_run" / "starts" / "1" / "frozen.yaml").write_text(frozen[3])
    text = (sweep.path / "sweep.yaml").read_text()
    (sweep.path / "sweep.yaml").write_text(text[: len(text) // 2] if left == "half" else left)
    with pytest.raises(DamagedManifestError, match=f"mimickit sweep resume {sweep.path} makes it again from its runs"):
        read_sweep(sweep.path)
    made = rebuild(sweep.path)
    assert made.runs == written.runs
    assert made.cwd == str(tmp_path)
    assert made.command == (written.command if left == "half" else [])
    assert read_sweep(sweep.path) == made
    assert (sweep.path / "sweep.yaml.damaged").exists()


def test_a_damaged_manifest_without_runs_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("runs: [")
    with pytest.raises(UserError, match=r"damaged, and no frozen.yaml of a run .* start it anew"):
        rebuild(tmp_path)


def test_a_manifest_may_not_point_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("runs: [{number: 0, dir: ../x, overrides: [], varied: [], config: c}]")
    with pytest.raises(UserError, match="outside the sweep"):
        read_sweep(tmp_path)
    (tmp_path / "sweep.yaml").write_text("runs: [{number: 0}]")
    with pytest.raises(UserError, match="not a sweep's manifest"):
        read_sweep(tmp_path)
    with pytest.raises(UserError, match="no such directory"):
        read_sweep(tmp_path / "gone")


def test_a_crash_does_not_stop_the_others(sweep: Sweep) -> None:
    sweep = _with(sweep, "crash", "bad", "good", "stop")
    seen: list[tuple[str, int]] = []
    outcomes = run_all(sweep, sweep.runs, report=lambda what, outcome: seen.append((what, outcome.run.number)))
    assert [(outcome.state, outcome.error) for outcome in outcomes] == [
        ("failed", "killed by SIGSEGV"), ("failed", "motion: no such clip"), ("finished", None), ("stopped", None)
    ]  # fmt: skip
    assert [outcome.value for outcome in outcomes] == [None, None, 2.5, None]
    assert seen == [(what, number) for number in range(4) for what in ("start", "end")]
    states = [read_state(sweep.run_dir(run)) for run in sweep.runs]
    assert [state.state for state in states if state] == ["failed", "failed", "finished", "stopped"]
    assert [run.state for run in find_runs([sweep.path.parent])] == ["failed", "failed", "finished", "stopped"]


def test_a_reason_given_by_the_run_itself_is_kept(sweep: Sweep) -> None:
    sweep = _with(sweep, "bad")
    (sweep.path / "0_bad").mkdir(exist_ok=True)
    update_state(sweep.path / "0_bad", state="failed", error="the loss is not finite")
    (outcome,) = run_all(sweep, sweep.runs)
    assert outcome.error == "the loss is not finite"


def test_one_that_cannot_be_started_or_heard_does_not_stop_the_others(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = _with(sweep, "good", "good")
    (sweep.path / "0_good" / "output.log").mkdir()
    assert [outcome.state for outcome in run_all(sweep, sweep.runs)] == ["finished", "finished"]
    command = sweep_runner.command_of
    monkeypatch.setattr(
        sweep_runner, "command_of", lambda s, run: ["/no/such/program"] if run.number == 0 else command(s, run)
    )
    first, second = run_all(sweep, sweep.runs)
    assert (first.state, second.state) == ("failed", "finished")
    assert "could not be started" in str(first.error)


def test_several_at_a_time(sweep: Sweep) -> None:
    sweep = _with(sweep, *["good"] * 5)
    started: list[int] = []
    most = 0

    def report(what: str, outcome: sweep_runner.Outcome) -> None:
        nonlocal most
        started.append(1 if what == "start" else -1)
        most = max(most, sum(started))

    assert len(run_all(sweep, sweep.runs, parallel=2, report=report)) == 5
    assert most == 2


def test_a_stop_signal_reaches_the_run_and_ends_the_sweep(sweep: Sweep) -> None:
    sweep = _with(sweep, "long", "good")

    def interrupt() -> None:
        log = sweep.path / "0_long" / "output.log"
        while not (log.exists() and log.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    outcomes = run_all(sweep, sweep.runs)
    assert [(outcome.run.dir, outcome.state) for outcome in outcomes] == [("0_long", "stopped")]
    assert [run.state for run in find_runs([sweep.path])] == ["stopped", "missing"]
