"""Progress in and outside a terminal; the picture of the curves."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import pytest

from mimickit_hydra.errors import UserError
from mimickit_hydra.training.loggers import TextLogger
from mimickit_hydra.training.progress import Progress, clock, sparkline
from mimickit_hydra.view.curves import plot_curves, spread

ROW = {
    "Iteration": 12.0, "Samples": 98304.0, "Wall_Time": 0.01, "Test_Return": 12.5, "Test_Episode_Length": 40.0,
    "Train_Return": 10.0, "Train_Episode_Length": 33.0, "Critic_Loss": 0.5, "Actor_Loss": -0.1, "Clip_Frac": 0.2,
}  # fmt: skip
SECONDS = {"update": 1.0, "physics": 2.0, "env": 1.0}


def test_plain_lines_without_a_terminal() -> None:
    stream = io.StringIO()
    with Progress("[run]", max_samples=1e6, file=stream) as progress:
        progress.update(ROW, SECONDS, 5000.0, 180.0, output=False)
        assert stream.getvalue() == ""
        progress.update(ROW, SECONDS, 5000.0, 180.0)
        progress.update({**ROW, "Test_Return": 11.0}, {}, 5000.0, math.inf)
        progress.note("checkpoint [x] written")
    first, second, third = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert "samples 98,304/1,000,000" in first
    assert "5,000 samples/s" in first
    assert "eta 3:00" in first
    assert "test return 12.5 length 40" in first
    assert "physics 50% env 25% update 25%" in first
    assert "best 12.5" in second
    assert "eta -" in second
    assert third == "checkpoint [x] written"


def test_live_table() -> None:
    stream = io.StringIO()
    progress = Progress("deepmimic [walk]", max_samples=1e6, file=stream, live=True)
    with progress:
        progress.checkpoint(Path("ckpt_0000000012.pt"))
        progress.update(ROW, SECONDS, 5000.0, 180.0)
        progress.update({"Samples": 1.0}, {}, 0.0, math.inf)  # nothing known yet
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "pose error" not in text  # not measured
    for part in ("deepmimic [walk]", "5,000", "12.5", "best 12.5", "physics 50 %", "ckpt_0000000012.pt", "0:36 / 3:00"):
        assert part in text, part
    progress.close()


@pytest.mark.parametrize("live", [False, True])
def test_where_only_a_discriminator_pays_no_return_is_shown(live: bool) -> None:
    row = {**ROW, "Test_Return": 0.0, "Train_Return": 0.0, "Dtw_Pose_Err": 0.0274}
    stream = io.StringIO()
    with Progress("amp", has_reward=False, file=stream, live=live) as progress:
        progress.update(row, SECONDS, 5000.0, 180.0)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "return" not in text
    assert "best" not in text
    assert re.search(r"test length +40", text)
    assert re.search(r"pose error +2\.7 cm", text)


def test_clock_and_sparkline() -> None:
    assert [clock(s) for s in (0, 61, 3661, math.inf, math.nan)] == ["0:00", "1:01", "1:01:01", "-", "-"]
    assert sparkline([]) == ""
    assert sparkline([1.0]) == "▁"
    assert sparkline([0.0, 1.0, 0.5]) == "▁█▅"
    assert len(sparkline([float(v) for v in range(100)])) == 12


def test_curves(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"log.txt does not exist"):
        plot_curves(tmp_path)
    log = TextLogger(tmp_path / "log.txt")
    with pytest.raises(UserError, match="no complete row"):
        plot_curves(tmp_path)
    for iteration in range(3):
        log.write({**ROW, "Test_Return": math.nan if iteration == 0 else 5.0 * iteration}, iteration * 1000)
    path = plot_curves(tmp_path)
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(data) > 10_000


def test_curves_of_a_single_row(tmp_path: Path) -> None:
    TextLogger(tmp_path / "log.txt").write({"Test_Return": 1.0}, 0)
    assert plot_curves(tmp_path).exists()


def test_curves_leave_out_returns_of_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    drawn: list[str] = []
    monkeypatch.setattr(Figure, "suptitle", lambda self, text, **_: drawn.append(text))
    log = TextLogger(tmp_path / "log.txt")
    for samples in (0, 1000):
        log.write({**ROW, "Test_Return": 0.0, "Train_Return": 0.0, "Test_Episode_Length": 40.0 + samples}, samples)
    plot_curves(tmp_path)
    assert "longest test episodes 1040 steps" in drawn[0]
    assert "test return" not in drawn[0]


@pytest.mark.parametrize(
    ("heights", "placed"),
    [
        ([], []),
        ([0.5], [0.5]),
        ([0.9, 0.1], [0.9, 0.1]),
        ([1.0, 0.98], [1.02, 0.96]),
        ([0.5, 0.5, 0.5], [0.44, 0.5, 0.56]),
        ([0.0, 0.05, 0.1], [-0.01, 0.05, 0.11]),
    ],
)
def test_spread(heights: list[float], placed: list[float]) -> None:
    assert spread(heights, 0.06) == pytest.approx(placed)
