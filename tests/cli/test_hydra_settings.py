"""Hydra's own settings, each by value: it does what Hydra's users know, or is refused in one line."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.experimental.callback import Callback
from omegaconf import OmegaConf

from mimickit_hydra.cli.train import main
from mimickit_hydra.config.compose import compose
from mimickit_hydra.runs.manifest import read_sweep
from mimickit_hydra.runs.snapshot import read_frozen
from mimickit_hydra.sweeps.start import start_file

ROOT = Path(__file__).resolve().parents[2]
CALLED: list[str] = []


class Witness(Callback):
    """Writes down what Hydra calls."""

    def on_run_start(self, config: Any, **_: Any) -> None:
        CALLED.append(f"run starts in {Path(config.hydra.run.dir).name}")

    def on_job_start(self, config: Any, **_: Any) -> None:
        CALLED.append("job starts")

    def on_job_end(self, config: Any, job_return: Any, **_: Any) -> None:
        CALLED.append(f"job ends: {job_return.status.name}")

    def on_run_end(self, config: Any, **_: Any) -> None:
        CALLED.append("run ends")


class Runs(list[dict[str, Any]]):
    """What reached training: the run, its directory, and what its process looked like then."""


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path) -> Iterator[Runs]:
    found, root = Runs(), logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run(run: Any, *, out_dir: str, **_: Any) -> float:
        seen = {
            "cwd": os.getcwd(),
            "env": os.environ.get("MINE"),
            "level": logging.getLogger("some").getEffectiveLevel(),
        }
        found.append({"run": run, "out_dir": Path(out_dir), **seen})
        logging.getLogger("some").info("told")
        return 1.0

    module = types.ModuleType("mimickit_hydra.training.run")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mimickit_hydra.training.run", module)
    monkeypatch.chdir(tmp_path)
    CALLED.clear()
    yield found
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("some").setLevel(logging.NOTSET)


@pytest.fixture
def refused(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    def line(*arguments: str) -> str:
        capsys.readouterr()
        before = sorted(tmp_path.iterdir())
        assert main(list(arguments)) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert sorted(tmp_path.iterdir()) == before  # nothing was made
        return error.strip()

    yield line
    assert runs == []


@pytest.fixture
def sweep(runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[Path]]:
    """Plan a sweep without running it; the frozen configs of its runs."""
    monkeypatch.setattr("mimickit_hydra.sweeps.runner.run_all", lambda *_, **__: [])

    def plan(*arguments: str) -> list[Path]:
        assert main(["-m", *arguments, "rand_seed=1,2"]) == 75
        (manifest,) = tmp_path.glob("**/sweep.yaml")
        return [manifest.parent / run.config for run in read_sweep(manifest).runs]

    return plan


# ---------------------------------------------------------------------------------------------------- the run directory


@pytest.mark.parametrize("words", [["hydra.run.dir=mine"], ["out_dir=mine"], ["hydra.run.dir=mine", "out_dir=./mine"]])
def test_the_run_directory(runs: Runs, tmp_path: Path, words: list[str]) -> None:
    assert main(words) == 0
    assert runs[0]["out_dir"] == tmp_path / "mine"
    assert runs[0]["run"].out_dir == str(tmp_path / "mine")
    assert not (tmp_path / "outputs").exists()


def test_a_run_directory_made_of_the_overrides(runs: Runs, tmp_path: Path) -> None:
    assert main(["num_envs=8", "hydra.run.dir=runs/${hydra.job.override_dirname}_${hydra.job.name}"]) == 0
    assert runs[0]["out_dir"] == tmp_path / "runs" / "num_envs=8_train"


def test_two_run_directories_are_refused(refused: Callable[..., str]) -> None:
    line = refused("hydra.run.dir=x", "out_dir=y")
    assert line == "out_dir=y and hydra.run.dir=x: both name the run directory; give one of them"


def test_a_sweeps_directory(sweep: Callable[..., list[Path]], tmp_path: Path) -> None:
    frozen = sweep("hydra.sweep.dir=s", "hydra.sweep.subdir=${hydra.job.name}_${rand_seed}")
    assert [path.parent for path in frozen] == [tmp_path / "s" / "train_1", tmp_path / "s" / "train_2"]


def test_what_belongs_to_the_other_kind_of_run(refused: Callable[..., str]) -> None:
    for word in ("hydra.sweep.dir=x", "hydra.sweep.subdir=x", "hydra/launcher=joblib", "sweep=seeds"):
        assert refused(word) == f"{word}: has a meaning for several runs only; add --multirun (-m)"
    assert "out_dir= or hydra.sweep.dir=" in refused("-m", "hydra.run.dir=x", "rand_seed=1,2")
    assert "both name the sweep's directory" in refused("-m", "hydra.sweep.dir=x", "out_dir=y", "rand_seed=1,2")
    assert refused("hydra.runtime.cwd=/tmp") == "hydra.runtime.cwd=/tmp: Hydra sets this itself"


# ------------------------------------------------------------------------------------------------------- the process


def test_chdir(runs: Runs, tmp_path: Path) -> None:
    assert main(["out_dir=mine", "hydra.job.chdir=true", "data_root=[data_root]"]) == 0
    assert runs[0]["cwd"] == str(tmp_path / "mine")
    assert runs[0]["run"].data_root == [str(tmp_path), str(tmp_path / "data_root")]
    assert Path.cwd() == tmp_path


def test_environment(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["+hydra.job.env_set.MINE=seed_${rand_seed}", "rand_seed=3"]) == 0
    assert runs[0]["env"] == "seed_3"
    assert "MINE" not in os.environ


def test_environment_that_is_copied(runs: Runs, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    monkeypatch.delenv("MINE", raising=False)
    line = refused("hydra.job.env_copy=[MINE]")
    assert line == "hydra.job.env_copy: found MINE, must be a variable of this environment"


def test_a_sweep_carries_environment_and_directory(
    sweep: Callable[..., list[Path]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIRS", "x")
    words = ["+hydra.job.env_set.MINE=${rand_seed}", "hydra.job.env_copy=[THEIRS]", "hydra.job.chdir=true"]
    frozen = sweep(*words, "hydra.verbose=[some]")
    job = read_frozen(frozen[1]).job
    assert (job.env, job.env_copy) == ({"MINE": "2"}, ["THEIRS"])
    start_file(frozen[1])
    (started,) = runs
    assert (started["env"], started["cwd"], started["level"]) == ("2", str(frozen[1].parent), logging.DEBUG)
    assert "MINE" not in os.environ


def test_output_subdir(runs: Runs, refused: Callable[..., str], tmp_path: Path) -> None:
    where = "does not reach a run of a sweep; it works for a single run with launch=local"
    assert refused("-m", "hydra.output_subdir=.hydra", "rand_seed=1,2") == f"hydra.output_subdir=.hydra: {where}"
    assert main(["out_dir=mine", "hydra.output_subdir=.hydra", "num_envs=8"]) == 0
    runs.clear()
    folder = tmp_path / "mine" / ".hydra"
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "hydra.yaml", "overrides.yaml"]
    assert OmegaConf.load(folder / "overrides.yaml") == ["out_dir=mine", "num_envs=8"]
    assert OmegaConf.load(folder / "config.yaml").num_envs == 8


def test_callbacks(runs: Runs, refused: Callable[..., str]) -> None:
    witness = f"+hydra.callbacks.witness._target_={__name__}.Witness"
    assert refused("-m", witness, "rand_seed=1,2").startswith("hydra.callbacks: does not reach a run of a sweep")
    assert refused(witness, "launch=packed").startswith("hydra.callbacks: does not reach a run with launch=packed")
    assert main([witness, "out_dir=mine"]) == 0
    runs.clear()
    assert CALLED == ["run starts in mine", "job starts", "job ends: COMPLETED", "run ends"]


def test_the_directory_is_named(refused: Callable[..., str]) -> None:
    for key in ("out_dir", "hydra.run.dir", "resume", "model_file"):
        assert refused(f"{key}=").startswith(f"{key}=: found nothing, must be a path")
    for key in ("out_dir", "hydra.sweep.dir"):
        assert refused("-m", f"{key}='  '", "rand_seed=1,2").startswith(f"{key}='  ': found nothing, must be a path")
    assert refused("out_dir=null") == "out_dir=null: found null, must be a directory"
    assert refused("-m", "hydra.job.num=3", "rand_seed=1,2") == "hydra.job.num=3: Hydra sets this itself"
    assert "launch=packed launch.parallel=2 runs" in refused("-m", "hydra.sweeper.max_batch_size=2", "rand_seed=1,2")


def test_weights_and_biases_of_a_sweep(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    monkeypatch.setitem(sys.modules, "wandb", types.ModuleType("wandb"))
    monkeypatch.setattr("mimickit_hydra.checks.machine.importlib.util.find_spec", lambda name: name)
    assert refused("-m", "logger=wandb", "rand_seed=1,2").startswith("WANDB_RUN_ID: found abc, which all runs")
    monkeypatch.setenv("WANDB_PROJECT", "1e3")
    assert compose(["logger=wandb"]).logger.wandb_project == "1e3"
    assert compose(["logger.wandb_project=mine"]).logger.wandb_project == "mine"


@pytest.mark.parametrize("group", ["hydra/job_logging", "hydra/hydra_logging"])
def test_a_sweep_has_no_log_of_hydras(refused: Callable[..., str], group: str) -> None:
    line = refused("-m", f"{group}=default", "rand_seed=1,2")
    assert line == f"{group}: does not reach a run of a sweep; it works for a single run with launch=local"


def test_verbose_and_logging(runs: Runs, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    logging.getLogger().handlers.clear()  # pytest's own
    assert main(["out_dir=a"]) == 0
    assert "told" not in capsys.readouterr().out
    assert main(["out_dir=b", "hydra.verbose=true"]) == 0
    assert [started["level"] for started in runs] == [logging.WARNING, logging.DEBUG]
    assert "[some][INFO] - told" in capsys.readouterr().out
    assert main(["out_dir=c", "hydra/job_logging=default", "hydra.job.name=mine"]) == 0
    assert "[some][INFO] - told" in (tmp_path / "c" / "mine.log").read_text()


def test_modes(runs: Runs, sweep: Callable[..., list[Path]], refused: Callable[..., str]) -> None:
    assert refused("hydra.mode=SIDEWAYS").endswith("Invalid value 'SIDEWAYS', expected one of [RUN, MULTIRUN]")
    assert main(["hydra.mode=RUN", "out_dir=mine"]) == 0
    runs.clear()
    assert len(sweep("hydra.mode=RUN")) == 2  # as Hydra has it: the flag wins


# ----------------------------------------------------------------------------------------------------------- the flags


@pytest.fixture
def own(tmp_path: Path, runs: Runs) -> Path:
    """A user's folder: a motion, and a primary config beside ours."""
    folder = tmp_path / "own"
    (folder / "logger").mkdir(parents=True)
    (folder / "logger" / "quiet.yaml").write_text("defaults:\n  - base_logger\n  - _self_\ntxt: true\ntb: false\n")
    primary = "defaults:\n  - config\n  - _self_\nnum_envs: 7\nhydra:\n  run:\n    dir: ran/here\n"
    (folder / "mine.yaml").write_text(primary)
    return folder


@pytest.mark.parametrize("flag", ["--config-dir", "-cd"])
def test_a_further_folder(runs: Runs, own: Path, flag: str) -> None:
    assert main([flag, "own", "logger=quiet"]) == 0
    assert (runs[0]["run"].logger.txt, runs[0]["run"].logger.tb) == (True, False)


def test_two_starts_of_one_second(runs: Runs, own: Path, tmp_path: Path) -> None:
    for _ in range(3):
        assert main(["-cd", "own", "-cn", "mine"]) == 0
    assert [run["out_dir"].name for run in runs] == ["here", "here-2", "here-3"]


def test_two_sweeps_of_one_second(runs: Runs, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mimickit_hydra.sweeps.runner.run_all", lambda *_, **__: [])
    with open(own / "mine.yaml", "a") as file:
        file.write("  sweep:\n    dir: swept\n")
    for name in ("swept", "swept-2"):
        assert main(["-m", "-cd", "own", "-cn", "mine", "rand_seed=1,2"]) == 75
        for run in read_sweep(tmp_path / name).runs:
            assert read_frozen(tmp_path / name / run.config).run.out_dir == str(tmp_path / name / run.dir)


def test_a_sweep_with_a_further_folder_is_checked_before(refused: Callable[..., str], own: Path) -> None:
    line = refused("-m", "--config-dir", "own", "logger=quiet", "num_envs=4,0", "out_dir=s")
    assert line.startswith("num_envs: found 0, must be 1 or more")


def test_another_primary_config(runs: Runs, own: Path, tmp_path: Path) -> None:
    assert main(["-cd", "own", "-cn", "mine"]) == 0
    assert (runs[0]["run"].num_envs, runs[0]["out_dir"]) == (7, tmp_path / "ran" / "here")


def test_a_sweep_of_another_primary_config(sweep: Callable[..., list[Path]], own: Path, tmp_path: Path) -> None:
    with open(own / "mine.yaml", "a") as file:
        file.write("  sweep:\n    dir: swept\n    subdir: number_${hydra.job.num}\n")
    frozen = sweep("--config-dir=own", "--config-name=mine")
    assert [read_frozen(path).run.num_envs for path in frozen] == [7, 7]
    assert [path.parent for path in frozen] == [tmp_path / "swept" / f"number_{number}" for number in (0, 1)]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--config-dir", "nowhere"], "--config-dir nowhere: no such directory"),
        (["-cp", "nowhere"], "--config-path nowhere: no such directory"),
        (["-cn", "nothing"], "nothing: no such config"),
        (["--resolve"], "--resolve: goes with --cfg only"),
        (["--resolve", "--info"], "--resolve: goes with --cfg only"),
        (["--cfg", "job", "--info"], "--cfg and --info: only one of them can be given"),
        (["-sc", "foo"], "--shell-completion: must be install=SHELL or uninstall=SHELL"),
        (["-sc", "query=bash"], "--shell-completion: must be install=SHELL or uninstall=SHELL"),
        (["++experiment=amp_humanoid"], "++experiment=amp_humanoid: there is one already; write it without the +"),
        (["+engine=newton"], "+engine=newton: there is one already; write it without the +: engine=newton"),
        (["~engine"], "~engine: a run needs one; choose another with engine=OPTION"),
        (["~agent.discount"], "~agent.discount: the schema has this key; give it another value"),
        (["=3"], "=3: an override is written key=value"),
        (["engine=newton,mujoco"], "engine=newton,mujoco: must be one option; to run one after the other add --mult"),
        (["engine=[newton]"], "engine=[newton]: must be one option"),
        (["motion=[a,b]"], "motion=[a,b]: must be one option; one run after the other: --multirun motion=a,b"),
        (["--num-envs=16"], "--num-envs=16: unknown flag; values are written without dashes: num_envs=16"),
        (["--num-envs", "16"], "--num-envs: unknown flag; values are written without dashes: num_envs=VALUE"),
        (["--lr=3"], "--lr=3: unknown flag; values are written without dashes: lr=3"),
        (["--agent.discount=0.9"], "--agent.discount=0.9: unknown flag; values are written without dashes: agent."),
        (["--discount", "3"], "--discount: unknown flag; values are written without dashes: agent.discount=VALUE"),
        (["--engine", "newton"], "--engine: unknown flag; values are written without dashes: engine=VALUE"),
        (["--env_config=x"], "--env_config=x: a flag of MimicKit's; mimickit convert ARGFILE prints"),
        (["--package", "env"], "--package: goes with --cfg only"),
        (["--cfg", "job", "-m"], "--cfg and --multirun: only one of them can be given"),
        (["--experimental-rerun", "x"], "--experimental-rerun: reads a pickle, which may run code; use --from RUN_DIR"),
    ],
)
def test_flags_that_cannot_be_followed(refused: Callable[..., str], arguments: list[str], line: str) -> None:
    assert refused(*arguments).startswith(line)


def test_groups_that_are_empty_may_be_added(runs: Runs) -> None:
    assert main(["+experiment=amp_humanoid", "+debug=tiny", "engine=mujoco"]) == 0
    assert (runs[0]["run"].method.name, runs[0]["run"].num_envs) == ("amp", 16)


def test_hydras_part_is_shown_resolved(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "hydra", "--resolve", "out_dir=1e3"]) == 0
    assert "dir: '1e3'" in capsys.readouterr().out


def test_the_package_is_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "mimickit_hydra", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "mimickit-hydra")


def test_the_config_of_a_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "job", "--package", "env", "--resolve"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# @package env\n")
    assert OmegaConf.create(shown).motion_file == "data/motions/humanoid/humanoid_walk.pkl"
    assert main(["--cfg", "hydra", "-p", "hydra.job"]) == 0
    assert OmegaConf.create(capsys.readouterr().out).name == "train"
    with pytest.raises(SystemExit) as ended:
        main(["--cfg", "job", "--package", "enw"])
    assert (ended.value.code, capsys.readouterr().err) == (2, "package 'enw' not found in config\n")


@pytest.mark.parametrize("what", ["defaults-tree", "config", "searchpath"])
def test_info(capsys: pytest.CaptureFixture[str], what: str, runs: Runs) -> None:
    assert main(["--info", what, "num_envs=3"]) == 0
    assert capsys.readouterr().out


def test_hydras_help_and_completion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--hydra-help"]) == 0
    assert "--config-dir" in capsys.readouterr().out
    assert main(["--shell-completion", "install=bash"]) == 0
    assert "complete -o nospace" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------ several processes, one run

SPEAKING = """
import json, os, sys, types
module = types.ModuleType("mimickit_hydra.training.run")
def run(run, *, out_dir, **_):
    rank = os.environ["RANK"]
    with open(f"{sys.argv[1]}/{rank}.json", "w") as file:
        json.dump([run.rand_seed, out_dir, os.environ["MINE"], os.getcwd()], file)
module.run = run
sys.modules["mimickit_hydra.training.run"] = module
from mimickit_hydra.cli.train import main
sys.exit(main(sys.argv[2:]))
"""


def _processes(tmp_path: Path, *words: str) -> list[subprocess.Popen[str]]:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    dropped = ("SLURM_", "TORCHELASTIC")
    env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    env |= {"PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", SPEAKING, str(tmp_path), *words]
    return [
        subprocess.Popen(command, cwd=tmp_path, env={**env, "RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]


def test_all_processes_of_a_run_get_one_seed_and_one_directory(tmp_path: Path, clips: Path) -> None:
    processes = _processes(tmp_path, "+hydra.job.env_set.MINE=x", "hydra.job.chdir=true")
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in "01")
    assert first == second
    seed, out_dir, mine, cwd = first
    assert isinstance(seed, int)
    assert (mine, cwd) == ("x", out_dir)
    assert [str(path) for path in (tmp_path / "outputs").glob("*/*")] == [out_dir]


def test_one_of_several_processes_says_what_is_wrong(tmp_path: Path, clips: Path) -> None:
    processes = _processes(tmp_path, "num_envs=0")
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    # On a busy machine a process may also say that it waits for the other.
    said = [line for error in errors for line in error.splitlines() if not line.startswith("waiting for the ")]
    assert said == ["num_envs: found 0, must be 1 or more"]


# --------------------------------------------------------------------------------------------- recipes of one's own


def test_an_agent_of_ones_own_takes_the_recipe_of_the_machine(runs: Runs, own: Path) -> None:
    (own / "agent").mkdir()
    (own / "agent" / "mine.yaml").write_text("defaults:\n  - ppo\n  - _self_\ntd_lambda: 0.9\n")
    assert main(["-cd", "own", "agent=mine", "out_dir=mine"]) == 0
    agent = runs.pop()["run"].agent
    assert (agent.td_lambda, agent.discount, agent.model.actor_net) == (0.9, 0.95, "fc_2layers_256units")


def test_a_recipe_that_is_not_there(refused: Callable[..., str]) -> None:
    assert refused("recipe=fasst").startswith(
        "recipe=fasst: no such option; nearest: fast; allowed: cpu, fast, mimickit"
    )
