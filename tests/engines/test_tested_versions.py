"""The table of tested versions: the same in the code and in the docs, and whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimickit_hydra.engines.tested import EMULATED, OPTIONAL, REAL, TESTED, is_tested
from mimickit_hydra.plugins import ENGINES

PAGES = Path(__file__).parents[2] / "docs" / "engines"


def documented() -> dict[str, list[str]]:
    """``{engine: the other cells}`` of the first table of the engines' page."""
    table = PAGES.joinpath("README.md").read_text(encoding="utf-8").partition("| engine |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0].partition("]")[0].lstrip("["): row[1:] for row in rows}


@pytest.mark.parametrize("name", list(TESTED))
def test_the_docs_say_what_the_code_says(name: str) -> None:
    tested = TESTED[name]
    packages = ", ".join(f"{package} {' or '.join(versions)}" for package, versions in tested.packages.items())
    expected = [" or ".join(tested.python), packages, ", ".join(tested.devices), tested.verified]
    assert documented()[name] == expected, "engines/tested.py and docs/engines/README.md differ"


def test_every_engine_is_in_it() -> None:
    assert list(TESTED) == list(ENGINES) == list(documented())
    for name, tested in TESTED.items():
        assert tested.verified in (REAL, EMULATED)
        assert set(OPTIONAL.get(name, ())) <= set(tested.packages)
        page = PAGES / f"{name}.md"
        if page.exists():
            assert page.read_text(encoding="utf-8").startswith(f"# engine={name}\n")


def test_a_build_of_a_tested_version_is_tested() -> None:
    assert is_tested("3.11.7", ("3.11",))
    assert is_tested("1.19.0+cu12", ("1.19.0",))
    assert not is_tested("3.1", ("3.11",))
    assert not is_tested("3.110.1", ("3.11",))
