"""The bridge, on a stand-in checkout with MimicKit's entry script, flags and files."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mimickit_hydra.cli.train import main
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.errors import UserError
from mimickit_hydra.mimickit.bridge_child import describe
from mimickit_hydra.mimickit.bridge_config import Files, flags, sections
from mimickit_hydra.mimickit.checkout import Checkout, find_python
from mimickit_hydra.motion.clip import LoopMode, MotionClip, load_clip, save_clip
from mimickit_hydra.motion.legacy_pickle import read_pickle
from mimickit_hydra.runs.log_table import read_log
from mimickit_hydra.runs.saved import overrides_of_run
from mimickit_hydra.training import outside

STANDIN = Path(__file__).parent / "standin_mimickit"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return shutil.copytree(STANDIN, tmp_path / "a checkout")


def command(root: Path, out: Path, *more: str) -> list[str]:
    return [
        "core=mimickit", f"core.root='{root}'", "devices=[cpu]", "num_envs=2", "rand_seed=5", "max_samples=128",
        f"out_dir={out}", *more,
    ]  # fmt: skip


def exit_code(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


def line_of_failure(root: Path, out: Path, capfd: pytest.CaptureFixture[str], *more: str) -> str:
    assert exit_code(command(root, out, *more)) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert lines, "nothing was said"
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


def test_processes_of_a_launcher_outside_are_refused(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "_OTHERS_S", 1.0)  # nobody else comes here
    monkeypatch.setenv("WORLD_SIZE", "2")
    with socket.create_server(("127.0.0.1", 0)) as free:  # what runs beside this test may have the usual port
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("RANK", "0")
    line = line_of_failure(root, tmp_path / "first", capfd)
    assert line.startswith("core=mimickit: started as 2 processes by torchrun or srun")
    monkeypatch.setenv("RANK", "1")
    assert exit_code(command(root, tmp_path / "second")) == 2
    assert capfd.readouterr().err == ""


def snapshot(root: Path) -> dict[str, bytes]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


# ------------------------------------------------------------------------------------------------------------- running


def test_trains_from_our_run_directory(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before, out = snapshot(root), tmp_path / "run"
    assert exit_code(command(root, out, "agent.discount=0.9", "core.env={mass:3}", "core.args={quick:true}")) == 0
    assert snapshot(root) == before
    said = capfd.readouterr().out
    assert f"rank 0 of 1 on cpu in {root}" in said
    assert "more flags: ['quick']" in said
    assert (out / "model.pt").read_text() == "39 frames"
    assert list(read_log(out / "log.txt")["Samples"]) == [64, 128]
    for name in ("config.yaml", "overrides.txt", "curves.png", "env_config.yaml", "mimickit/output.log"):
        assert (out / name).stat().st_size > 0, name
    composed = to_run(compose(command(root, out, "agent.discount=0.9")))
    handed = {name: yaml.safe_load((out / f"{name}_config.yaml").read_text()) for name in ("engine", "env", "agent")}
    assert handed["engine"]["sim_freq"] == composed.engine.sim_freq
    assert handed["agent"]["discount"] == 0.9
    assert handed["agent"]["actor_optimizer"]["learning_rate"] == composed.agent.actor_optimizer.learning_rate
    assert handed["env"]["reward_pose_w"] == composed.env.reward_pose_w
    assert handed["env"]["mass"] == 3


def test_a_bundled_clip_becomes_a_pickle_and_their_own_is_taken_first(root: Path, tmp_path: Path) -> None:
    assert exit_code(command(root, tmp_path / "one")) == 0
    made = yaml.safe_load((tmp_path / "one" / "env_config.yaml").read_text())["motion_file"]
    assert made == str(tmp_path / "one" / "mimickit" / "motions" / "humanoid_walk.pkl")
    from mimickit_hydra.config.paths import bundled_data

    ours = np.load(bundled_data() / "motions" / "humanoid" / "humanoid_walk.npz")
    fields = read_pickle(Path(made))
    np.testing.assert_array_equal(np.asarray(fields["frames"], np.float32), ours["frames"])
    assert fields["fps"] == ours["fps"]
    assert fields["loop_mode"] == ours["loop_mode"]

    own = root / "data" / "motions" / "humanoid" / "humanoid_walk.pkl"
    own.parent.mkdir(parents=True)
    shutil.copy(made, own)
    assert exit_code(command(root, tmp_path / "two")) == 0
    assert yaml.safe_load((tmp_path / "two" / "env_config.yaml").read_text())["motion_file"] == str(own)


def test_a_list_of_motions_is_rewritten(root: Path, tmp_path: Path) -> None:
    entries = [{"file": f"data/motions/humanoid/humanoid_{name}.pkl", "weight": 1} for name in ("walk", "run")]
    listed = tmp_path / "some.yaml"
    listed.write_text(yaml.safe_dump({"motions": entries}))
    assert exit_code(command(root, tmp_path / "run", f"env.motion_file={listed}")) == 0
    written = yaml.safe_load((tmp_path / "run" / "mimickit" / "motions" / "some.yaml").read_text())["motions"]
    assert [Path(entry["file"]).name for entry in written] == ["humanoid_walk.pkl", "humanoid_run.pkl"]
    assert all(Path(entry["file"]).is_file() for entry in written)


def test_tests_a_model_it_trained(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code(command(root, tmp_path / "run")) == 0
    test = ["mode=test", f"model_file={tmp_path / 'run'}", f"out_dir={tmp_path / 'test'}", "test_episodes=7"]
    assert exit_code(test) == 0  # the checkout comes from the run's own config
    assert "weights of 39 frames" in capfd.readouterr().out
    metrics = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert metrics["episodes"] == 7
    assert metrics["episode_length"] == 30.5


def test_several_devices_and_seeds(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    returns = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert exit_code(command(root, tmp_path / name, "devices=[cpu,cpu]", f"rand_seed={seed}")) == 0
        returns.append(read_log(tmp_path / name / "log.txt")["Test_Return"][-1])
    assert returns[0] == returns[1] != returns[2]
    assert "rank 1 of 2 on cpu" in capfd.readouterr().out


def test_a_run_of_theirs_is_not_resumed(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code(command(root, tmp_path / "run")) == 0
    assert exit_code([f"resume={tmp_path / 'run'}"]) == 2
    assert "MimicKit cannot resume a run; start from its weights" in capfd.readouterr().err


def test_a_sweep(root: Path, tmp_path: Path) -> None:
    words = [word for word in command(root, tmp_path) if not word.startswith(("rand_seed", "out_dir"))]
    assert exit_code(["-m", *words, "rand_seed=1,2", f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 0
    assert len(list((tmp_path / "sweep").glob("*/model.pt"))) == 2


def test_a_saved_run_repeats_with_its_open_tables(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert exit_code(command(root, out, "core.env.mass=3", "core.args.quick=true")) == 0
    again = to_run(compose(overrides_of_run(out)))
    assert again.core.root == str(root)
    assert again.core.env == {"mass": 3}
    assert again.core.args == {"quick": True}
    assert again.engine.engine_name == "newton"


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("key", r"KeyError: 'gravity' \(mimickit/envs/env_builder.py:\d+\); .* add core.env.gravity=VALUE"),
        ("module", r"ModuleNotFoundError: No module named 'no_such_simulator' .*core.python=PATH"),
        ("assert", r"AssertionError: the ground is missing \(mimickit/envs/env_builder.py:\d+\)"),
        ("exit", r"ended with exit code 7"),
        ("crash", r"ended by SIGSEGV"),
    ],
)
def test_their_error_is_one_line(
    fault: str, expected: str, root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = line_of_failure(root, tmp_path / "run", capfd, f"core.env.fault={fault}")
    assert re.search(expected, line), line
    assert line.endswith(str(tmp_path / "run" / "mimickit" / "output.log"))


def test_a_rank_that_dies_ends_the_run(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    line = line_of_failure(root, tmp_path / "run", capfd, "core.env.fault=rank", "devices=[cpu,cpu]")
    assert "exit code 1 (RuntimeError: rank one has no memory left)" in line
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("core.root=null", "core.root: has no value"),
        ("core.root=/no/such/place", "core.root: found '/no/such/place'"),
        ("core.entry=main.py", "has no main.py"),
        ("core.python=/no/such/python", "core.python: found '/no/such/python'"),
        ("engine=mujoco", "engine=mujoco: .*knows no such engine.*newton"),
        ("core.agent.agent_name=PPOO", "agent=PPOO: .*knows no such agent; nearest: PPO"),
        ("env.visualize_ref_char=false", "env.visualize_ref_char: given, but nothing in .* reads a key of that name"),
        ("core.rot=1", "core.rot: unknown key; nearest: core.root"),
    ],
)
def test_what_cannot_work_is_said_before_it_starts(
    override: str, expected: str, root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = line_of_failure(root, tmp_path / "run", capfd, override)
    assert re.search(expected, line), line
    assert not (tmp_path / "run" / "mimickit" / "output.log").exists()


# ------------------------------------------------------------------------------------------------- nothing left behind


def start(root: Path, out: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The whole command in a process of its own, and the process of the checkout."""
    words = command(root, out, "max_samples=1e9", "core.env.fault=slow")
    host = subprocess.Popen([sys.executable, "train.py", *words], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert host.stdout is not None
    for line in host.stdout:
        if line.startswith(b"training"):
            break
    children = Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
    return host, int(children[0])


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="looks at /proc")


@needs_proc
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_ends_both_sides(number: int, code: int, root: Path, tmp_path: Path) -> None:
    host, child = start(root, tmp_path / "run")
    host.send_signal(number)
    host.communicate(timeout=30)
    assert host.returncode == code
    assert gone(child)
    assert (tmp_path / "run" / "model.pt").is_file()


def test_the_budget_in_minutes_holds(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = ("max_samples=1e9", "core.env.fault=slow", "max_minutes=0.02")
    assert exit_code(command(root, tmp_path / "run", *more)) == 0
    assert "stopped by max_minutes" in capfd.readouterr().out


# --------------------------------------------------------------------------------------------------------------- parts


def composed(*overrides: str) -> Any:
    return to_run(compose(["core=mimickit", *overrides]))


def test_a_priors_env_config_is_found_beside_it(root: Path, tmp_path: Path) -> None:
    checkout = Checkout(root, root / "mimickit" / "run.py", sys.executable)
    (tmp_path / "prior").mkdir()
    config, env = tmp_path / "prior" / "diffusion.yaml", tmp_path / "prior" / "env_config.yaml"
    config.write_text("T: 50\nenv_config: env_config.yaml\n")
    files = Files(checkout, [], tmp_path)
    assert files.localise({"smp_prior_cfg": str(config)}, "agent")["smp_prior_cfg"] == str(config)
    env.write_text("num_disc_obs_steps: 2\n")
    written = files.localise({"smp_prior_cfg": str(config)}, "agent")["smp_prior_cfg"]
    assert yaml.safe_load(Path(written).read_text()) == {"T": 50, "env_config": str(env)}


@pytest.mark.parametrize("content", [b"env_config: 2026-99-99", b"\xff\xfe", b"[" * 5000, b"a: &a [*a, *a]"])
def test_a_damaged_config_of_a_prior_is_left_to_their_code(root: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "prior.yaml").write_bytes(content)
    files = Files(Checkout(root, root / "mimickit" / "run.py", sys.executable), [], tmp_path)
    assert files.localise(str(tmp_path / "prior.yaml"), "agent.smp_prior_cfg") == str(tmp_path / "prior.yaml")


def test_a_list_s_clips_keep_their_rates_and_their_names_apart(root: Path, tmp_path: Path) -> None:
    checkout = Checkout(root, root / "mimickit" / "run.py", sys.executable)
    rates = {"near/a": 12.5, "near/far/a": 1 / 0.021}
    for name, rate in rates.items():
        save_clip(tmp_path / f"{name}.npz", MotionClip(np.ones((11, 34), np.float32), rate, LoopMode.CLAMP, "a"))
    text = (
        "root_path: far\nmotions: [{file: ../a.npz, weight: 1}, {file: a.npz, weight: 2}, {file: a.npz, weight: 3}]\n"
    )
    (tmp_path / "near" / "set.yaml").write_text(text)
    files = Files(checkout, [], tmp_path / "out")
    written = files.localise({"motion_file": str(tmp_path / "near" / "set.yaml")}, "env")["motion_file"]
    entries = yaml.safe_load(Path(written).read_text())["motions"]
    assert [entry["weight"] for entry in entries] == [1, 2, 3]
    assert [load_clip(entry["file"]).fps for entry in entries] == [12.5, 1 / 0.021, 1 / 0.021]


def test_open_tables_lie_over_the_composed_values() -> None:
    run = composed("core.agent={model:{width:3},discount:null}", "core.engine={solver:cg}")
    found = sections(run)
    assert found["agent"]["model"]["width"] == 3
    assert found["agent"]["model"]["actor_net"] == run.agent.model.actor_net
    assert "discount" not in found["agent"]
    assert found["engine"]["solver"] == "cg"


def test_counts_are_whole_numbers_and_other_floats_stay() -> None:
    agent = sections(composed())["agent"]
    assert isinstance(agent["actor_batch_size"], int)
    assert isinstance(agent["normalizer_samples"], int)
    assert isinstance(agent["discount"], float)
    assert isinstance(sections(composed())["env"]["episode_length"], float)


def test_flags() -> None:
    run = composed("devices=[cpu,cpu]", "num_envs=3", "rand_seed=1", "max_samples=1e6", "core.args={master_port:7000}")
    words = flags(run, {"env": Path("/x/env.yaml")}, None, Path("/out"))
    text = " ".join(words)
    for part in (
        "--mode train", "--num_envs 3", "--devices cpu cpu", "--rand_seed 1", "--env_config /x/env.yaml",
        "--out_dir /out", "--visualize false", "--video false", "--max_samples 1000000", "--master_port 7000",
    ):  # fmt: skip
        assert part in text
    assert "--test_episodes" not in words
    assert "--model_file" not in words


def test_a_flag_cannot_hold_a_comment() -> None:
    with pytest.raises(UserError, match="note: found '#1'"):
        flags(composed("core.args={note:'#1'}"), {}, None, Path("/out"))


def test_python_may_be_a_virtual_environment(tmp_path: Path) -> None:
    assert find_python(None) == sys.executable
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch(mode=0o755)
    assert find_python(str(tmp_path)) == str(tmp_path / "bin" / "python")
    with pytest.raises(UserError, match="without bin/python"):
        find_python(str(tmp_path / "bin"))


def test_the_keys_that_a_checkout_reads(root: Path) -> None:
    checkout = Checkout(root, root / "mimickit" / "run.py", sys.executable)
    assert list(checkout.unread({"env_name": "x", "nothing": 1, "actor_optimizer": {"lr": 2}}, "env.")) == [
        "env.nothing",
        "env.actor_optimizer.lr",
    ]


def test_an_error_below_their_code_names_their_line(tmp_path: Path) -> None:
    script = tmp_path / "theirs.py"
    script.write_text("import json\njson.loads('{')\n")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        exec(compile(script.read_text(), str(script), "exec"), {})
    assert describe(caught.value, str(tmp_path))["where"] == "theirs.py:2"
