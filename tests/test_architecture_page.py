"""The page about the architecture names every part that exists and no other, in its table and in its picture."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE, PICTURE = ROOT / "docs" / "architecture.md", ROOT / "docs" / "images" / "architecture.svg"
REDRAW = "run: python docs/architecture.py"


def parts() -> set[str]:
    package = ROOT / "mimickit_hydra"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    return folders | {path.stem for path in package.glob("*.py") if not path.stem.startswith("__")}


def test_the_table_names_every_room() -> None:
    named = re.findall(r"^\| `(\w+)/?` \|", PAGE.read_text("utf-8").split("<!-- parts -->")[1], re.MULTILINE)
    assert sorted(name for name in named if name not in parts()) == [], REDRAW
    assert sorted(parts() - set(named)) == [], REDRAW


def test_the_picture_names_every_room() -> None:
    words = set(re.findall(r"\w+", " ".join(re.findall(r">([^<]+)</text>", PICTURE.read_text("utf-8")))))
    assert sorted(parts() - words) == [], REDRAW


def test_the_files_that_the_page_names_exist() -> None:
    for name in re.findall(r"`(\w+/(?:\w+/)*\w+\.py)`", PAGE.read_text("utf-8")):
        assert any((root / name).is_file() for root in (ROOT, ROOT / "mimickit_hydra")), name
