"""Text log, TensorBoard events, wandb stand-in, and what resuming does to them."""

from __future__ import annotations

import io
import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from mimickit_hydra.runtime import loggers
from mimickit_hydra.runtime.log_table import collection_of, order_keys, read_log
from mimickit_hydra.runtime.loggers import (
    LoggerError,
    LoggerGroup,
    TensorBoardLogger,
    TextLogger,
    WandbLogger,
    make_loggers,
)


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
    with pytest.raises(LoggerError, match="pip install"):
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


def test_wandb_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**kwargs: object) -> None:
        raise RuntimeError("no\nnetwork")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    with pytest.raises(LoggerError, match="no network"):
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


def test_make_loggers_resume(tmp_path: Path) -> None:
    group = make_loggers(tmp_path)
    for iteration in range(4):
        group.write(row(iteration), iteration * 100)
    group.close()
    group = make_loggers(tmp_path, resume_samples=100)
    group.write(row(2), 200)
    group.close()
    assert read_log(tmp_path / "log.txt")["Samples"].tolist() == [0, 100, 200]
    assert [step for step, _ in scalars(tmp_path)["1_Info/Iteration"]] == [0, 100, 200]
    assert [type(logger) for logger in make_loggers(tmp_path, txt=False, tb=False).loggers] == []


def test_a_partial_record_ends_the_list(tmp_path: Path) -> None:
    (tmp_path / "events").write_bytes(b"\x01\x02")
    assert loggers.read_records(tmp_path / "events") == []
