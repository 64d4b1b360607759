"""Our loader gives what Hydra's own gives, sooner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import OmegaConf

from mimickit_hydra.cli.main import main
from mimickit_hydra.config.compose import CONFIG_NAME, compose, config_loader
from mimickit_hydra.config.roots import add


def nodes(node: Any, key: str = "") -> dict[str, tuple[Any, ...]]:
    """Each node with its types, flags and, of a leaf, its value."""
    kept = {name: value for name, value in (node._metadata.flags or {}).items() if value is not None}
    found = {key: (type(node), node._metadata.object_type, node._metadata.ref_type, kept, node._parent is None)}
    if OmegaConf.is_dict(node) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
        for name in node:
            found.update(nodes(node._get_node(name), f"{key}.{name}"))
    else:
        found[key] += (repr(node),)
    return found


def by_hydra(overrides: list[str]) -> Any:
    with config_loader() as loader:
        return ConfigLoaderImpl(loader.config_search_path).load_configuration(CONFIG_NAME, overrides, RunMode.RUN)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["engine=newton", "compute=gpu_fast", "method=ase", "env=steering", "agent.discount=0.5"],
        ["experiment=amp_location_humanoid_sword_shield", "debug=tiny", "hydra.job.chdir=true"],
        ["engine=isaac_gym", "method=view_motion", "launch=slurm", "core=mimickit"],
        ["core=mimickit", "+debug@core.env=mine", "+debug@core.agent=mine"],  # the same files in several packages
    ],
)
def test_the_same_as_by_hydra(tmp_path: Path, overrides: list[str]) -> None:
    (tmp_path / "debug").mkdir()
    (tmp_path / "debug" / "mine.yaml").write_text("a: {b: [1, 2]}\n")
    add([tmp_path])
    for _ in range(3):  # what was kept of the first time is as good as new
        ours, theirs = compose(overrides, with_hydra=True), by_hydra(overrides)
        for cfg in (ours, theirs):
            cfg.hydra.runtime.config_sources = []
        assert nodes(ours) == nodes(theirs)
        ours.engine.control_mode = ours.mode = "changed"


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "debug").mkdir()
    add([tmp_path])
    for value in (3, 14):
        (tmp_path / "debug" / "mine.yaml").write_text(f"# @package _global_\nnum_envs: {value}\n")
        assert compose(["debug=mine"]).num_envs == value


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("num_envs: 1\nnum_envs: 2\n", "mine.yaml:3: not valid YAML: found duplicate key num_envs"),
        ("num_envs: [1\n", "mine.yaml:3: not valid YAML: "),
        ("defaults: 3\n", "Invalid defaults list in 'debug/mine', defaults must be a list (got int)\n"),
        ("num_envs: many\n", "mine.yaml: num_envs: found 'many', must be a whole number"),
        ("agent:\n  discont: 1\n", "mine.yaml: agent.discont: unknown key; nearest: agent.discount"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, line: str) -> None:
    (tmp_path / "debug").mkdir()
    (tmp_path / "debug" / "mine.yaml").write_text("# @package _global_\n" + text)
    main(["train", "-cd", str(tmp_path), "debug=mine", "--cfg", "job"])
    assert line in capsys.readouterr().err
