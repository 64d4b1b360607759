"""``train.py`` from the command line to the adapter, which is a stand-in here."""

from __future__ import annotations

import logging
import subprocess
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mimickit_hydra.cli.train import main
from mimickit_hydra.config.compose import compose, resolved_yaml
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.saved import choices_header
from mimickit_hydra.runs.snapshot import read_frozen

ROOT = Path(__file__).resolve().parents[2]


class Adapter:
    """Records what it is asked to run."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.error: BaseException | None = None

    def run(self, run: RunConfig, *, resolved_yaml: str, overrides: list[str], out_dir: str, **_: Any) -> float:
        self.calls.append({"run": run, "yaml": resolved_yaml, "overrides": overrides, "out_dir": out_dir})
        if self.error is not None:
            raise self.error
        Path(out_dir, "config.yaml").write_text(resolved_yaml)
        checkpoints = Path(out_dir, "checkpoints")
        checkpoints.mkdir(exist_ok=True)
        with zipfile.ZipFile(checkpoints / "best.pt", "w") as archive:  # what torch saves is an archive with this in it
            archive.writestr("best/data.pkl", b"")
        return 1.0


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Hydra's --info leaves a handler on a stream that pytest closes."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path) -> Adapter:
    stand_in = Adapter()
    module = types.ModuleType("mimickit_hydra.training.run")
    module.run = stand_in.run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mimickit_hydra.training.run", module)
    monkeypatch.chdir(tmp_path)
    return stand_in


def test_a_run_reaches_the_adapter(adapter: Adapter, tmp_path: Path) -> None:
    assert main(["num_envs=8", "motion=humanoid_run"]) == 0
    (call,) = adapter.calls
    run = call["run"]
    assert isinstance(run, RunConfig)
    assert (run.num_envs, run.motion.name) == (8, "humanoid_run")
    assert call["overrides"] == ["num_envs=8", "motion=humanoid_run"]
    assert run.out_dir == call["out_dir"]
    relative = Path(call["out_dir"]).relative_to(tmp_path)
    assert relative.parts[0] == "outputs"
    assert relative.name.endswith("_deepmimic_humanoid_mujoco")
    assert [path.name for path in Path(call["out_dir"]).parent.iterdir()] == [relative.name]
    assert Path.cwd() == tmp_path
    saved = OmegaConf.create(call["yaml"])
    assert saved.num_envs == 8
    assert saved.env.motion_file == "data/motions/humanoid/humanoid_run.pkl"
    assert "${" not in call["yaml"]


def test_the_seed_is_drawn_before_the_config_is_saved(adapter: Adapter) -> None:
    assert main([]) == 0
    assert isinstance(adapter.calls[0]["run"].rand_seed, int)
    assert OmegaConf.create(adapter.calls[0]["yaml"]).rand_seed == adapter.calls[0]["run"].rand_seed


def test_runs_of_the_same_second_do_not_share_a_directory(adapter: Adapter) -> None:
    for _ in range(3):
        assert main([]) == 0
    folders = [call["out_dir"] for call in adapter.calls]
    assert len(set(folders)) == 3


def test_out_dir(adapter: Adapter, tmp_path: Path) -> None:
    assert main(["out_dir=here/there"]) == 0
    assert adapter.calls[0]["out_dir"] == str(tmp_path / "here" / "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data_root", "here"]


@pytest.mark.parametrize("how", ["--from", "--from=", "--config-path"])
def test_a_saved_run_is_repeated(adapter: Adapter, how: str) -> None:
    assert main(["num_envs=8", "agent.discount=0.5", "rand_seed=3", "out_dir=first"]) == 0
    argument = {"--from": ["--from", "first"], "--from=": ["--from=first"]}.get(how, ["--config-path", "first"])
    extra = ["--config-name", "config"] if how == "--config-path" else []
    assert main([*argument, *extra, "out_dir=second"]) == 0
    first, second = (OmegaConf.create(call["yaml"]) for call in adapter.calls)
    assert first.pop("out_dir") != second.pop("out_dir")
    assert first == second


def test_a_repeated_run_takes_overrides_on_top(adapter: Adapter) -> None:
    assert main(["num_envs=8", "out_dir=first"]) == 0
    assert main(["motion=humanoid_run", "--from", "first", "num_envs=9"]) == 0
    run = adapter.calls[1]["run"]
    assert run.num_envs == 9
    assert run.env.motion_file == "data/motions/humanoid/humanoid_run.pkl"


def test_resume_loads_the_runs_config_and_stays_in_its_directory(adapter: Adapter, tmp_path: Path) -> None:
    assert main(["num_envs=8", "rand_seed=5", "out_dir=first", "max_samples=100"]) == 0
    assert main(["resume=first", "max_samples=200"]) == 0
    run = adapter.calls[1]["run"]
    assert (run.num_envs, run.rand_seed, run.max_samples, run.resume) == (8, 5, 200, "first")
    assert adapter.calls[1]["out_dir"] == str(tmp_path / "first")


def test_a_policy_is_tested_with_the_config_it_was_trained_with(adapter: Adapter) -> None:
    assert main(["agent.model.actor_net=fc_2layers_128units", "out_dir=first"]) == 0
    assert main(["mode=test", "model_file=first", "test_episodes=3"]) == 0
    run = adapter.calls[1]["run"]
    assert (run.mode, run.test_episodes, run.agent.model.actor_net) == ("test", 3, "fc_2layers_128units")
    assert main(["mode=test", "model_file=first/checkpoints/best.pt"]) == 0
    assert adapter.calls[2]["run"].agent.model.actor_net == "fc_2layers_128units"


def test_a_sweep_runs_every_combination(
    adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[Path] = []
    monkeypatch.setattr(
        "mimickit_hydra.sweeps.runner.run_all",
        lambda sweep, runs, **_: started.extend(sweep.path / run.config for run in runs) or [],
    )
    assert main(["-m", "rand_seed=1,2", "num_envs=4,8"]) == 75  # nothing was run here
    found = [(run.rand_seed, run.num_envs) for run in (read_frozen(path).run for path in started)]
    assert found == [(1, 4), (1, 8), (2, 4), (2, 8)]
    folders = [path.parent.relative_to(tmp_path).parts for path in started]
    assert {parts[0] for parts in folders} == {"multirun"}
    assert [parts[-1] for parts in folders] == [f"{number}_deepmimic_humanoid_mujoco" for number in range(4)]


def one_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error.rstrip("\n")


@pytest.mark.parametrize("test", ["mode=test", "++mode=test", "debug=smoke"])
@pytest.mark.parametrize("resume", ["resume", "++resume"])
def test_a_resumed_run_is_not_tested(
    adapter: Adapter, capsys: pytest.CaptureFixture[str], test: str, resume: str
) -> None:
    assert main(["out_dir=first"]) == 0
    before = sorted(Path("first").rglob("*"))
    line = one_error(capsys, f"{resume}=first", test)
    assert line == "resume=first: mode=test takes model_file=first; only training is resumed"
    assert len(adapter.calls) == 1
    assert sorted(Path("first").rglob("*")) == before


@pytest.mark.parametrize("flags", [["-m"], [], ["hydra.mode=MULTIRUN"]])
@pytest.mark.parametrize("test", ["mode=test", "++mode=test", "debug=smoke"])
def test_several_policies_are_not_tested_with_one_config(
    adapter: Adapter, capsys: pytest.CaptureFixture[str], flags: list[str], test: str
) -> None:
    for name in "ab":
        assert main([f"out_dir={name}"]) == 0
    line = one_error(capsys, *flags, test, "++model_file=a,b")
    assert line.startswith("model_file=a,b: each policy is tested with its own config, so start one command for each")
    assert len(adapter.calls) == 2


def test_forced_words_are_understood(adapter: Adapter) -> None:
    assert main(["agent.discount=0.5", "out_dir=first"]) == 0
    assert main(["++mode=test", "++model_file=first"]) == 0
    assert main(["++resume=first"]) == 0
    assert [call["run"].agent.discount for call in adapter.calls] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("resume", ["resume=first", "++resume=first", "resume=first,second"])
def test_a_sweep_does_not_resume(adapter: Adapter, capsys: pytest.CaptureFixture[str], resume: str) -> None:
    assert main(["out_dir=first"]) == 0
    assert "a sweep is continued with: mimickit sweep resume DIR" in one_error(capsys, "-m", resume, "rand_seed=1,2")


def test_a_gpu_policy_is_tested_on_mujoco(
    adapter: Adapter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mimickit_hydra.gpus.gpu_count", lambda: 1)
    assert main(["out_dir=first"]) == 0
    cfg = compose(["engine=newton"])  # as a run of it would leave it: its packages may not be here
    text = choices_header({"engine": "newton", "method": "deepmimic", "compute": "gpu"}) + resolved_yaml(cfg)
    Path("first/config.yaml").write_text(text)
    assert main(["mode=test", "model_file=first", "engine=mujoco"]) == 0
    run = adapter.calls[1]["run"]
    assert (run.devices, run.num_envs, run.agent.model.actor_net) == (["cpu"], 256, "fc_2layers_1024units")
    line = one_error(capsys, "mode=test", "model_file=first", "engine=mujoco", "devices=['cuda:0']")
    assert line == "devices: found cuda:0, but engine=mujoco runs on the CPU; use devices=[cpu]"
    monkeypatch.setattr("mimickit_hydra.gpus.gpu_count", lambda: 0)
    words = ("compute=gpu", "engine=mujoco", "devices=['cuda:0']")
    line = one_error(capsys, "mode=test", "model_file=first", *words)
    assert line.endswith("this machine has no GPU; try devices=[cpu]")


def test_the_home_directory(adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "my home"
    monkeypatch.setenv("HOME", str(home))
    assert main(["out_dir=~/first", "agent.discount=0.5"]) == 0
    assert main(["mode=test", "model_file=~/first", "data_root=[~/first]"]) == 0
    assert adapter.calls[0]["out_dir"] == str(home / "first")
    run = adapter.calls[1]["run"]
    assert (run.model_file, run.data_root, run.agent.discount) == (str(home / "first"), [str(home / "first")], 0.5)


BAD = [
    ["motion=humanoid_wlak"],
    ["agent.actor_epoch=3"],
    ["agent.actor_epochs=abc"],
    ["+foo=1"],
    ["foo"],
    ["num_envs=0"],
    ["num_envs=1,2"],
    ["engine.control_mode=pd_explicit"],
    ["--from", "/nowhere"],
    ["resume=/nowhere"],
    ["--num_envs", "4"],
    ["--cgf", "job"],
    ["--cfg", "jobs"],
    ["--config-path", "/nowhere"],
    ["--cfg", "job", "agent.actor_epoch=3"],
    ["--cfg", "job", "+foo=1"],
    ["--info", "defaults", "engine=newtn"],
    ["-m", "num_envs=4,0"],
    ["-m", "motion=humanoid_walk,humanoid_rnu"],
    ["-m", "agent.actor_epoch=1,2"],
    ["--experimental-rerun", "x.pickle"],
    ["out_dir=/proc/nothing"],
    ["devices=['cuda:0']"],
]


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    adapter: Adapter,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert "HYDRA_FULL_ERROR" not in captured.err
    assert adapter.calls == []
    assert [path.name for path in tmp_path.iterdir()] == ["data_root"]


def test_a_used_run_directory(adapter: Adapter, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["out_dir=first"]) == 0
    capsys.readouterr()
    assert main(["out_dir=first"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "already holds a run" in error
    assert len(adapter.calls) == 1


def test_what_goes_wrong_later_is_one_line_too(adapter: Adapter, capsys: pytest.CaptureFixture[str]) -> None:
    adapter.error = UserError("motion.npz: frame 3 is not finite")
    assert main([]) == 2
    assert capsys.readouterr().err == "motion.npz: frame 3 is not finite\n"


def test_an_exit_code_of_the_run_is_kept(adapter: Adapter) -> None:
    adapter.error = SystemExit(75)
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 75


def test_a_bug_shows_its_traceback(adapter: Adapter) -> None:
    adapter.error = KeyError("bug")
    with pytest.raises(KeyError):
        main([])


def test_cfg_prints_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "job", "num_envs=3"]) == 0
    shown = OmegaConf.create(capsys.readouterr().out)
    assert shown.num_envs == 3
    assert shown.agent.agent_name == "PPO"


def test_info_prints_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--info", "defaults"]) == 0
    assert "recipe/cpu" in capsys.readouterr().out


def test_help_names_every_group_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    from mimickit_hydra.config.groups import groups

    assert main(["--help"], prog="train.py") == 0
    text = capsys.readouterr().out
    for group in groups().values():
        assert f"{group.name}: {group.help}" in text
        for option in group.options:
            assert option.name in text
            assert option.help in text
    assert max(map(len, text.splitlines())) <= 130


def test_overrides_may_stand_before_and_after_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["num_envs=3", "--cfg", "job", "video=false"]) == 0
    shown = OmegaConf.create(capsys.readouterr().out)
    assert (shown.num_envs, shown.video) == (3, False)


HEAVY = ("torch", "mujoco", "matplotlib", "imageio", "tensorboard", "rich")


@pytest.mark.parametrize(
    "arguments",
    [
        "train --cfg job",
        "train --info defaults",
        "train --help",
        "train engine=newtn",
        "train num_envs=0",
        "list",
        "list motion",
        "explain agent.actor_epochs",
        "diff walk_30min debug=smoke",
        "--help",
        "doctor --help",
        "completion query -- 'mimickit train engine='",
    ],
)
def test_nothing_heavy_is_imported(arguments: str) -> None:
    code = (
        "import shlex, sys\n"
        "from mimickit_hydra.cli.main import main\n"
        f"try:\n    main(shlex.split({arguments!r}))\nexcept SystemExit:\n    pass\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
