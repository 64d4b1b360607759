"""Text log, TensorBoard events, wandb stand-in, and what resuming does to them."""

from __future__ import annotations

import io
import math
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.log_table import collection_of, order_keys, read_log
from mimickit_hydra.training.loggers import (
    LoggerGroup,
    TensorBoardLogger,
    TextLogger,
    WandbLogger,
    make_loggers,
    only_shows,
)
from mimickit_hydra.training.signals import Stopped


def row(iteration: int, **more: float) -> dict[str, float]:
    return {"Iteration": float(iteration), "Samples": iteration * 100.0, "Test_Return": iteration / 7, **more}


def test_text_columns_and_values(tmp_path: Path) -> None:
    log = TextLogger(tmp_path / "log.txt")
    log.write({"Exp_Prob": 1.0, "Critic_Loss": 1e-7, "Wall_Time": 0.5, "Iteration": 0.0, "Test_Return": -3.25}, 1234)
    raw = (tmp_path / "log.txt").read_bytes()
    assert b"\r" not in raw
    header, line = raw.decode().splitlines()
    keys = ["Iteration", "Wall_Time", "Samples", "Test_Return", "Critic_Loss", "Exp_Prob"]
    assert header == "".join(f"{key:<25}" for key in keys).rstrip()
    assert line == "".join(f"{cell:<25}" for cell in ["0", "0.5", "1234", "-3.25", "1e-07", "1.0"]).rstrip()
    table = np.genfromtxt(tmp_path / "log.txt", names=True)
    assert float(table["Test_Return"]) == -3.25


def test_column_order_is_mimickits() -> None:
    keys = ["Obs_Norm_Mean", "Actor_Loss", "Root_Pos_Err", "Train_Episodes", "Samples", "Critic_Loss", "Test_Return"]
    assert order_keys(keys) == [
        "Samples", "Test_Return", "Train_Episodes", "Actor_Loss", "Critic_Loss", "Root_Pos_Err", "Obs_Norm_Mean",
    ]  # fmt: skip
    assert [collection_of(key) for key in ("Test_Return", "Samples", "Root_Pos_Err", "Critic_Loss")] == [
        "0_Main", "1_Info", "2_Env", "Misc",
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["removed", "cut", "emptied", "line"])
def test_a_file_that_is_damaged_meanwhile_is_written_again(tmp_path: Path, what: str) -> None:
    path = tmp_path / "log.txt"
    log = TextLogger(path)
    for number in range(3):
        log.write(row(number), 100 * number)
        whole = path.read_bytes()
        if what == "removed":
            path.unlink()
        else:
            path.write_bytes({"cut": whole[:-9], "emptied": b"", "line": whole + b"12  3"}[what])
    log.write(row(3), 300)
    assert list(read_log(path)["Samples"]) == [0, 100, 200, 300]


def test_rows_that_could_not_be_written_are_made_up_for(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "log.txt"
    path.parent.mkdir()
    log = TextLogger(path)
    log.write(row(0), 0)
    path.parent.rename(tmp_path / "away")
    for number, more in ((1, {}), (2, {"Disc_Loss": 1.0})):
        with pytest.raises(OSError, match="No such file"):
            log.write(row(number, **more), 100 * number)
    (tmp_path / "away").rename(path.parent)
    log.write(row(3), 300)
    assert list(read_log(path)["Samples"]) == [0, 100, 200, 300]
    np.testing.assert_array_equal(read_log(path)["Disc_Loss"], [math.nan, math.nan, 1.0, math.nan])


@pytest.mark.parametrize("left", ["", "Iteration  Samples\n0  0\n", "gar\0bage"])
def test_a_checkpoint_makes_up_for_what_the_file_lacks(tmp_path: Path, left: str) -> None:
    path = tmp_path / "log.txt"
    log = TextLogger(path)
    for number in range(4):
        log.write(row(number, Critic_Loss=0.1 * number), 100 * number)
    whole = read_log(path)
    path.write_text(left)
    again = TextLogger(path, resume=True, saved=log.text())
    assert {key: list(values) for key, values in read_log(path).items()} == {k: list(v) for k, v in whole.items()}
    again.truncate_after(100)
    again.write(row(5), 500)
    assert list(read_log(path)["Samples"]) == [0, 100, 500]


def test_late_and_missing_keys(tmp_path: Path) -> None:
    log = TextLogger(tmp_path / "log.txt")
    log.write(row(0, Critic_Loss=1.0), 0)
    log.write(row(1, Disc_Loss=2.0), 100)
    log.write(row(2, Critic_Loss=3.0), 200)
    table = read_log(tmp_path / "log.txt")
    assert list(table) == ["Iteration", "Samples", "Test_Return", "Critic_Loss", "Disc_Loss"]
    np.testing.assert_array_equal(table["Disc_Loss"], [math.nan, 2.0, math.nan])
    np.testing.assert_array_equal(table["Critic_Loss"], [1.0, math.nan, 3.0])


def test_long_cells_stay_apart(tmp_path: Path) -> None:
    log = TextLogger(tmp_path / "log.txt")
    log.write({"A_Key_That_Is_Longer_Than_A_Column": 1.0, "Other": -1.2345678901234567e-105}, 0)
    assert list(read_log(tmp_path / "log.txt")) == ["Samples", "A_Key_That_Is_Longer_Than_A_Column", "Other"]


@pytest.mark.parametrize("cut", [1, 30, 60])
def test_resume_mends_and_truncates(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log.txt"
    log = TextLogger(path)
    for iteration in range(5):
        log.write(row(iteration), iteration * 100)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    log = TextLogger(path, resume=True)
    log.truncate_after(200)
    log.write(row(3), 300)
    assert read_log(path)["Samples"].tolist() == [0, 100, 200, 300]
    assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:5])


def test_resume_of_a_log_cut_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("Iteration       Sam")
    log = TextLogger(path, resume=True)
    log.truncate_after(0)
    log.write(row(0), 0)
    assert list(read_log(path)) == ["Iteration", "Samples", "Test_Return"]


def test_reads_carriage_returns(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"Samples   Test_Return\r100  1.5\r200  2.5\r")
    assert read_log(tmp_path / "log.txt")["Test_Return"].tolist() == [1.5, 2.5]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_tags_steps_and_resume(tmp_path: Path) -> None:
    log = TensorBoardLogger(tmp_path)
    for iteration in range(4):
        log.write(row(iteration), iteration * 100)
    log.close()
    found = scalars(tmp_path)
    assert set(found) == {"0_Main/Test_Return", "1_Info/Iteration"}
    assert found["1_Info/Iteration"] == [(0, 0.0), (100, 1.0), (200, 2.0), (300, 3.0)]
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5])  # killed while writing
    log = TensorBoardLogger(tmp_path)
    log.truncate_after(100)
    log.write(row(2), 200)
    log.close()
    assert scalars(tmp_path)["1_Info/Iteration"] == [(0, 0.0), (100, 1.0), (200, 2.0)]
    assert len(list(tmp_path.iterdir())) == 2


def test_tensorboard_reads_the_directory_of_a_sweep(tmp_path: Path) -> None:
    for name in ("0_run", "1_run"):
        (tmp_path / name).mkdir()
        log = TensorBoardLogger(tmp_path / name)
        log.write(row(1), 100)
        log.close()
    (tmp_path / "report.html").write_text("beside them")
    multiplexer = pytest.importorskip("tensorboard.backend.event_processing.plugin_event_multiplexer")
    found = multiplexer.EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    found.Reload()
    assert sorted(found.Runs()) == ["0_run", "1_run"]
    assert [event.step for event in found.Tensors("1_run", "0_Main/Test_Return")] == [100]


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="pip install"):
        WandbLogger(tmp_path, "mimickit")
    rows: list[tuple[dict, int]] = []
    starts: list[dict] = []

    class Run:
        step = 100

        def log(self, values: dict, step: int) -> None:
            rows.append((values, step))

        def finish(self) -> None:
            rows.append(({}, -1))

    def init(**kwargs: object) -> Run:
        starts.append(kwargs)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    log = WandbLogger(tmp_path, "mine", {"a": 1})
    log.write(row(0), 0)  # the server has it already
    log.write({"Test_Return": 2.0}, 100)
    log.close()
    assert rows == [({"0_Main/Test_Return": 2.0}, 100), ({}, -1)]
    WandbLogger(tmp_path, "mine")
    assert starts[0]["id"] == starts[1]["id"]
    assert starts[0]["project"] == "mine"
    assert (starts[0]["name"], starts[0]["resume"], starts[0]["dir"]) == (tmp_path.name, "allow", str(tmp_path))


def test_wandbs_own_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[dict] = []
    init = types.SimpleNamespace(init=lambda **kwargs: starts.append(kwargs))
    monkeypatch.setitem(sys.modules, "wandb", init)
    for name, value in (("RUN_ID", "695e0514"), ("NAME", "mine"), ("RESUME", "must"), ("DIR", "/elsewhere")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    WandbLogger(tmp_path, "p")
    assert [starts[0][key] for key in ("id", "name", "resume", "dir")] == ["695e0514", "mine", "must", "/elsewhere"]
    assert (tmp_path / "wandb_id.txt").read_text() == "695e0514\n"
    monkeypatch.setenv("WANDB_RUN_ID", "other")
    with pytest.raises(UserError, match=r"WANDB_RUN_ID: found other, but .* writes to 695e0514"):
        WandbLogger(tmp_path, "p")
    monkeypatch.delenv("WANDB_RUN_ID")
    WandbLogger(tmp_path, "p")
    assert starts[-1]["id"] == "695e0514"


def test_wandb_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**kwargs: object) -> None:
        raise RuntimeError("no\nnetwork")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    with pytest.raises(UserError, match="no network"):
        WandbLogger(tmp_path, "mine")


def test_a_failing_logger_is_reported_once(tmp_path: Path) -> None:
    stream = io.StringIO()
    text = TextLogger(tmp_path / "log.txt")
    group = LoggerGroup([text], stream)
    text.path = tmp_path / "gone" / "log.txt"
    for iteration in range(3):
        group.write(row(iteration), iteration)
    assert len(stream.getvalue().splitlines()) == 1
    assert "training goes on" in stream.getvalue()


def test_a_folder_in_the_place_of_the_table_loses_no_row(tmp_path: Path) -> None:
    path, stream = tmp_path / "log.txt", io.StringIO()
    path.mkdir()
    table = TextLogger(path, resume=True, saved="Iteration Samples\n0 0\n1 100\n2 200\n")
    group = LoggerGroup([table], stream)
    group.truncate_after(100)
    group.write({"Iteration": 2.0}, 200)
    assert len(stream.getvalue().splitlines()) == 1
    assert group.text().split() == ["Iteration", "Samples", "0", "0", "1", "100", "2", "200"]  # for a checkpoint
    path.rmdir()
    group.write({"Iteration": 3.0}, 300)
    assert read_log(path)["Samples"].tolist() == [0, 100, 200, 300]


def test_make_loggers_resume(tmp_path: Path) -> None:
    run = SimpleNamespace(logger=SimpleNamespace(txt=True, tb=True, wandb=False))
    group = make_loggers(tmp_path, run)
    for iteration in range(4):
        group.write(row(iteration), iteration * 100)
    group.close()
    group = make_loggers(tmp_path, run, resume_samples=100)
    group.write(row(2), 200)
    group.close()
    assert read_log(tmp_path / "log.txt")["Samples"].tolist() == [0, 100, 200]
    assert [step for step, _ in scalars(tmp_path)["1_Info/Iteration"]] == [0, 100, 200]
    run.logger.txt = run.logger.tb = False
    assert make_loggers(tmp_path, run).loggers == []


def test_what_only_shows_ends_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    with only_shows("no curves were drawn"):
        raise RuntimeError("the renderer\nis gone")
    with only_shows("no video was written"):
        raise UserError("no back end")
    assert capsys.readouterr().err == (
        "warning: no curves were drawn (the renderer is gone)\nwarning: no video was written (no back end)\n"
    )
    with pytest.raises(UserError), only_shows("x", strict=True):
        raise UserError("said before anything is lost")
    with pytest.raises(Stopped), only_shows("x"):
        raise Stopped
