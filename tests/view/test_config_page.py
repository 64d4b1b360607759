"""The config page: every value with where it came from, other choices, pairs; drawn and searched in a browser."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mimickit_hydra.checks.choices import alternatives, pairs
from mimickit_hydra.cli.main import main
from mimickit_hydra.config.explain import trace
from mimickit_hydra.view.config_page import html_text

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WORDS = ["method=amp", "agent.discount=0.9", "out_dir='<b>&x'"]


@pytest.fixture(scope="module")
def page() -> str:
    others = {group: alternatives(group, WORDS) for group in ("env", "core")}
    return html_text(trace(WORDS), WORDS, others, pairs())


def test_every_value_is_there_with_its_history(page: str) -> None:
    keys = re.findall(r'data-key="([^"]+)"', page)
    assert sorted(keys) == sorted(key.lower() for key in trace(WORDS).history)
    block = page[page.index('data-key="agent.discount"') :]
    block = html.unescape(block[: block.index("</details>")])
    assert block.index("command line (agent.discount=0.9)") < block.index("conf/recipe/cpu.yaml")
    assert "recipe=cpu from conf/compute/cpu.yaml" in block
    assert "may be: at least 0 and less than 1" in block


def test_other_choices_and_pairs_are_there(page: str) -> None:
    text = html.unescape(page)
    assert "env=deepmimic: the agent AMP cannot drive it" in text
    assert 'data-word="core=mimickit"' in page
    assert "character and motion" in text


def test_it_needs_nothing_else_and_text_stays_text(page: str) -> None:
    assert not re.findall(r"""(?:src|href)=["'](?!#)[^"']+|@import|url\(|https?://""", page)
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;x" in page


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "mimickit explain: required: key, or --html FILE"),
        (["agent.discount", "--html", "x.html"], "found 'agent.discount', must be overrides alone"),
        (["method=am", "--html", "x.html"], "method=am: no such option"),
    ],
)
def test_mistakes_are_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *words]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_search_leaves_what_was_sought(page: str, tmp_path: Path) -> None:
    script = "<script>search.value='disc_opt';search.dispatchEvent(new Event('input'))</script></body>"
    (tmp_path / "page.html").write_text(page.replace("</body>", script))
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'p'}", "--dump-dom", (tmp_path / "page.html").as_uri()],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    left = re.findall(r'<details class="leaf(?: typed)?" data-key="([^"]+)"', done.stdout)
    assert left == [f"agent.disc_optimizer.{name}" for name in ("type", "learning_rate", "weight_decay", "grad_clip")]


@pytest.mark.slow
def test_the_command_writes_all_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "in" / "page.html"
    assert main(["explain", "--html", str(out), "lr=1e-4"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    text = out.read_text()
    assert 'data-group="experiment"' in text
    assert 'data-group="model"' in text
    assert "agent.actor_optimizer.learning_rate=1e-4" in text
