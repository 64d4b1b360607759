"""Text that looks like a number, a truth value or a time stays what was typed wherever the key is one of text."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimickit_hydra.cli.train import main
from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.config.overrides import parse, quote, value_of
from mimickit_hydra.config.roots import add
from mimickit_hydra.runs.manifest import add_runs, create_sweep, read_sweep
from mimickit_hydra.runs.saved import read_run
from mimickit_hydra.runs.snapshot import freeze, parse_frozen
from mimickit_hydra.sweeps.expand import plan_sweep

WORDS = (
    *(
        "695e0514",
        "1e3",
        "+1E5",
        "-0",
        "007",
        "08",
        "0x10",
        "0b11",
        "0o17",
        "1_000",
        "+5",
        "1.",
        ".5",
        "1.50",
        "6e-1_0",
    ),
    *("true", "FALSE", "on", "Off", "yes", "No", "y", "n", "none", "Nil", "inf", "-Inf", "NaN", "infinity"),
    *("2024-01-01", "12:30:45", "1:2", "190:20:30.15", "2024-01-01T10:00:00Z"),
)
# One of each kind, where a run is composed for every word.
KINDS = (
    "695e0514",
    "+1E5",
    "007",
    "0x10",
    "1_000",
    ".5",
    "FALSE",
    "on",
    "Nil",
    "-Inf",
    "NaN",
    "2024-01-01",
    "12:30:45",
)
YAML_ONLY = (".inf", "-.INF", ".NaN", "0777", "1__0")


@pytest.mark.parametrize("word", WORDS)
def test_on_the_command_line(word: str) -> None:
    keys = (f"logger.wandb_project={word}", f"out_dir={word}", f"resume={word}", f"data_root=[a,{word}]")
    cfg = compose([*keys, f"hydra.run.dir={word}", f"hydra.sweep.dir={word}"], with_hydra=True)
    assert (cfg.logger.wandb_project, cfg.out_dir, cfg.resume, cfg.data_root[1]) == (word,) * 4
    assert (cfg.hydra.run.dir, cfg.hydra.sweep.dir) == (word, word)
    assert value_of("resume", keys) == word
    assert [parse(text).word for text in parse(f"out_dir=x,{word}").each()] == ["x", word]


def test_in_tables_and_in_lists_of_tables() -> None:
    launch = ["launch=slurm", "launch.partition=1e3", "+launch.sbatch={x:1e5}", "launch.setup=[1e3,TRUE]"]
    others = ["motion.objects=[{file: 1e3, pos: [1e0,2,3]}]", "core=mimickit", "core.args={name:1e3,video:true}"]
    cfg = compose([*launch, *others])
    assert (cfg.launch.partition, cfg.launch.sbatch, cfg.launch.setup) == ("1e3", {"x": "1e5"}, ["1e3", "TRUE"])
    assert cfg.motion.objects[0].file == "1e3"
    assert cfg.motion.objects[0].pos == [1.0, 2.0, 3.0]
    assert cfg.core.args == {"name": "1e3", "video": True}


def test_numbers_stay_numbers_and_null_stays_null() -> None:
    cfg = compose(["max_samples=1e3", "num_envs=007", "video=off", "resume=null", "logger.tb=TRUE", "max_minutes=inf"])
    assert (cfg.max_samples, cfg.num_envs, cfg.video, cfg.resume) == (1000.0, 7, False, None)
    assert (cfg.logger.tb, cfg.max_minutes) == (True, float("inf"))


def test_the_last_of_several_counts() -> None:
    assert compose(["out_dir=1e3", "out_dir=1000.0"]).out_dir == "1000.0"
    assert compose(["out_dir=1000.0", "++out_dir=1e3"]).out_dir == "1e3"


def test_functions_of_the_grammar() -> None:
    assert parse("a=choice(1e3,.5,007)").values == ["1e3", ".5", "007"]
    assert sorted(parse("a=shuffle(1e3,2e3)").values) == ["1e3", "2e3"]
    assert parse("a=sort(10,9)").values == ["9", "10"]
    assert parse("a=choice(int(3.7),1e2)").values == ["3", "1e2"]
    assert parse("a=int(3.7)").word == "3"
    assert parse("a=range(1,3)").values == ["1", "2"]
    assert parse("a=[1e3,'x y'],[2e3]").each() == ["a=[1e3,'x y']", "a=[2e3]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for group in ("experiment", "motion"):
        (tmp_path / group).mkdir()
    add([tmp_path])
    return tmp_path


@pytest.mark.parametrize("word", [*KINDS, *YAML_ONLY])
def test_in_a_file(folder: Path, word: str) -> None:
    (folder / "experiment" / "mine.yaml").write_text(
        f"# @package _global_\nlogger: {{wandb_project: {word} }}\nout_dir: {word}\ndata_root: [a, {word} ]\n"
        f"hydra: {{sweep: {{dir: {word} }}, sweeper: {{params: {{resume: {word} }}}}}}\n"
    )
    cfg = compose(["experiment=mine"], with_hydra=True)
    assert (cfg.logger.wandb_project, cfg.out_dir, cfg.data_root[1], cfg.hydra.sweep.dir) == (word,) * 4
    assert cfg.hydra.sweeper.params.resume == word
    assert compose(["experiment=mine", "out_dir=x"]).out_dir == "x"


def test_in_a_list_of_a_file(folder: Path) -> None:
    words = [*WORDS, *YAML_ONLY]
    (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\ndata_root: [{', '.join(words)}]\n")
    assert compose(["experiment=mine"]).data_root == words


@pytest.mark.parametrize("name", ["007", "1e3", "2024", "true", "12", "1_0"])
def test_an_option_with_such_a_name(folder: Path, name: str) -> None:
    walk = "data/motions/humanoid/humanoid_walk.pkl"
    (folder / "motion" / f"{name}.yaml").write_text(
        f"defaults: [base_motion, _self_]\nname: {name}\ncharacter: humanoid\nmotion_file: {walk}\n"
    )
    (folder / "experiment" / f"{name}.yaml").write_text(
        f"# @package _global_\ndefaults:\n  - override /motion: {name}\n"
    )
    assert compose([f"motion={name}"]).motion.name == name
    assert compose([f"experiment={name}"]).motion.name == name
    plan = plan_sweep([f"motion={name},humanoid_run", "rand_seed=1"], here=False)
    assert [parse_frozen(run.frozen, folder).run.motion.name for run in plan.runs] == [name, "humanoid_run"]
    saved = folder / "run.yaml"
    saved.write_text(plan.runs[0].frozen)
    assert compose(read_run(saved).overrides).motion.name == name


@pytest.mark.parametrize("word", [*KINDS, ".inf", "null", "~", "", " 1e3", "1e3 "])
def test_in_snapshots_and_saved_configs(tmp_path: Path, word: str) -> None:
    words = [word, *WORDS, *YAML_ONLY]
    listed = ",".join(quote(each) for each in words)
    overrides = [f"logger.wandb_project={quote(word)}", f"data_root=[{listed}]", "out_dir=x", "rand_seed=1"]
    cfg = compose(overrides, with_hydra=True)
    run = to_run(cfg)
    assert (run.logger.wandb_project, run.data_root) == (word, words)
    frozen = freeze(run, cfg.hydra.runtime.choices, overrides)
    assert parse_frozen(frozen.text, tmp_path).run == run
    for text in (frozen.text, resolved_yaml(cfg)):
        (tmp_path / "config.yaml").write_text(text)
        again = to_run(compose(read_run(tmp_path).overrides))
        assert (again.logger.wandb_project, again.data_root) == (word, words)


def test_in_a_saved_config_that_was_edited(tmp_path: Path) -> None:
    text = resolved_yaml(compose())
    text = text.replace("wandb_project: mimickit", "wandb_project: 695e0514")
    (tmp_path / "config.yaml").write_text(text.replace("data_root: []", "data_root: [x, 1e3]"))
    again = compose(read_run(tmp_path).overrides)
    assert (again.logger.wandb_project, again.data_root) == ("695e0514", ["x", "1e3"])


def test_in_a_sweep_and_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = plan_sweep(["out_dir=695e0514", "logger.wandb_project=1e3,007,on", "max_samples=1e3,2e3"], here=False)
    assert plan.sweep_dir == str(tmp_path / "695e0514")
    runs = [parse_frozen(run.frozen, tmp_path).run for run in plan.runs]
    assert [run.logger.wandb_project for run in runs] == ["1e3", "1e3", "007", "007", "on", "on"]
    assert [run.max_samples for run in runs[:2]] == [1000.0, 2000.0]
    sweep = create_sweep(tmp_path / "s", ["out_dir=1e3"])
    add_runs(sweep, [("1e3", ["out_dir=1e3"], ["x=007"], ""), ("007", ["out_dir=on"], ["x=1_0"], "")])
    read = read_sweep(tmp_path / "s")
    assert (read.command, [run.dir for run in read.runs]) == (["out_dir=1e3"], ["1e3", "007"])
    assert [run.varied for run in read.runs] == [["x=007"], ["x=1_0"]]
    assert plan_sweep(["hydra.sweep.dir=1e5", "rand_seed=1,2"], here=False).sweep_dir == str(tmp_path / "1e5")


def test_a_missing_directory_is_named_as_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume=1e3"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("resume=1e3: no such run directory")
