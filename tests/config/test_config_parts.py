"""Catalog, paths, comparison, sweeps and the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimickit_hydra import gpus
from mimickit_hydra.checks.clips import clip_facts
from mimickit_hydra.config.compare import ABSENT, differences
from mimickit_hydra.config.compose import compose
from mimickit_hydra.config.defaults import Entry, read
from mimickit_hydra.config.fields import comment, declared
from mimickit_hydra.config.groups import default_choices, groups
from mimickit_hydra.config.overrides import combinations
from mimickit_hydra.config.paths import bundled_data, resolve_data_file
from mimickit_hydra.config.roots import conf_dir
from mimickit_hydra.errors import UserError, nearest

# ------------------------------------------------------------------------------------------------------------ catalog


def test_every_group_and_option_has_a_line_of_help() -> None:
    assert list(groups())[:4] == ["engine", "method", "character", "motion"]
    for group in groups().values():
        assert group.help, group.name
        for option in group.options:
            assert 10 < len(option.help) < 110 or group.name == "motion", option
            assert option.help


def test_the_defaults_are_options() -> None:
    assert default_choices()["compute"] == "cpu"  # chosen by the default engine
    for name, option in default_choices().items():
        if name in groups():
            assert option in groups()[name].option_names()


def test_help_skips_directives(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("# @package _global_\n# what it does\na: 1\n")
    assert read(path).help == "what it does"


def test_a_defaults_list_with_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "defaults:\n"
        "  - base_run\n"
        "  - common/policy@_here_\n"
        "  - override /engine@_global_.engine: newton  # why\n"
        "  - optional agent/x@agent: ${a}_b\n"
        "  - debug: null\n"
        "a:\n  b: 1\n"
    )
    found = read(path)
    assert found.defaults == (
        Entry("", "base_run", None, False, False, 2),
        Entry("", "common/policy", "_here_", False, False, 3),
        Entry("engine", "newton", "_global_.engine", True, False, 4),
        Entry("agent/x", "${a}_b", "agent", False, True, 5),
        Entry("debug", None, None, False, False, 6),
    )
    assert found.chosen == {"engine": "newton"}
    assert found.lines == {"defaults": 1, "a": 7, "a.b": 8}
    path.write_text("defaults: [\n")
    assert read(path).defaults == ()


def test_a_key_knows_its_dataclass_and_its_help() -> None:
    cfg = compose([])
    kind, field = declared(cfg, "agent.actor_optimizer.type")
    assert kind.__name__ == "OptimizerConfig"
    assert "momentum" in comment(field)
    assert comment(declared(cfg, "agent.steps_per_iter")[1]) == "of a rollout [control steps]"
    assert declared(cfg, "agent.nothing") is None


def test_nearest_prefers_the_same_last_word() -> None:
    assert nearest("discount", ["agent.discount", "env.disco"])[0] == "agent.discount"


# -------------------------------------------------------------------------------------------------------------- paths


def test_conf_and_data_are_there() -> None:
    assert (conf_dir() / "config.yaml").is_file()
    assert resolve_data_file("data/assets/humanoid/humanoid.xml").parent == bundled_data() / "assets" / "humanoid"


def test_lookup_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = [tmp_path / "given", tmp_path / "environment"]
    for root in roots:
        (root / "motions").mkdir(parents=True)
    monkeypatch.setenv("MIMICKIT_DATA", str(roots[1]))
    monkeypatch.chdir(tmp_path)
    (roots[1] / "motions" / "a.npz").touch()
    assert resolve_data_file("data/motions/a.pkl", [str(roots[0])]) == roots[1] / "motions" / "a.npz"
    (roots[0] / "motions" / "a.npz").touch()
    assert resolve_data_file("data/motions/a.pkl", [str(roots[0])]) == roots[0] / "motions" / "a.npz"
    (roots[0] / "motions" / "a.pkl").touch()
    assert resolve_data_file("data/motions/a.pkl", [str(roots[0])]) == roots[0] / "motions" / "a.pkl"
    (tmp_path / "data" / "motions").mkdir(parents=True)
    (tmp_path / "data" / "motions" / "a.pkl").touch()
    assert resolve_data_file("data/motions/a.pkl", [str(roots[0])]) == tmp_path / "data" / "motions" / "a.pkl"


def test_a_missing_file_names_the_roots_and_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "motions").mkdir()
    (tmp_path / "motions" / "walk.npz").touch()
    with pytest.raises(UserError) as caught:
        resolve_data_file("data/motions/wlak.npz", [str(tmp_path)])
    assert str(tmp_path) in str(caught.value)
    assert "nearest: data/motions/walk.npz" in str(caught.value)


def test_clip_facts_of_a_clip_and_of_rubbish(clips: Path) -> None:
    import numpy as np

    option = conf_dir() / "motion" / "humanoid_walk.yaml"
    path = clips / "motions" / "humanoid" / "humanoid_walk.npz"
    assert clip_facts(option) is None or path.stat().st_size == 0
    np.savez(path, frames=np.zeros((31, 34), np.float32), fps=30.0)
    facts = clip_facts(option)
    assert facts is not None
    assert (facts.frames, facts.fps, facts.seconds) == (31, 30.0, 1.0)


# --------------------------------------------------------------------------------------------------------- comparison


def test_only_what_differs(tmp_path: Path) -> None:
    found = {one.key: (one.left, one.right) for one in differences("", "motion=humanoid_run agent.discount=0.5")}
    assert set(found) == {"motion.name", "motion.motion_file", "env.motion_file", "agent.discount"}
    assert found["agent.discount"] == (0.95, 0.5)
    assert differences("", "engine=mujoco") == []
    assert [one.key for one in differences("walk_30min", "")] == ["max_minutes"]


def test_keys_of_one_side_only() -> None:
    found = {one.key: one for one in differences("engine=newton", "")}
    assert found["engine.num_threads"].left is ABSENT


def test_a_run_directory_against_an_override_list(tmp_path: Path) -> None:
    from mimickit_hydra.config.compose import compose, resolved_yaml

    (tmp_path / "config.yaml").write_text(resolved_yaml(compose(["num_envs=3"])))
    assert [(one.key, one.left) for one in differences(str(tmp_path), "")] == [("num_envs", 3)]


def test_a_side_that_is_nothing() -> None:
    with pytest.raises(UserError, match=r"walk_30mn: no run directory, .*; nearest: walk_30min"):
        differences("walk_30mn", "")


# ------------------------------------------------------------------------------------------------------------- sweeps


def test_a_sweep_is_every_combination() -> None:
    runs = list(combinations(["a=1,2", "b=x", "c=3,4"]))
    assert runs == [["a=1", "b=x", "c=3"], ["a=1", "b=x", "c=4"], ["a=2", "b=x", "c=3"], ["a=2", "b=x", "c=4"]]


def test_a_long_sweep_tries_each_value_once() -> None:
    runs = list(combinations([f"a={','.join(map(str, range(20)))}", "b=0,1,2"]))
    assert len(runs) == 1 + 19 + 2


# ------------------------------------------------------------------------------------------------------------ machine


def test_gpu_count_follows_what_the_process_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpus.gpu_count() == 0
    monkeypatch.setattr(gpus.Path, "glob", lambda self, pattern: iter([Path("/dev/nvidia0"), Path("/dev/nvidia1")]))
    monkeypatch.setattr(gpus.sys, "platform", "linux")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert gpus.gpu_count() in (2, None)  # None under WSL and ROCm
