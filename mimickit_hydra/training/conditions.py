"""What a policy was tested under, and which words of a config its loaded weights would overrule."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.config.compose import leaves
from mimickit_hydra.config.overrides import parse, quote
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.files import FileRecord
from mimickit_hydra.runs.snapshot import parse_frozen

Conditions = dict[str, Any]

# Where and how fast it is computed, and how a video of it looks
_NO_CONDITION = (
    "engine.num_threads",
    "engine.python",
    "engine.worker_timeout",
    "engine.worker_start_timeout",
    "env.camera_mode",
    "env.ref_char_offset",
    "env.visualize_ref_char",
)

# What an action is and what an observation shows: weights fit other values of these too, but mean something else
_MEANING = (
    "engine.control_mode",
    "engine.control_freq",
    "env.zero_center_action",
    "env.action_about",
    "env.action_scale",
    "env.global_obs",
    "env.key_bodies",
    "env.anchor_body",
    "env.num_phase_encoding",
    "env.tar_obs_steps",
)


def conditions(run: RunConfig, files: Iterable[FileRecord]) -> Conditions:
    """All that a test return depends on beside the policy, as plain values by key.

    A file counts by its content, wherever it lies: two runs under equal conditions have comparable returns.
    """
    records = [record for record in files if record.owner.startswith("env.")]
    content = {record.name: f"sha256:{record.sha256}" for record in records}
    found = {key: _plain(value, content) for key, value in _world(run, empty=False) if key not in _NO_CONDITION}
    found["agent.test_episodes"] = run.agent.test_episodes
    found["files"] = hashlib.sha256("".join(sorted(record.sha256 for record in records)).encode()).hexdigest()
    return found


def _world(run: RunConfig, *, empty: bool = True) -> Iterator[tuple[str, Any]]:
    """The values of the env and the engine by key."""
    return leaves({"env": dataclasses.asdict(run.env), "engine": dataclasses.asdict(run.engine)}, empty=empty)


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The keys in which two conditions, or any flat tables, differ."""
    return [key for key in {**first, **second} if not _equal(first.get(key, _ABSENT), second.get(key, _ABSENT))]


_ABSENT = object()


def _equal(first: Any, second: Any) -> bool:
    """Of plain values; what a damaged checkpoint may hold instead, such as a tensor, equals nothing."""
    return not isinstance(first, Tensor) and not isinstance(second, Tensor) and bool(first == second)


def _plain(value: Any, content: Mapping[str, str]) -> Any:
    """``value`` as JSON reads it back, the name of a file replaced by its content."""
    if isinstance(value, str):
        return content.get(value, value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item, content) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, content) for key, item in value.items()}
    return value if value is None or isinstance(value, (bool, int, float)) else json.loads(json.dumps(str(value)))


# ------------------------------------------------------------------------------------------- weights against the config


def config_of(text: Any) -> RunConfig | None:
    """The run whose frozen config a checkpoint carries; None for one that carries none that this version reads."""
    try:
        return parse_frozen(text, Path("the checkpoint")).run if isinstance(text, str) and text else None
    except UserError:
        return None


def refuse_overruled(
    where: str, agent: Agent, model: Mapping[str, Tensor], run: RunConfig, trained: RunConfig, words: list[str] | None
) -> None:
    """UserError for a value of the config that loading ``model`` would overrule: recorded, and never in effect.

    Networks are built with the value that the weights were trained with and with the new one. Where they differ before
    the weights are loaded into both, and no longer after it, the value has gone.

    Args:
        where: what is loaded, as the user named it.
        agent: of this run; its networks are left as they are.
        model: weights and statistics by name.
        run: this run.
        trained: the run that the weights come from.
        words: the overrides that the user gave, which alone are judged; None to judge every value.
    """
    if type(run.agent) is not type(trained.agent):
        return
    now, then = (dict(leaves(dataclasses.asdict(agent))) for agent in (run.agent, trained.agent))
    given = None if words is None else {parse(text).key for text in words}
    for key in differing(then, now):
        if given is not None and f"agent.{key}" not in given:
            continue
        if _overruled(agent, model, trained.agent, _replaced(trained.agent, key.split("."), now[key])):
            raise UserError(
                f"{where}: agent.{key}: found {now[key]}, but the loaded weights go on with {then[key]}; leave it out, "
                f"or train anew with it: --from {where.partition('=')[2]} agent.{key}={now[key]}"
            )


def other_meaning(run: RunConfig, trained: RunConfig, words: list[str]) -> str:
    """What actions and observations of ``run`` mean other than where the weights come from, but for what the user's
    ``words`` say; empty if nothing does."""
    given = {parse(text).key for text in words}
    now, then = (dict(_world(config)) for config in (run, trained))
    keys = [key for key in _MEANING if key in now and key in then and now[key] != then[key] and key not in given]
    return ", ".join(f"{key}={quote(then[key])}, here {quote(now[key])}" for key in keys)


def _overruled(agent: Agent, model: Mapping[str, Tensor], old: Any, new: Any) -> bool:
    before, after = (agent.untrained(config) for config in (old, new))
    first, second = ({name: value.clone() for name, value in net.state_dict().items()} for net in (before, after))
    if any(name not in second or second[name].shape != value.shape for name, value in first.items()):
        return False  # it does not fit, which loading says
    for net in (before, after):
        net.load_state_dict(dict(model))
    loaded, other = before.state_dict(), after.state_dict()
    return any(
        not torch.equal(value, second[name]) and torch.equal(loaded[name], other[name]) for name, value in first.items()
    )


def _replaced(config: Any, path: list[str], value: Any) -> Any:
    inner = value if len(path) == 1 else _replaced(getattr(config, path[0]), path[1:], value)
    return dataclasses.replace(config, **{path[0]: inner})
