"""Sweeps planned without Hydra's sweeper: the same runs, composed the same, frozen so that they can be read back."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from mimickit_hydra.config.compose import as_text, compose, flatten, resolved_yaml, to_run
from mimickit_hydra.config.overrides import quote
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.snapshot import read_frozen
from mimickit_hydra.sweeps.expand import plan_sweep, sweep_settings
from mimickit_hydra.sweeps.launch_settings import change_launch
from mimickit_hydra.sweeps.schema import SlurmLaunchConfig


@pytest.fixture(autouse=True)
def _data(clips: Path) -> None:
    """Every bundled clip is there by name."""


@pytest.mark.parametrize(
    "text", ["rand_seed=range(1,2e9)", "rand_seed=range(1,2000000000)", "num_envs=range(9e8,1,-1)"]
)
def test_a_range_is_counted_before_it_is_listed(text: str) -> None:
    with pytest.raises(UserError, match=r"this sweep would have [\d,]+ runs, at most 10,000 are allowed"):
        plan_sweep([text], here=False)


@pytest.mark.parametrize("text", ["rand_seed=1,2,1", "motion=humanoid_run,humanoid_run", "rand_seed=choice(1,1)"])
def test_a_value_that_is_listed_twice_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="more than once; the runs of a sweep have to differ"):
        plan_sweep([text])


def test_a_plan_is_every_combination_in_hydras_order() -> None:
    plan = plan_sweep(["num_envs=8", "motion=humanoid_walk,humanoid_run", "rand_seed=range(1,4)"])
    assert [run.varied for run in plan.runs] == [
        [f"motion={motion}", f"rand_seed={seed}"] for motion in ("humanoid_walk", "humanoid_run") for seed in (1, 2, 3)
    ]
    assert [run.name for run in plan.runs] == [f"{number}_deepmimic_humanoid_mujoco" for number in range(6)]
    assert all(run.overrides[0] == "num_envs=8" for run in plan.runs)


def test_a_frozen_run_equals_the_composed_one(tmp_path: Path) -> None:
    overrides = ["debug=smoke", "motion=humanoid_run", "num_envs=8", "rand_seed=3", "env.episode_length=2.5"]
    (run,) = plan_sweep([*overrides, f"out_dir={tmp_path}/s"]).runs
    path = tmp_path / "frozen.yaml"
    path.write_text(run.frozen)
    frozen = read_frozen(path)
    composed = dataclasses.replace(to_run(compose(overrides)), out_dir=frozen.run.out_dir)
    assert frozen.run == composed
    assert frozen.run.out_dir == f"{tmp_path}/s/{run.name}"
    assert frozen.overrides == [*overrides, f"out_dir={tmp_path}/s"]
    assert OmegaConf.load(path).num_envs == 8


def test_text_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    (run,) = plan_sweep(["num_envs=8", "logger.wandb_project='1e5'", "max_samples=1e5"]).runs
    (tmp_path / "f.yaml").write_text(run.frozen)
    frozen = read_frozen(tmp_path / "f.yaml").run
    assert (frozen.logger.wandb_project, frozen.max_samples) == ("1e5", 1e5)


SHELL = ["export A=${HOME}", "export B=${A:-/x/${USER}}", r"echo \\${C} '\${D}'", "$E", r"F\\"]


def test_a_shells_variables_stay_text(tmp_path: Path) -> None:
    setup = quote(as_text(SHELL))
    (run,) = plan_sweep(["num_envs=8", "launch=slurm", f"launch.setup={setup}", "rand_seed=1"], here=False).runs
    (tmp_path / "f.yaml").write_text(run.frozen)
    frozen = read_frozen(tmp_path / "f.yaml").run
    assert frozen.launch.setup == SHELL
    changed = change_launch(frozen, ["launch.time=60"])
    assert isinstance(changed, SlurmLaunchConfig)
    assert (changed.setup, changed.time) == (SHELL, 60)


def test_the_saved_config_keeps_a_shells_variables() -> None:
    cfg = compose(["launch=slurm", f"launch.setup={quote(as_text(SHELL))}", "rand_seed=1"])
    saved = OmegaConf.create(resolved_yaml(cfg))
    assert isinstance(saved, DictConfig)
    assert OmegaConf.to_container(saved.launch.setup, resolve=True) == SHELL
    assert flatten(saved, resolve=True) == flatten(cfg, resolve=True)


@given(st.text(alphabet="$\\{}a: '\"", max_size=12))
def test_any_text_is_read_back_as_it_was(text: str) -> None:
    assert OmegaConf.create({"a": as_text(text)}).a == text


def test_a_frozen_run_does_not_read_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = plan_sweep(["num_envs=8", "rand_seed=1"]).runs
    path = tmp_path / "frozen.yaml"
    path.write_text(run.frozen)
    monkeypatch.setattr("mimickit_hydra.config.roots.conf_dir", lambda: tmp_path / "gone")
    assert read_frozen(path).run.num_envs == 8


def test_seeds_that_are_not_given_are_drawn_at_submission(tmp_path: Path) -> None:
    plan = plan_sweep(["num_envs=8,16"])
    seeds = {OmegaConf.create(run.frozen).rand_seed for run in plan.runs}
    assert len(seeds) == 2
    assert None not in seeds


def test_the_first_run_that_cannot_work_is_said() -> None:
    with pytest.raises(UserError, match="num_envs: found 0"):
        plan_sweep(["num_envs=8,0"])
    with pytest.raises(UserError, match=r"interval is searched by Optuna"):
        plan_sweep(["agent.discount=interval(0.9,0.99)"])
    with pytest.raises(UserError, match="at most 10,000"):
        plan_sweep(["rand_seed=range(0,20000)"])


def test_presets_list_values() -> None:
    settings = sweep_settings(["sweep=seeds", "out_dir=here", "num_envs=4,8"])
    assert settings.params == ["rand_seed=1,2,3,4,5"]
    assert (settings.sweeper, settings.launcher) == ("basic", "basic")
    assert settings.sweep_dir == str(Path("here").absolute())
    assert len(plan_sweep([*settings.params, "sweep=seeds", "num_envs=8"]).runs) == 5
    assert len(plan_sweep([*settings.params, "sweep=seeds", "num_envs=8", "rand_seed=7"]).runs) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [("num_envs: 3\n", "not a frozen config"), ("# schema: env=Nothing\nnum_envs: 3\n", "Nothing: unknown schema")],
)
def test_a_file_that_was_not_frozen_is_refused(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(UserError, match=line):
        read_frozen(tmp_path / "f.yaml")


def test_a_frozen_config_of_another_version_is_one_line(tmp_path: Path) -> None:
    (run,) = plan_sweep(["num_envs=8"]).runs
    (tmp_path / "f.yaml").write_text(run.frozen + "a_key_of_later: 3\n")
    with pytest.raises(UserError, match="another version") as raised:
        read_frozen(tmp_path / "f.yaml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "axes",
    [
        ["rand_seed=3,4", "agent.actor_optimizer.learning_rate=1e-4,2e-4", "max_samples=1e5,200000"],
        ["num_envs=8,16", "env.episode_length=1,2.5", "rand_seed=1"],  # a number that becomes a float
        ["method.num_envs=8,16", "rand_seed=1"],  # num_envs follows
        ["env.key_bodies=[head],[left_hand]", "logger.wandb_project='a b','1e5'", "rand_seed=1"],
        ["method=deepmimic,amp", "launch=packed", "launch.parallel=1,2", "rand_seed=1"],
    ],
)
def test_each_run_is_what_hydra_composes_from_its_overrides(axes: list[str], tmp_path: Path) -> None:
    planned = plan_sweep([*axes, f"out_dir={tmp_path}/s"]).runs
    assert len(planned) > 1
    for run in planned:
        (tmp_path / "frozen.yaml").write_text(run.frozen)
        expected = dataclasses.replace(to_run(compose(run.overrides)), out_dir=f"{tmp_path}/s/{run.name}")
        assert read_frozen(tmp_path / "frozen.yaml").run == expected


@pytest.mark.parametrize(
    ("subdir", "names"),
    [
        ("seed_${rand_seed}", ["seed_1", "seed_2"]),
        ("d${agent.discount}/s${rand_seed}", ["d0.9/s1", "d0.9/s2"]),
        ("n${hydra.job.num}_${method.name}", ["n0_deepmimic", "n1_deepmimic"]),
        (
            "${hydra.job.override_dirname}",
            ["agent.discount=0.9,num_envs=8,rand_seed=1", "agent.discount=0.9,num_envs=8,rand_seed=2"],
        ),
    ],
)
def test_each_runs_own_values_name_its_directory(subdir: str, names: list[str], tmp_path: Path) -> None:
    fixed = ["agent.discount=0.9", "num_envs=8", f"out_dir={tmp_path}/s"]
    plan = plan_sweep([*fixed, "rand_seed=1,2", f"hydra.sweep.subdir={subdir}"])
    assert [run.name for run in plan.runs] == names
    (tmp_path / "frozen.yaml").write_text(plan.runs[1].frozen)
    assert read_frozen(tmp_path / "frozen.yaml").run.out_dir == f"{tmp_path}/s/{names[1]}"


def test_a_seed_that_is_drawn_names_the_directory_too() -> None:
    plan = plan_sweep(["num_envs=8,16", "hydra.sweep.subdir=seed_${rand_seed}"])
    assert [run.name for run in plan.runs] == [f"seed_{OmegaConf.create(run.frozen).rand_seed}" for run in plan.runs]


def test_the_sweeps_directory_follows_the_values_that_are_given() -> None:
    plan = plan_sweep(["num_envs=8", "rand_seed=1,2", "hydra.sweep.dir=multirun/${num_envs}_${method.name}"])
    assert plan.sweep_dir == str(Path("multirun/8_deepmimic").absolute())


@pytest.mark.parametrize(
    ("subdir", "line"),
    [
        ("x", "found 'x', must be another directory for each run, but runs 0 and 1 would both be in x; add "),
        ("n${num_envs}", "runs 0 and 1 would both be in n8"),
        ("../${rand_seed}", "must be a directory below that of the sweep"),
        ("/tmp/${rand_seed}", "must be a directory below that of the sweep"),
        ("a/..", "must be a directory below that of the sweep"),
    ],
)
def test_two_runs_never_share_a_directory(subdir: str, line: str) -> None:
    with pytest.raises(UserError, match=r"^hydra\.sweep\.subdir: ") as raised:
        plan_sweep(["num_envs=8", "rand_seed=1,2", f"hydra.sweep.subdir={subdir}"])
    assert line in str(raised.value)


@pytest.fixture
def _bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what comes with the package."""
    monkeypatch.delenv("MIMICKIT_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))


@pytest.mark.usefixtures("_bundled")
def test_the_preset_of_motions_runs_on_a_clean_installation() -> None:
    settings = sweep_settings(["sweep=motions"])
    plan = plan_sweep([*settings.params, "sweep=motions", "num_envs=8"], here=False)
    bundled = sorted(path.stem for path in (bundled_data() / "motions" / "humanoid").glob("*.npz"))
    assert [run.varied for run in plan.runs] == [[f"motion={name}"] for name in bundled]
    assert len(bundled) == 15


@pytest.mark.usefixtures("_bundled")
def test_the_glob_in_the_docs_runs_on_a_clean_installation() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "running.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"`(motion=glob\(.*?\))`", docs)
    assert len(plan_sweep([example, "num_envs=8"], here=False).runs) == 2
