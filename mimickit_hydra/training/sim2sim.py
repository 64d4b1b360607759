"""Tests the policy of a run on several engines in turn, with the same character, motion, episodes and seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError


def runs_by_engine(run_dir: str, engines: Sequence[str], overrides: Sequence[str]) -> dict[str, RunConfig]:
    """The config of the test on each engine: the run's, at its rates, on a device of this machine."""
    import torch

    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.config.overrides import quote
    from mimickit_hydra.runs.repeat import expand

    runs = {}
    for engine in engines:
        devices = "[cpu]" if engine == "mujoco" or not torch.cuda.is_available() else "[cuda:0]"
        own = [f"engine={engine}", f"devices={devices}", "mode=test", f"model_file={quote(str(run_dir))}"]
        runs[engine] = to_run(compose(expand([*own, *overrides])))
    return runs


def _engine_of_run(run_dir: str) -> Any:
    """The engine values in the saved config of a run."""
    from mimickit_hydra.config.resolved import saved_config

    engine = saved_config(run_dir).engine
    if "engine_name" not in engine:
        raise UserError(f"{run_dir}: its config.yaml has no engine.engine_name; is it the one of a run?")
    return engine


def trained_engine(run_dir: str) -> str:
    """The engine that a run was trained on, from its saved config."""
    return str(_engine_of_run(run_dir)["engine_name"])


def test_on(run: RunConfig, folder: Path) -> dict[str, float]:
    """Test the policy of ``run.model_file`` on ``run.engine``; its metrics, also in ``folder/metrics.json``."""
    import torch

    from mimickit_hydra.distributed import Comm
    from mimickit_hydra.training.build import build
    from mimickit_hydra.training.evaluate import evaluate
    from mimickit_hydra.training.rng import seed_everything
    from mimickit_hydra.training.run import load_model

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
    from mimickit_hydra.plugins import ENGINES

    engines = [name.strip() for name in text.split(",") if name.strip()]
    if not engines or len(set(engines)) < len(engines):
        raise UserError(f"engine={text}: needs different engines, such as engine=newton,mujoco")
    for name in engines:
        ENGINES[name]
    return engines
