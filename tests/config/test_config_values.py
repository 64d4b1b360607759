"""conf/ holds only what has something to say: no value equal to its schema's default, no file equal to another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mimickit_hydra.config.defaults import read
from mimickit_hydra.config.groups import groups
from mimickit_hydra.config.roots import conf_dir
from mimickit_hydra.plugins import SCHEMAS

OPTIONS = [
    option.path for group in groups().values() for option in group.options if group.name not in ("experiment", "sweep")
]


def content(path: Path) -> dict[str, Any]:
    found = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(found, dict)
    return {key: value for key, value in found.items() if key != "defaults"}


def included(path: Path, group: str) -> list[Path]:
    """The files whose values come before the option's own, the first of them first."""
    found = []
    for entry in read(path).defaults:
        if (
            entry.option
            and not entry.is_override
            and not entry.is_optional
            and not entry.option.startswith(("base_", "_"))
        ):
            name = "/".join(filter(None, [entry.group, entry.option])).lstrip("/").removeprefix(f"{group}/")
            for place in (path.parent / f"{name}.yaml", conf_dir() / group / f"{name}.yaml"):
                if place.is_file():
                    found += [*included(place, group), place]
                    break
    return found


def leaves(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        found.update(leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_value_is_the_default_of_its_schema(path: Path) -> None:
    group = path.parent.name
    bases = [entry.option for entry in read(path).defaults if (entry.option or "").startswith("base_")]
    if not bases:
        return
    schema = OmegaConf.to_container(OmegaConf.structured(SCHEMAS[f"{group}/{bases[0]}"].load_schema()))
    assert isinstance(schema, dict)
    defaults = leaves(schema)
    seen: set[str] = set()
    for file in [*included(path, group), path]:
        for key, value in leaves(content(file)).items():
            default = defaults.get(key)
            # a list whose default is null is mandatory while composing
            if key not in seen and not (value is None and key == "joint_err_w"):
                assert value != default, f"{file}: {key}"
            seen.add(key)


def test_no_file_says_what_another_says() -> None:
    """A file that stands for two choices is there because the two together differ; one line may say: as another."""
    texts: dict[str, Path] = {}
    for path in sorted(conf_dir().rglob("*.yaml")):
        if path.parent.name in ("experiment", "by_agent_character"):  # three robots share one number of MimicKit's
            continue
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
        if lines[:1] == ["defaults:"] and len(lines) == 2:
            continue  # as another, and nothing else
        text = "\n".join([str(path.parent), *lines])
        assert text not in texts, f"{path} equals {texts[text]}"
        texts[text] = path
