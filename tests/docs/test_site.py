"""The site has every page of the docs, and builds without a warning where its tool is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from mimickit_hydra.config.models import models

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def navigation(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from navigation(child)


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_every_picture_is_shown_somewhere() -> None:
    text = "".join(path.read_text("utf-8") for path in (*DOCS.rglob("*.md"), ROOT / "README.md"))
    assert [path.name for path in (DOCS / "images").iterdir() if path.name not in text] == []


def test_the_reference_names_modules_that_are_there() -> None:
    for page in (DOCS / "reference").glob("*.md"):
        for name in re.findall(r"^::: ([\w.]+)$", page.read_text("utf-8"), re.MULTILINE):
            module = name if name.rpartition(".")[2].islower() else name.rpartition(".")[0]
            assert find_spec(module) is not None, f"{page.name}: {name}"


def test_every_trained_policy_has_its_line() -> None:
    text = (DOCS / "models.md").read_text("utf-8")
    assert [model.name for model in models() if f"`{model.name}`" not in text] == []


@pytest.mark.slow
def test_it_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / "site" / "reference" / "api.html").read_text("utf-8")
    assert "load_policy" in page
    assert not re.findall(r'(?:src|<link [^>]*href)="https?://(?!mimickit)', page)
