"""No key is accepted and ignored: whatever the schema declares is read by what is built and run from it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mimickit_hydra.checks.check import validate
from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.plugins import AGENTS, ENGINES, ENVS, SCHEMAS
from mimickit_hydra.training.build import build
from mimickit_hydra.training.run import run
from mimickit_hydra.view import video

PACKAGE = Path(__file__).parents[2] / "mimickit_hydra"
TINY = ["debug=tiny", "num_envs=4", "agent.critic_eval_batch_size=8"]
# Together these runs reach every env and every agent; the words switch on what reads a key only then.
ON = ["env.enable_phase_obs=true", "env.log_tracking_error=true", "agent.exp_anneal_samples=1000"]
RUNS = [
    ["method=deepmimic", *TINY, *ON, "agent.use_mixed_precision=true", "video=true"],
    ["method=tracking", *TINY, "video=true"],
    ["method=supermimic", *TINY[:2]],
    ["method=awr", "env=vault", "motion=humanoid_walk", "env.objects=[]", *TINY],
    ["method=lcp", "env=dodgeball", *TINY],
    ["method=amp", "env=location", *TINY, "agent.disc_eval_batch_size=8"],
    ["method=add", *TINY, "agent.disc_eval_batch_size=8"],
    ["method=ase", *TINY, "agent.disc_eval_batch_size=8", "agent.enc_eval_batch_size=8"],
    ["method=ase", "env=steering", *TINY],
    ["method=view_motion", "debug=smoke", "test_episodes=1", "video=true"],
    ["method=dof_test", "debug=smoke", "test_episodes=1", "video=true"],
]
# Read by an engine in another process or by the loop's own files, not by what a tiny run builds.
ELSEWHERE = {"python", "worker_timeout", "worker_start_timeout", "env_spacing"}


def recording(config: Any, read: set[tuple[type, str]]) -> Any:
    """A dataclass with the same values that notes which of its fields are read, and by the class that declares them."""
    kind = type(config)
    names = {field.name for field in dataclasses.fields(config)}

    def look(self: Any, name: str) -> Any:
        if name in names:
            read.add((declaring(kind, name), name))
        return object.__getattribute__(self, name)

    double = object.__new__(type(kind.__name__, (kind,), {"__getattribute__": look}))
    for name in names:
        value = getattr(config, name)
        value = recording(value, read) if dataclasses.is_dataclass(value) else value
        object.__setattr__(double, name, value)
    return double


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[type, str]]:
    """Every field that the runs have read."""
    torch.set_num_threads(1)
    found: set[tuple[type, str]] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "render_video", lambda *args, **kwargs: SimpleNamespace(warnings=[]))
        for number, words in enumerate(RUNS):
            out = tmp_path_factory.mktemp("read") / str(number)
            cfg = compose(["video=false", *words, "rand_seed=1", "engine.num_threads=1", f"out_dir={out}"])
            config = to_run(cfg)
            validate(config)
            noting = {name: recording(getattr(config, name), found) for name in ("engine", "env", "agent")}
            config = dataclasses.replace(config, **noting)
            if config.video:
                run(config, resolved_yaml=resolved_yaml(cfg), overrides=words, out_dir=str(out))
                continue
            parts = build(config, Comm(), torch.device("cpu"))
            parts.agent.train_iteration()
            parts.agent.test(1)
            parts.close()
    return found


def schemas(group: str) -> Iterator[type]:
    for entry in SCHEMAS.entries():
        if entry.name.startswith(f"{group}/") and entry.plugin == "mimickit_hydra":
            yield entry.load_schema()


# Refused unless they have the value of MimicKit's files, where nothing reads them either.
FIXED = {
    "SMPAgentConfig.critic_loss_weight", "ViewMotionEnvConfig.episode_length", "DofTestEnvConfig.episode_length",
    "DummyAgentConfig.discount", "DummyAgentConfig.steps_per_iter", "DummyAgentConfig.iters_per_output",
    "DummyAgentConfig.test_episodes", "DummyAgentConfig.normalizer_samples",
}  # fmt: skip


def declaring(kind: type, name: str) -> type:
    """The class that brings the field: a key that others inherit is one key."""
    return next(one for one in kind.__mro__ if name in inspect.get_annotations(one))


@pytest.mark.parametrize("group", ["env", "agent"])
def test_every_key_is_read(group: str, read: set[tuple[type, str]]) -> None:
    ignored = [
        f"{kind.__name__}.{field.name}"
        for kind in schemas(group)
        for field in dataclasses.fields(kind)
        if not kind.__name__.startswith(("SMP", "SuperMimic")) and (declaring(kind, field.name), field.name) not in read
    ]
    assert set(ignored) <= FIXED


def mentioned(folder: Path) -> set[str]:
    """Attributes that a sub-package's code reads, and words in its text: a key that is in neither is ignored."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        if not path.stem.endswith("schema"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute):
                    found.add(node.attr)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


@pytest.mark.parametrize("name", list(ENGINES))
def test_every_key_of_an_engine_is_read_by_it(name: str) -> None:
    """Also of those whose simulator is not here."""
    entry = ENGINES[name]
    own = PACKAGE.joinpath(*entry.place.partition(":")[0].split(".")[1:-1])
    words = mentioned(own) | mentioned(PACKAGE / "engines") & ELSEWHERE
    shared = {"engine_name", "control_freq", "sim_freq"} | ELSEWHERE
    assert {field.name for field in dataclasses.fields(entry.load_schema())} - words - shared == set()


def test_every_key_of_smp_is_read() -> None:
    """A prior is trained for minutes, so the code is read instead."""
    unread = {field.name for field in dataclasses.fields(AGENTS["SMP"].load_schema())} - mentioned(PACKAGE)
    assert unread == {"critic_loss_weight"}  # refused unless it is 1


def test_every_key_of_supermimic_is_read() -> None:
    """Its world model is fitted once a ring of trajectories is full, so the code is read instead."""
    keys = {field.name for field in dataclasses.fields(AGENTS["SuperMimic"].load_schema())}
    assert keys - mentioned(PACKAGE) == set()


def test_every_other_key_is_read() -> None:
    words = mentioned(PACKAGE)
    for group in ("compute", "core", "character", "motion", "method", "logger", "launch"):
        for kind in schemas(group):
            unread = {field.name for field in dataclasses.fields(kind)} - words
            composed = {"num_envs", "max_minutes", "video", "key_bodies", "joint_err_w", "base_env", "objects"}
            composed |= {"action_std", "actor_learning_rate", "end_effectors", "imu_pos"}
            assert unread <= composed, f"{group}: {kind.__name__}"
    assert {field.name for field in dataclasses.fields(type(to_run(compose([]))))} <= words


def test_the_runs_reach_every_env_and_every_agent() -> None:
    reached = [to_run(compose(words)) for words in RUNS]
    same_keys = {"smp", "amp", "deepmimic", "char"}  # as those of add, of every other env
    assert {one.env.env_name for one in reached} | same_keys == {e.name for e in ENVS.entries()}
    assert {one.agent.agent_name for one in reached} | {"SMP"} == {e.name for e in AGENTS.entries()}
