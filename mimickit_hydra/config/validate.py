"""Checks that types cannot express. Every failure is one line; nothing here imports torch or a simulator."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Iterator
from typing import Any

from mimickit_hydra.config.checkout import BUILDERS, open_checkout
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.machine import check_devices, check_engine, check_engine_exists, check_logger
from mimickit_hydra.config.one_line import nearest
from mimickit_hydra.config.pairs import check_pairs, check_runnable
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.rules import RULES
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.config.validate_files import check_files


def validate(run: RunConfig, *, machine: bool = True) -> None:
    """Raise UserError for the first thing in ``run`` that cannot work.

    With ``machine`` off, what only concerns the machine that will run it (GPU, packages) is left out.
    """
    ours = run.core.name == "native"
    _check_values(run)
    _check_frequencies(run)
    _check_time_limit(run)
    check_pairs(run)
    if ours:
        check_engine(run.engine, installed=machine)
        check_runnable(run)
    else:
        run = _check_checkout(run)
    check_devices(run, present=machine)
    _check_repeated_gpu(run)
    if machine and ours:
        check_logger(run)
        _check_diffusers(run)
    check_files(run)
    _check_body(run)
    if ours:
        check_engine_exists(run.engine.engine_name)


def _check_checkout(run: RunConfig) -> RunConfig:
    """The checkout that is to run this is one, and knows what it is to build; returns ``run`` with its data in sight.

    What its interpreter has installed shows when it starts.
    """
    if run.resume is not None:
        raise UserError(f"resume={run.resume}: MimicKit cannot resume a run; start from its weights with model_file=")
    checkout = open_checkout(run.core)
    for section, (key, _) in BUILDERS.items():
        name = getattr(run.core, section).get(key) or getattr(getattr(run, section), key)
        checkout.check_builds(section, str(name))
    return dataclasses.replace(run, data_root=[*([str(checkout.data)] * checkout.data.is_dir()), *run.data_root])


def fail(key: str, found: Any, allowed: str, hint: str = "") -> UserError:
    return UserError(f"{key}: found {_shown(found)}, must be {allowed}{hint}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."


# ------------------------------------------------------------------------------------------------------ single values


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, bool]]:
    """Key and value of every leaf, and whether it may be infinite: what is so by default."""
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{key}.")
            continue
        yield key, value, field.default == math.inf
        for i, item in enumerate(value if isinstance(value, list) else []):
            if dataclasses.is_dataclass(item):
                yield from _leaves(item, f"{key}[{i}].")


def _check_values(run: RunConfig) -> None:
    for key, value, may_be_infinite in _leaves(run):
        numbers = [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, float)]
        if any(map(math.isnan, numbers)):
            raise fail(key, value, "a number")
        rule = RULES.get(key)
        if rule is not None and not rule.accepts(value):
            near = nearest(str(value), rule.names, count=1)
            raise fail(key, value, rule.allowed, f"; nearest: {near[0]}" if near else "")
        if not may_be_infinite and any(map(math.isinf, numbers)):
            raise fail(key, value, "finite numbers" if isinstance(value, list) else "a finite number")


def _check_frequencies(run: RunConfig) -> None:
    engine = run.engine
    if engine.sim_freq % engine.control_freq != 0:
        allowed = f"a multiple of engine.control_freq={engine.control_freq}"
        raise fail("engine.sim_freq", engine.sim_freq, allowed)


def _check_time_limit(run: RunConfig) -> None:
    """A cluster's signal to save comes before its time limit: within the run's time there has to be a moment for it."""
    minutes, delay = getattr(run.launch, "time", None), getattr(run.launch, "signal_delay", None)
    if minutes is not None and delay is not None and delay >= 60 * minutes:
        allowed = f"less than the {60 * minutes} seconds of launch.time={minutes}"
        raise fail("launch.signal_delay", delay, allowed)


# -------------------------------------------------------------------------------------------------- what the run needs


def _check_repeated_gpu(run: RunConfig) -> None:
    """Processes share a CPU, but not a GPU: NCCL refuses that once everything is built."""
    gpus = [f"{device}:0" if device == "cuda" else device for device in run.devices if device != "cpu"]
    for gpu in gpus:
        if gpus.count(gpu) > 1:
            allowed = f"another GPU for each process, but {gpu} is there {gpus.count(gpu)} times"
            raise fail("devices", list(run.devices), allowed)


def _check_diffusers(run: RunConfig) -> None:
    if run.agent.agent_name == "SMP" and importlib.util.find_spec("diffusers") is None:
        raise UserError("agent=smp: not installed (no module diffusers): pip install 'mimickit-hydra[smp]'")


# --------------------------------------------------------------------------------------- the body of the character


def _check_body(run: RunConfig) -> None:
    """Bodies, poses and control mode against the character's own file."""
    from mimickit_hydra.motion.mjcf import read_mjcf

    tree = read_mjcf(resolve_data_file(run.env.char_file, run.data_root))
    names = [body.name for body in tree.bodies]
    target = getattr(run.env, "proj_target_body", None)
    for key, wanted in (
        ("key_bodies", run.env.key_bodies),
        ("contact_bodies", getattr(run.env, "contact_bodies", [])),
        ("proj_target_body", [] if target is None else [target]),
    ):
        for name in wanted:
            if name not in names:
                near = nearest(name, names, count=1)
                hint = f"; nearest: {near[0]}" if near else ""
                raise UserError(
                    f"env.{key}: {run.character.name} has no body {name!r}{hint}; bodies: {', '.join(names)}"
                )
    weights = getattr(run.env, "joint_err_w", None)
    if weights and len(weights) != len(names) - 1:
        raise UserError(f"env.joint_err_w: found {len(weights)} numbers, must be {len(names) - 1}, one per joint")
    dofs = [len(body.hinges) for body in tree.bodies]
    if len(run.env.init_pose) not in (0, 3, 6 + sum(dofs)):
        allowed = f"3 (root position) or {6 + sum(dofs)} (root position and rotation, then the DoFs)"
        raise UserError(f"env.init_pose: found {len(run.env.init_pose)} numbers, must be {allowed}")
    if run.engine.control_mode == "pd_explicit" and max(dofs) > 1:
        body = names[dofs.index(max(dofs))]
        raise UserError(
            f"engine.control_mode: pd_explicit drives hinges only, but {run.character.name} has joints of several "
            f"DoFs (the first at {body}); use pos"
        )
