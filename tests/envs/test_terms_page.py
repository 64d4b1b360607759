"""The table of terms in the docs names every registered term with its parameters, and no other."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from mimickit_hydra.envs.term_schema import KINDS
from mimickit_hydra.plugins import REWARDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods" / "README.md"


def test_the_table_of_terms_is_complete() -> None:
    named = {}
    for kind, terms, keys in re.findall(
        r"^\| (observation|reward|termination) \| (.*?) \| (.*?) \|$", PAGE.read_text("utf-8"), re.M
    ):
        for term in re.findall(r"`(\w+)`", terms):
            named[kind, term] = set(re.findall(r"`(\w+)`", keys))
    known = {
        (entry.kind, entry.name): (
            {field.name for field in dataclasses.fields(entry.load_schema())} if entry.schema else set()
        )
        | ({"weight"} if registry is REWARDS else set())
        for registry in KINDS.values()
        for entry in registry.entries()
        if entry.plugin == "mimickit_hydra"
    }
    assert named == known
