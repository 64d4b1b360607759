"""The report by value: differences, groups, bands, the page and its table; and the page as a browser draws it."""

from __future__ import annotations

import csv
import html.parser
import json
import math
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.log_table import format_line, format_value
from mimickit_hydra.runs.manifest import add_runs, create_sweep
from mimickit_hydra.runs.state import update_state
from mimickit_hydra.view.report_data import band, collect, differing
from mimickit_hydra.view.report_page import number, ticks, write_report

KEYS = ["Iteration", "Samples", "Test_Return", "Train_Return", "Samples_Per_Second"]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
]  # fmt: skip


def _run(folder: Path, rate: float, seed: int, rows: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    lines = [format_line(KEYS)]
    for row in range(rows):
        value = level * (1 - np.exp(-3 * row / rows)) + 0.1 * rng.standard_normal()
        values = {"Iteration": row, "Samples": 64 * (row + 1), "Test_Return": value, "Samples_Per_Second": 500.0}
        lines.append(format_line(format_value(key, values.get(key, math.nan)) for key in KEYS))
    (folder / "log.txt").write_text("".join(lines))
    (folder / "config.yaml").write_text(_config(rate, seed))
    (folder / "metrics.json").write_text(json.dumps({"success_rate": 0.5, "body_pos_err": 0.1 + rate}))
    update_state(folder, state="finished")


def _config(rate: float, seed: int) -> str:
    config = {
        "rand_seed": seed,
        "num_envs": 8,
        "out_dir": f"x/{seed}",
        "motion": {"name": "humanoid_walk", "motion_file": "data/walk.npz"},
        "agent": {"actor_optimizer": {"learning_rate": rate}},
    }
    return yaml.safe_dump(config, sort_keys=False)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two learning rates with three seeds each; the last run has failed and another waits."""
    combinations = [(rate, seed) for rate in (0.001, 0.1) for seed in (1, 2, 3)]
    made = create_sweep(tmp_path / "sweep", [])
    made = add_runs(made, [(f"{n}_run", [], [], _config(*pair)) for n, pair in enumerate(combinations)])
    for run, (rate, seed) in zip(made.runs[:4], combinations[:4], strict=True):
        _run(made.run_dir(run), rate, seed, 40, 10 if rate < 0.01 else 5)
    update_state(made.path / "4_run", state="failed", error="Actor_Loss <is> not finite")
    return made.path


def test_only_what_differs_and_says_something_new_is_shown() -> None:
    settings = [
        {"motion.name": motion, "env.motion_file": f"{motion}.npz", "num_envs": 8, "rand_seed": seed, "out_dir": seed}
        for motion in ("walk", "run")
        for seed in (1, 2)
    ]
    assert differing(settings) == ["motion.name", "rand_seed"]
    assert differing(settings[:1]) == []


def test_the_band_is_around_the_mean_of_the_seeds() -> None:
    x = np.arange(1.0, 101.0)
    lines = [(x, np.full(100, value)) for value in (1.0, 2.0, 3.0)]
    curve = band("all", lines)
    np.testing.assert_allclose(curve.mean, 2.0)
    assert np.all((curve.low >= 1.0) & (curve.low < 2.0))
    assert np.all((curve.high <= 3.0) & (curve.high > 2.0))
    alone = band("one", lines[:1])
    np.testing.assert_array_equal(alone.x, x)
    assert np.isnan(alone.low).all()


def test_runs_of_different_length_share_what_half_of_them_have() -> None:
    lines = [(np.arange(1.0, n), np.arange(1.0, n)) for n in (11, 51, 101)]
    curve = band("all", lines)
    assert curve.x[-1] == 50.0
    np.testing.assert_allclose(curve.mean, curve.x)


def test_collected_runs_groups_and_figures(sweep: Path) -> None:
    report = collect(sweep)
    assert report.varied == ["agent.actor_optimizer.learning_rate", "rand_seed"]
    assert report.group_by == ["agent.actor_optimizer.learning_rate"]
    assert [len(members) for members in report.groups.values()] == [3, 3]
    assert [data.run.state for data in report.runs] == ["finished"] * 4 + ["failed", "missing"]
    first = report.runs[0].figures
    assert first["samples"] == 64 * 40
    assert first["best_return"] >= first["final_return"] == report.runs[0].log["Test_Return"][-1]
    assert set(report.curves) == {"Test_Return", "Samples_Per_Second"}
    assert [grouping.title for grouping in report.groupings] == ["actor_optimizer.learning_rate", "each run"]
    by_seed = collect(sweep, group_by=["rand_seed"])
    assert list(by_seed.groups) == ["rand_seed=1", "rand_seed=2", "rand_seed=3"]
    assert list(collect(sweep, group_by=["motion"]).groups) == ["motion=humanoid_walk"]
    with pytest.raises(UserError, match="no such setting; nearest: rand_seed"):
        collect(sweep, group_by=["rand_sed"])
    (sweep / "empty").mkdir()
    with pytest.raises(UserError, match="no runs"):
        collect(sweep / "empty")


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if name in ("href", "src") and value]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_its_links_lead_somewhere(sweep: Path) -> None:
    (sweep / "0_run" / "video.mp4").touch()
    page, table = write_report(collect(sweep), sweep / "report.html")
    text = page.read_text()
    parsed = _Page()
    parsed.feed(text)
    assert parsed.open == []
    assert not re.search(r"https?://|@import|url\(", text)
    for link in parsed.links:
        assert (sweep / link.split("#")[0]).exists(), link
    assert "0_run/video.mp4#t=0.5" in parsed.links
    assert "Actor_Loss &lt;is&gt; not finite" in text
    views = re.findall(r'<div class="view".*?(?=<div class="view"|<p class="note")', text, re.DOTALL)
    assert [view.count("<svg") for view in views] == [2, 2]  # by learning rate, and each run
    assert [view.count('class="band"') for view in views] == [2, 0]  # the group with three runs, in both charts
    assert [" hidden>" in view for view in views] == [False, True]
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 6
    assert rows[0]["agent.actor_optimizer.learning_rate"] == "0.001"
    assert float(rows[3]["samples"]) == 64 * 40
    assert (rows[4]["state"], rows[4]["error"]) == ("failed", "Actor_Loss <is> not finite")


def test_round_numbers() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(-0.1, 0.31) == [-0.1, 0.0, 0.1, 0.2, 0.3]
    assert [number(value) for value in (0, 1234.5, 0.0125, 3.1e-5, float("nan"))] == [
        "0",
        "1,234",
        "0.0125",
        "3.1e-05",
        "–",
    ]


def test_a_hundred_runs_of_a_thousand_rows(tmp_path: Path) -> None:
    """Takes about 3 s on two cores; the bound leaves room for a loaded machine."""
    for index in range(100):
        folder = tmp_path / f"{index:02d}_run"
        folder.mkdir()
        _run(folder, 0.001 * (index % 10 + 1), index // 10, 1000, 10)
    began = time.monotonic()
    report = collect(tmp_path)
    write_report(report, tmp_path / "report.html")
    assert time.monotonic() - began < 20
    assert len(report.groups) == 10


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_draws_it(sweep: Path, tmp_path: Path) -> None:
    from matplotlib.image import imread

    page, _ = write_report(collect(sweep), sweep / "report.html")
    picture = tmp_path / "page.png"
    subprocess.run(
        [str(CHROMIUM), *CHROMIUM_FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1100",
         f"--screenshot={picture}", page.as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    pixels = (imread(picture)[..., :3] * 255).round().astype(int)
    assert pixels.shape == (1100, 1400, 3)
    for colour in ((0x2A, 0x6F, 0xBB), (0xD9, 0x73, 0x0D)):  # the lines of both groups
        assert (np.abs(pixels - colour).max(-1) < 12).sum() > 300
    assert (np.abs(pixels - (0xF6, 0xF7, 0xF9)).max(-1) < 3).mean() > 0.1  # the page's own background


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_another_grouping_is_a_click_away(sweep: Path, tmp_path: Path) -> None:
    page, _ = write_report(collect(sweep), sweep / "report.html")
    click = "<script>document.querySelectorAll('.groupby button')[1].click()</script></body>"
    (sweep / "clicked.html").write_text(page.read_text().replace("</body>", click))
    done = subprocess.run(
        [str(CHROMIUM), *CHROMIUM_FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         (sweep / "clicked.html").as_uri()],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert re.findall(r'<div class="view" data-view="(\d)"( hidden="")?', done.stdout) == [
        ("0", ' hidden=""'),
        ("1", ""),
    ]
    dots = re.findall(r'<i class="(\w+)" data-classes="(\w+) (\w+)">', done.stdout)
    assert dots
    assert all(shown == second for shown, _, second in dots)
