"""The page in a real browser, drawn by software: pictures of it, and clicks that change what it shows."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimickit_hydra.motion.clip import load_clip

pytestmark = pytest.mark.slow
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
SOFTWARE = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--no-sandbox"]
PATIENCE = 120_000  # ms: a browser that draws by software on a busy machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        yield window
        window.close()


class Command:
    """``mimickit`` in a process of its own, until the ``with`` statement ends it as Ctrl-C does."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "mimickit_hydra", *words]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.url = ""

    def __enter__(self) -> Command:
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("viewer"):
                self.url = line.split()[1]
                return self
        raise AssertionError("".join(lines))

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)


def opened(browser: Any, url: str) -> Any:
    page = browser.new_page(viewport={"width": 800, "height": 500})
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.wait_for_selector("canvas")
    page.get_by_text("camera follows").wait_for()
    page.wait_for_timeout(1500)
    return page


def picture(page: Any, name: str) -> np.ndarray:
    """What is drawn ``[height, width, 3]``, without the panel; kept where MIMICKIT_TEST_PICTURES says."""
    from PIL import Image

    data = page.screenshot(timeout=PATIENCE)
    if folder := os.environ.get("MIMICKIT_TEST_PICTURES"):
        Path(folder, f"{name}.png").write_bytes(data)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[:, :480].astype(float)


def test_a_clip_a_click_and_another_clip(browser: Any, tmp_path: Path) -> None:
    with Command("view", "humanoid_fifteen", "--port", "18300") as command:
        page = opened(browser, command.url)
        page.get_by_role("button", name="pause").click()
        character_seen(page, "clip")
        first = picture(page, "clip")
        page.get_by_label("clip", exact=True).click()
        page.get_by_role("option", name="humanoid_spinkick").click()
        page.get_by_text("humanoid_spinkick").first.wait_for()
        page.wait_for_timeout(1500)
        assert np.abs(picture(page, "another_clip") - first).max() > 40
        page.get_by_text("foot skate").wait_for()
        page.get_by_text("edit", exact=True).click()
        page.get_by_role("button", name="mirror").click()
        page.get_by_text("mirror: ").wait_for()
        file = next(
            field for field in page.locator("input").all() if field.input_value() == "humanoid_spinkick_edited.npz"
        )
        file.fill(str(tmp_path / "mirrored.npz"))
        page.get_by_role("button", name="save").click()
        page.get_by_text("mirrored.npz: ").wait_for()
        picture(page, "edited_clip")
        page.close()
    assert command.process.returncode == 130
    assert load_clip(tmp_path / "mirrored.npz").num_frames > 2


def character_seen(page: Any, name: str) -> None:
    """Wait until the character is drawn, which takes software its time."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE / 1000:
        seen = picture(page, name)
        if (seen[..., 2] > seen[..., 0] + 30).sum() > 1500:  # bluer than the ground
            return
        page.wait_for_timeout(500)
    raise AssertionError("no character in the picture")


def test_a_demo_walks_and_is_pushed(browser: Any) -> None:
    with Command("demo", "--no-browser", "--port", "18380") as command:
        page = opened(browser, command.url)
        character_seen(page, "demo")
        page.get_by_role("button", name="left").click()
        page.get_by_text("root_pos_err").wait_for()
        character_seen(page, "pushed")
        page.close()


def test_two_windows_see_the_same(browser: Any) -> None:
    with Command("view", "walk", "--port", "18340") as command:
        pages = [opened(browser, command.url) for _ in range(2)]
        pages[0].get_by_role("button", name="pause").click()
        pages[1].get_by_role("button", name="play").wait_for()
        for page in pages:
            page.close()


def test_a_run_is_seen_while_it_trains(browser: Any, tmp_path: Path) -> None:
    words = [
        "engine=mujoco",
        "devices=[cpu]",
        "num_envs=8",
        f"out_dir={tmp_path / 'run'}",
        "visualize=true",
        "max_minutes=5",
    ]
    with Command("train", *words) as command:
        page = opened(browser, command.url)
        page.get_by_text("root_pos_err").wait_for()
        began = time.monotonic()
        first, moved = picture(page, "run"), False
        while not moved and time.monotonic() - began < 60:
            page.wait_for_timeout(500)
            moved = np.abs(picture(page, "run") - first).max() > 40
        assert moved
        page.close()
