"""The table of docs/extending.md counts right: the files it names are all that examples/my_robot has of each thing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "examples" / "my_robot" / "my_robot"
AT_MOST = {"robot": 1, "clip": 1, "reward term": 1, "observation term": 1, "termination term": 1, "task": 3,
           "method": 4, "engine": 3, "importer": 2}  # fmt: skip
ROW = re.compile(r"^\| ([\w ]+) \| `(\w+)` \| (\d) \| (.*) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "extending.md").read_text("utf-8"))


def files_that_mention(name: str) -> set[str]:
    """Without the experiment, which only uses what there is."""
    files = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".yaml")]
    mention = [path.relative_to(PACKAGE) for path in files if re.search(name, path.read_text("utf-8"), re.IGNORECASE)]
    return {str(path) for path in mention if path.parts[:2] != ("conf", "experiment")}


def test_every_kind_has_a_row() -> None:
    assert [kind for kind, *_ in ROWS] == list(AT_MOST)


@pytest.mark.parametrize(("kind", "name", "count", "text"), ROWS, ids=[row[0] for row in ROWS])
def test_the_count(kind: str, name: str, count: str, text: str) -> None:
    named, _, assets = text.partition(", and its asset")
    files = set(re.findall(r"`(.*?)`", named))
    assert len(files) == int(count) <= AT_MOST[kind]
    for file in [*files, *re.findall(r"`(.*?)`", assets)]:
        assert (PACKAGE / file).is_file()
    if kind in ("robot", "clip"):  # these two name each other, as does what made the clip
        others = files_that_mention(name) - files
        assert files <= files_that_mention(name)
        assert {file for file in others if not file.startswith("conf/")} <= {"make_clip.py"}
    else:
        assert files == files_that_mention(rf"{name}(?!_clip)")


def test_nothing_of_mimickit_hydra_names_it() -> None:
    names = [name for kind, name, *_ in ROWS if kind in ("robot", "clip", "method", "engine")]
    files = [path for folder in ("mimickit_hydra", "conf") for path in (ROOT / folder).rglob("*")]
    for path in files:
        if path.suffix in (".py", ".yaml"):
            assert not re.search("|".join(names), path.read_text("utf-8")), path
