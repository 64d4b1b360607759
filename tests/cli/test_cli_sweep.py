"""``train.py -m``, frozen runs and ``mimickit sweep resume`` with a stand-in for training."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from mimickit_hydra.cli.main import main as mimickit
from mimickit_hydra.cli.train import main
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.manifest import Sweep, SweepRun, read_sweep
from mimickit_hydra.runs.state import read_state, update_state
from mimickit_hydra.sweeps import runner as sweep_runner
from mimickit_hydra.sweeps.report import FAILED_EXIT_CODE
from mimickit_hydra.sweeps.runner import Outcome
from mimickit_hydra.sweeps.start import start_file


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path) -> list[tuple[str, str | None]]:
    """Runs end at once: those with rand_seed=2 fail the first time. Holds (directory, what it resumed)."""
    calls: list[tuple[str, str | None]] = []

    def adapter_run(run: Any, *, resolved_yaml: str, overrides: list[str], out_dir: str, **asked: Any) -> float:
        assert asked["restart"]
        saved = any(Path(out_dir, "checkpoints").glob("ckpt_*.pt"))
        calls.append((Path(out_dir).name, out_dir if saved else run.resume))
        Path(out_dir, "config.yaml").write_text(resolved_yaml)
        if run.rand_seed == 2 and len(calls) <= 3:
            raise UserError("it went wrong")
        return float(run.rand_seed)

    module = types.ModuleType("mimickit_hydra.training.run")
    module.run = adapter_run  # type: ignore[attr-defined]
    module.is_first_process = lambda: True  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mimickit_hydra.training.run", module)

    def run_all(sweep: Sweep, runs: list[SweepRun], *, parallel: int = 1, report: Any = None) -> list[Outcome]:
        outcomes = []
        for run in runs:
            report("start", Outcome(run, "running"))
            try:
                value = start_file(sweep.path / run.config)
                update_state(sweep.run_dir(run), state="finished", error=None)
                outcomes.append(Outcome(run, "finished", None, value))
            except UserError as error:
                outcomes.append(Outcome(run, "failed", str(error)))
            report("end", outcomes[-1])
        return outcomes

    monkeypatch.setattr(sweep_runner, "run_all", run_all)
    monkeypatch.chdir(tmp_path)
    return calls


def test_a_sweep_and_what_is_left_of_it(
    started: list[tuple[str, str | None]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", "num_envs=8", "rand_seed=1,2,3", "out_dir=s"]) == FAILED_EXIT_CODE
    out = capsys.readouterr()
    names = [f"{number}_deepmimic_humanoid_mujoco" for number in range(3)]
    assert [name for name, _ in started] == names
    assert "[1] FAILED    rand_seed=2: it went wrong" in out.err
    assert "3 runs: 2 finished, 1 failed" in out.out
    assert "mimickit sweep resume s" in out.out
    sweep = read_sweep(tmp_path / "s")
    assert [run.overrides for run in sweep.runs] == [["num_envs=8", f"rand_seed={n}", "out_dir=s"] for n in (1, 2, 3)]
    failed = read_state(tmp_path / "s" / names[1])
    assert failed is not None
    assert (failed.state, failed.error) == ("failed", "it went wrong")

    started.extend([("", None)] * 3)  # from now on it goes well
    del started[:3]
    assert mimickit(["sweep", "resume", "s"]) == 0
    assert started[3:] == [(names[1], None)]
    assert (tmp_path / "s" / names[1] / "config.yaml").exists()
    assert mimickit(["sweep", "resume", "s"]) == 0
    assert "3 of 3 runs have finished" in capsys.readouterr().out


def test_a_run_with_a_checkpoint_goes_on(started: list[tuple[str, str | None]], tmp_path: Path) -> None:
    assert main(["-m", "num_envs=8", "rand_seed=1,3", "out_dir=s"]) == 0
    run_dir = tmp_path / "s" / "1_deepmimic_humanoid_mujoco"
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints" / "ckpt_0000000004.pt").touch()
    update_state(run_dir, state="stopped")
    assert mimickit(["sweep", "resume", "s"]) == 0
    assert started[2:] == [(run_dir.name, str(run_dir))]


def test_mistakes_are_one_line(
    started: list[tuple[str, str | None]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", "num_envs=8,0", "out_dir=s"]) == 2
    assert capsys.readouterr().err.startswith("num_envs: found 0")
    assert not (tmp_path / "s").exists()
    assert main(["-m", "num_envs=8", "resume=x"]) == 2
    assert mimickit(["sweep", "resume", "nothing"]) == 2
    assert "no such directory" in capsys.readouterr().err
    assert started == []


def test_a_job_that_slurm_itself_holds_is_let_go_on(
    started: list[tuple[str, str | None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After a failed launch Slurm holds a job for ever; what its user holds stays held."""
    assert main(["-m", "rand_seed=1,2,3", "out_dir=s"]) == FAILED_EXIT_CODE
    for number, run in enumerate(read_sweep(tmp_path / "s").runs):
        update_state(tmp_path / "s" / run.dir, state="queued", launcher="slurm", job_id=f"7_{number}")
    lines = "7_0 launch failed requeued held\n7_1 JobHeldUser\n7_2 Priority"
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("squeue", f"echo '{lines}'"), ("scontrol", f"echo $@ >> {tmp_path}/asked")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    capsys.readouterr()
    assert mimickit(["sweep", "resume", "s"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "0 of 3 runs have finished, 3 are under way, 0 to run"
    assert second.endswith(": Slurm held job 7_0 (launch failed requeued held): released")
    assert (tmp_path / "asked").read_text() == "release 7_0\n"
