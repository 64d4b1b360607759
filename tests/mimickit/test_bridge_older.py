"""The bridge writes what checkouts of MimicKit's two older forms read, or says in a line what it cannot say."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mimickit_hydra.cli.train import main
from mimickit_hydra.runs.log_table import read_log

# what a checkout of autumn 2025 reads, in a few lines; it fails on what it does not find
RUN = """
import pickle, sys, yaml
words, flags = sys.argv[1:], {}
for word in words:
    if word.startswith("--"):
        flags[word[2:]] = found = []
    else:
        found.append(word)
config = yaml.safe_load(open(flags["env_config"][0]))
env, engine = config["env"], config["engine"]
assert engine["engine_name"] == "isaac_gym" and engine["plane"]["static_friction"] == 1.0
assert engine["sim"]["substeps"] * engine["sim_freq"] == 120 and engine["sim"]["physx"]["contact_offset"] == 0.02
print("height", env["termination_height"], "devices", flags["device"], flags["num_workers"], flags["logger"])
print("frames", pickle.load(open(env["motion_file"], "rb"))["frames"].shape)
if "agent_config" in flags:
    agent = yaml.safe_load(open(flags["agent_config"][0]))
    print("agent", agent["optimizer"], agent["update_epochs"], agent["batch_size"])
with open(flags["log_file"][0], "w") as log:
    log.write(f"{'Samples':<25}{'Test_Return':<25}\\n{128:<25}{0.5:<25}\\n")
open(flags["out_model_file"][0], "w").write("weights")
"""
KEYS = """
NAMES = [
    "env_name", "char_file", "motion_file", "agent_name", "model", "discount", "critic_loss_weight", "disc_loss_weight",
    "disc_weight_decay", "enc_loss_weight", "control_mode",
]
"""
BUILDER = """
from learning import amp_agent, dummy_agent, ppo_agent
def build(name, env):
    if name == ppo_agent.PPOAgent.NAME:
        return ppo_agent.PPOAgent(env)
    elif name == amp_agent.AMPAgent.NAME:
        return amp_agent.AMPAgent(env)
    elif name == dummy_agent.DummyAgent.NAME:
        return dummy_agent.DummyAgent(env)
"""
ENGINE = 'def build(config, eng_name):\n    if (eng_name == "isaac_gym"):\n        import engines.isaac_gym_engine\n'


@pytest.fixture
def autumn(tmp_path: Path) -> Path:
    """A stand-in for a checkout of October 2025."""
    files = {"run.py": RUN, "keys.py": KEYS, "learning/agent_builder.py": BUILDER, "envs/sim_env.py": ENGINE}
    files |= {
        f"learning/{name.lower()}_agent.py": f'class A:\n    NAME = "{name}"\n' for name in ("PPO", "AMP", "dummy")
    }
    files |= {"anim/motion.py": "import pickle\n"}
    for name, text in files.items():
        path = tmp_path / "old/mimickit" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "old"


@pytest.fixture
def winter(autumn: Path) -> Path:
    """A stand-in for a checkout of January 2026: today's files, but for the optimisers."""
    run = 'import sys\nprint(sys.argv[1:])\nFLAGS = ["engine_config", "devices", "out_dir", "video", "txt"]\n'
    (autumn / "mimickit/run.py").write_text(run)
    (autumn / "mimickit/old.py").write_text('KEYS = ["optimizer", "update_epochs", "batch_size", "disc_batch_size"]\n')
    return autumn


def command(root: Path, out: Path, *more: str) -> list[str]:
    return [
        "core=mimickit", f"core.root={root}", "engine=isaac_gym", "devices=[cpu]", "num_envs=8", "max_samples=128",
        f"out_dir={out}", *more,
    ]  # fmt: skip


SAME = ("agent.critic_epochs=5", "agent.critic_batch_size=4")


def written(out: Path, name: str) -> Any:
    return yaml.safe_load((out / "mimickit" / f"{name}_config.yaml").read_text())


def line(capfd: pytest.CaptureFixture[str], words: list[str]) -> str:
    try:
        code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    lines = [text for text in capfd.readouterr().err.splitlines() if text.strip()]
    assert not any("Traceback" in text for text in lines)
    return lines[-1]


def test_a_checkout_of_autumn_2025_gets_its_form(
    autumn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command(autumn, out, *SAME, "devices=[cpu,cpu]", "agent.critic_optimizer.learning_rate=5e-5")) == 0
    said = capfd.readouterr().out
    assert "a MimicKit of autumn 2025: the files are written in its form" in said
    assert "height 0.3 devices ['cpu'] ['2'] ['tb']" in said
    assert "frames (39, 34)" in said
    assert "agent {'type': 'SGD', 'weight_decay': 0.0, 'grad_clip': 0.0, 'learning_rate': 0.0001} 5 4" in said
    assert written(out, "agent")["critic_loss_weight"] == 0.5
    assert written(out, "env")["env_name"] == "deepmimic"
    assert not (out / "mimickit/engine_config.yaml").exists()
    assert list(read_log(out / "log.txt")["Samples"]) == [128]
    assert (out / "model.pt").read_text() == "weights"


def test_its_clips_hold_arrays_of_any_numpy(autumn: Path, tmp_path: Path) -> None:
    assert main(command(autumn, tmp_path / "run", *SAME)) == 0
    path = tmp_path / "run/mimickit/motions/humanoid_walk.pkl"
    frames = pickle.loads(path.read_bytes())["frames"]
    assert isinstance(frames, np.ndarray)
    assert frames.dtype == np.float32
    assert b"_core" not in path.read_bytes()  # where numpy 1 keeps nothing


def test_no_agent_file_asks_it_for_its_dummy(autumn: Path, tmp_path: Path) -> None:
    assert main(command(autumn, tmp_path / "run", "method=view_motion", "mode=train", "engine.sim_freq=120")) == 0
    assert not (tmp_path / "run/mimickit/agent_config.yaml").exists()


def test_one_optimiser_is_written_from_those_of_the_networks(winter: Path, tmp_path: Path) -> None:
    same = (*SAME, "agent.disc_epochs=5", "agent.disc_batch_size=4", "agent.disc_optimizer.learning_rate=5e-4")
    assert main(command(winter, tmp_path / "run", "method=amp", *same)) == 0
    agent = written(tmp_path / "run", "agent")
    assert agent["optimizer"]["learning_rate"] == 1e-4
    assert (agent["critic_loss_weight"], agent["disc_loss_weight"], agent["disc_weight_decay"]) == (1.0, 5.0, 5e-5)
    assert (agent["update_epochs"], agent["batch_size"], agent["disc_batch_size"]) == (5, 4, 32)
    assert not any(key.startswith(("actor_optimizer", "critic_epochs", "disc_optimizer")) for key in agent)
    assert written(tmp_path / "run", "engine")["ground_contact_height"] == 0.3
    own = (*same[:3], same[4], "core.agent.disc_batch_size=2048")
    assert main(command(winter, tmp_path / "two", "method=amp", *own)) == 0
    assert written(tmp_path / "two", "agent")["disc_batch_size"] == 2048


CANNOT = [
    (
        [],
        "trains all networks with one optimiser: add agent.critic_epochs=5 agent.critic_batch_size=4, or take a newer",
    ),
    ([*SAME, "agent.critic_optimizer.type=Adam"], "add agent.critic_optimizer.type=SGD, or take"),
    ([*SAME, "agent.critic_optimizer.weight_decay=0.1"], "add agent.critic_optimizer.weight_decay=0.0, or take"),
    ([*SAME, "agent.critic_optimizer.grad_clip=2"], "add agent.critic_optimizer.grad_clip=0.0, or take"),
    ([*SAME, "agent.actor_batch_size=0.5"], "add agent.actor_batch_size=1 agent.critic_batch_size=1, or take"),
]


@pytest.mark.parametrize(("words", "expected"), CANNOT)
def test_what_one_optimiser_cannot_do_is_said_before_it_starts(
    winter: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    said = line(capfd, command(winter, tmp_path / "run", *words))
    assert said.startswith(f"core.root: {winter} is a MimicKit from before 24 February 2026 and trains")
    assert expected in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["engine=newton"], "sim_env.py knows no such engine; it knows isaac_gym"),
        (["method=awr"], "agent_builder.py knows no such agent; it knows AMP, Dummy, PPO ("),
        ([*SAME, "video=true"], "video: found true, but"),
        ([*SAME, "devices=[cuda:1,cuda:0]"], "devices: "),
    ],
)
def test_what_an_older_checkout_lacks(
    autumn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    said = line(capfd, command(autumn, tmp_path / "run", *words))
    assert expected in said
    assert "it knows ()" not in said


def test_a_checkout_that_names_no_agents_is_not_judged(autumn: Path, tmp_path: Path) -> None:
    (autumn / "mimickit/learning/agent_builder.py").write_text("from learning import registry\n")
    assert main(command(autumn, tmp_path / "run", *SAME)) == 0
