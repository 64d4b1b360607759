"""Packs a trained policy for others: the weights that decide its actions, its config, and a card of how it came to be.

A packed policy is a folder with ``model.pt``, ``config.yaml`` and ``card.json``; ``model_file=`` takes it like a run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.config.compose import as_text, compose, flatten
from mimickit_hydra.config.fields import is_speed_alone
from mimickit_hydra.config.groups import groups
from mimickit_hydra.config.models import CARD, MODEL, read_card
from mimickit_hydra.config.overrides import parse
from mimickit_hydra.config.resolved import CONFIG_FILE, saved_config
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.env import Env
from mimickit_hydra.errors import UserError
from mimickit_hydra.files import write_text_atomic
from mimickit_hydra.foreign import read_json, sha256_of
from mimickit_hydra.runs.log_table import read_log
from mimickit_hydra.runs.rebase import chosen_by
from mimickit_hydra.runs.saved import read_run
from mimickit_hydra.runs.snapshot import Frozen, freeze, read_frozen
from mimickit_hydra.training import sim2sim
from mimickit_hydra.training.build import build
from mimickit_hydra.training.checkpoint import save_model
from mimickit_hydra.training.run import load_model

_PLACES = ("out_dir", "resume", "model_file", "data_root", "devices", "launch", "video")  # words that say where
_GROUPS = ("method", "character", "motion", "env", "agent")
_DECIDE = ("env.", "character.gains", "agent.model.", "engine.control_freq", "engine.sim_freq", "engine.control_mode")


@torch.no_grad()
def acting_weights(agent: Agent, env: Env) -> dict[str, Tensor]:
    """The weights and statistics without which ``agent`` would act otherwise, under the names of ``model.pt``.

    Found by trying: each is loaded as NaN in turn, and what no action notices is of no use to act.
    """
    state = agent.model_state_dict()
    found = {name: value for name, value in state.items() if _is_noticed(agent, env, state, name)}
    agent.load_model_state_dict(state, alone=True)
    return found


def _is_noticed(agent: Agent, env: Env, state: Mapping[str, Tensor], name: str) -> bool:
    if not state[name].is_floating_point():
        return True
    try:
        agent.load_model_state_dict({**state, name: torch.full_like(state[name], math.nan)}, alone=True)
    except UserError:  # a constant, which has to be as the config says
        return True
    actions = [agent.act(env.obs, deterministic=deterministic) for deterministic in (True, False)]
    return any(bool(action.isnan().any()) for action in actions)


def pack(run_dir: Path, name: str, root: Path, tests: Mapping[str, RunConfig], licence: str) -> Iterator[str]:
    """Pack the policy of a run as ``root/data/models/name`` and ``root/conf/model/name.yaml``; yields what it does.

    ``tests`` has the test of the run for each engine; it is made with what was packed.
    """
    out, yaml = root / "data" / "models" / name, root / "conf" / "model" / f"{name}.yaml"
    yield f"packing {write_policy(run_dir, next(iter(tests.values())), out, licence)}"
    for engine, run in tests.items():
        yield f"testing on {engine} ..."
        with tempfile.TemporaryDirectory() as folder:
            add_metrics(out, engine, sim2sim.test_on(dataclasses.replace(run, model_file=str(out)), Path(folder)))
    yaml.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(yaml, option_yaml(out))
    yield f"{yaml}: {title(read_card(out))}"


def write_policy(run_dir: Path, run: RunConfig, out: Path, licence: str) -> Path:
    """Write weights, config and a card without metrics to the folder ``out``.

    Matrices are stored with 16 bits: half the size, and a rounding far smaller than what exploration added.
    """
    frozen, saved = read_frozen(run_dir / CONFIG_FILE), read_run(run_dir)
    with build(run, Comm(), torch.device(run.devices[0]), num_envs=1) as parts:
        found = load_model(parts, str(run_dir), alone=True)
        parts.env.reset()
        weights = acting_weights(parts.agent, parts.env)
        left_out = [name for name in parts.agent.net.state_dict() if name not in weights]
    small = {name: value.half() if value.ndim > 1 else value for name, value in weights.items()}
    config = portable_config(frozen, saved.choices)
    out.mkdir(parents=True, exist_ok=True)
    save_model(out / MODEL, {"agent": {"model": small, "left_out": left_out}, "config": config})
    write_text_atomic(out / CONFIG_FILE, config)
    about = facts(run_dir, frozen.run, words_of(frozen.overrides or saved.overrides))
    write_card(out, {**about, "licence": licence, "sha256": sha256_of(out / MODEL), "metrics": {}})
    return found


def portable_config(frozen: Frozen, choices: Mapping[str, str]) -> str:
    """The config of a run without the places of the machine that it ran on."""
    run = dataclasses.replace(frozen.run, out_dir=None, resume=None, model_file=None, data_root=[])
    return freeze(run, choices, words_of(frozen.overrides)).text


def words_of(overrides: list[str]) -> list[str]:
    """The overrides of a run without those that say where it runs; of a key that it was given twice, the last."""
    return [text for key, text in {parse(text).key: text for text in overrides}.items() if key not in _PLACES]


def facts(run_dir: Path, run: RunConfig, words: Sequence[str]) -> dict[str, Any]:
    """What a card says of the training: command, seed, machine, versions, samples and minutes."""
    versions = read_json(run_dir / "versions.json")
    log = read_log(run_dir / "log.txt")
    if run.rand_seed is not None and not any(text.startswith("rand_seed=") for text in words):
        words = [*words, f"rand_seed={run.rand_seed}"]
    return {
        "command": " ".join(["python train.py", *words]),
        "method": run.method.name,
        "character": run.character.name,
        "motion": run.motion.name,
        "trained_on": run.engine.engine_name,
        "seed": run.rand_seed,
        "samples": int(log["Samples"][-1]),
        "minutes": round(60 * float(log["Wall_Time"][-1]), 2),
        "hardware": (versions.get("gpus") or [versions.get("cpu")])[0],
        "versions": {name: versions[name] for name in ("python", "torch", "mujoco", "newton") if name in versions},
    }


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    write_text_atomic(folder / CARD, json.dumps(card, indent=2) + "\n")


def add_metrics(folder: Path, engine: str, metrics: Mapping[str, Any]) -> None:
    """Put the result of a test on ``engine`` on the card."""
    card = read_card(folder)
    kept = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    write_card(folder, {**card, "metrics": {**card["metrics"], engine: kept}})


# -------------------------------------------------------------------------------------------------- the group's option


def option_yaml(folder: Path) -> str:
    """The YAML by which ``model=NAME`` chooses the policy in ``data/models/NAME`` and what it was trained for.

    Beside the options of the groups it has the values of env, character, networks and engine rates that some recipe
    would give otherwise.
    """
    from omegaconf import OmegaConf

    saved, config = read_run(folder), flatten(saved_config(folder))
    own = chosen_by("method", saved.choices["method"])
    options = {group: saved.choices[group] for group in _GROUPS if saved.choices[group] != own.get(group)}
    decided = {key: value for key, value in config.items() if key.startswith(_DECIDE)}
    values: dict[str, Any] = {}
    for recipe in groups()["recipe"].option_names():
        words = [f"{group}={option}" for group, option in {**options, "recipe": recipe}.items()]
        composed = compose(words)
        given = flatten(composed, resolve=True)
        others = [key for key, value in decided.items() if given.get(key) != value]
        values |= {key: decided[key] for key in others if not is_speed_alone(composed, key)}
    tree = OmegaConf.create({})
    for key, value in {"model_file": f"data/models/{folder.name}", **dict(sorted(values.items()))}.items():
        OmegaConf.update(tree, key, as_text(value))
    lines = ["# @package _global_", f"# {title(read_card(folder))}", "defaults:"]
    lines += [f"  - override /{group}: {option}" for group, option in options.items()]
    return "\n".join(lines) + "\n\n" + OmegaConf.to_yaml(tree)


def title(card: Mapping[str, Any]) -> str:
    """A line on a policy: what it does, and how well."""
    said, results = "", []
    for engine, metrics in card["metrics"].items():
        measure, figure = _result(metrics)
        results.append(f"{figure if measure == said else measure.format(figure)} on {engine}")
        said = measure
    return f"{card['motion']}, {card['method']}: {', '.join(results) or 'not tested'}"


def _result(metrics: Mapping[str, float]) -> tuple[str, str]:
    """What is measured, in words with a place for the figure, and the figure."""
    if "failed_clips" in metrics:  # returns of a set's clips are as long as the clips
        whole = metrics["episodes"] - metrics["failed_clips"]
        return f"{{}} of {metrics['episodes']:.0f} clips", f"{whole:.0f}"
    if metrics["return"] or metrics["return_std"]:
        return "return {}", f"{metrics['return']:.0f}"
    return "episodes of {}", f"{metrics['episode_seconds']:.1f} s"
