"""Test one run's policy on several engines in turn: same character, motion, episodes and seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.regroup import OF_ANY_ENGINE, on_any_engine
from mimickit_hydra.config.schema import RunConfig

_OWN_GROUPS = ("engine",)  # but not compute: the networks' sizes may hang on it
_OF_THE_MACHINE = ("num_envs", "devices", "compute.num_envs", "compute.devices", "max_minutes", "compute.max_minutes")


def runs_by_engine(run_dir: str, engines: Sequence[str], overrides: Sequence[str]) -> dict[str, RunConfig]:
    """The checked configuration of each engine's test. UserError before anything is simulated."""
    import torch

    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.config.repeat import quote
    from mimickit_hydra.config.validate import validate

    saved = shared_overrides(run_dir)
    runs = {}
    for engine in engines:
        devices = "[cpu]" if engine == "mujoco" or not torch.cuda.is_available() else "[cuda:0]"
        own = [f"engine={engine}", f"devices={devices}", "mode=test", f"model_file={quote(str(run_dir))}"]
        run = to_run(compose([*saved, *own, *overrides]))
        validate(run)
        runs[engine] = run
    return runs


def shared_overrides(run_dir: str) -> list[str]:
    """What a run's config says that holds on every engine, and for every machine."""
    from mimickit_hydra.config.repeat import overrides_of_run

    saved = [text for text in overrides_of_run(run_dir) if _holds_everywhere(text)]
    # What the run did not change stands in no override, and is another number on another engine.
    return saved + on_any_engine(_engine_of_run(run_dir))


def _engine_of_run(run_dir: str) -> Any:
    """The engine's values in the saved config of a run."""
    from mimickit_hydra.config.repeat import saved_config

    engine = saved_config(run_dir).engine
    if "engine_name" not in engine:
        raise UserError(f"{run_dir}: its config.yaml has no engine.engine_name; is it the one of a run?")
    return engine


def _holds_everywhere(override: str) -> bool:
    key = override.partition("=")[0].lstrip("+")
    group, _, name = key.partition(".")
    if key in _OF_THE_MACHINE or key in _OWN_GROUPS:
        return False
    return group != "engine" or name in OF_ANY_ENGINE


def trained_engine(run_dir: str) -> str:
    """The engine that a run was trained on, from its saved config."""
    return str(_engine_of_run(run_dir)["engine_name"])


def test_on(run: RunConfig, folder: Path) -> dict[str, float]:
    """Test the policy of ``run.model_file`` on ``run.engine``; its metrics, also in ``folder/metrics.json``."""
    import torch

    from mimickit_hydra.adapter.build import build
    from mimickit_hydra.adapter.run import load_model
    from mimickit_hydra.agents.comm import Comm
    from mimickit_hydra.runtime.evaluate import evaluate
    from mimickit_hydra.runtime.rng import seed_everything

    episodes = max(1, run.test_episodes)
    device = torch.device(run.devices[0])
    if device.type == "cpu":
        torch.set_num_threads(1)
    seed_everything(run.rand_seed or 0)
    parts = build(run, Comm(), device, num_envs=min(run.num_envs, episodes))
    try:
        assert run.model_file is not None
        load_model(parts, run.model_file)
        folder.mkdir(parents=True, exist_ok=True)
        return evaluate(parts, folder, episodes=episodes, video=False)
    finally:
        parts.close()


def parse_engines(text: str) -> list[str]:
    """``newton,mujoco`` as a list; UserError for an unknown or repeated engine. Whether it runs here is seen later."""
    from mimickit_hydra.config.one_line import suggestion
    from mimickit_hydra.engines.registry import engine_names

    engines = [name.strip() for name in text.split(",") if name.strip()]
    if not engines or len(set(engines)) < len(engines):
        raise UserError(f"engine={text}: needs different engines, such as engine=newton,mujoco")
    for name in engines:
        if name not in engine_names():
            raise UserError(
                f"engine={name}: unknown{suggestion(name, engine_names())}; allowed: {', '.join(engine_names())}"
            )
    return engines
