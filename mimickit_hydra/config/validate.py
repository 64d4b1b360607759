"""Checks that types cannot express. Every failure is one line; nothing here imports torch or a simulator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimickit_hydra.config.checkout import BUILDERS, open_checkout
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.machine import check_devices, check_engine, check_engine_exists, check_logger
from mimickit_hydra.config.one_line import nearest
from mimickit_hydra.config.pairs import check_pairs, check_runnable
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.rules import RULES
from mimickit_hydra.config.schema import RunConfig

MOTION_SUFFIXES = (".npz", ".pkl", ".yaml")
PRIOR_SUFFIXES = (".pt",)
CHARACTER_SUFFIXES = (".xml",)


def validate(run: RunConfig, *, machine: bool = True) -> None:
    """Raise UserError for the first thing in ``run`` that cannot work.

    With ``machine`` off, what only concerns the machine that will run it (GPU, packages) is left out.
    """
    ours = run.core.name == "native"
    _check_values(run)
    _check_frequencies(run)
    check_pairs(run)
    if ours:
        check_engine(run.engine, installed=machine)
        check_runnable(run)
    else:
        run = _check_checkout(run)
    check_devices(run, present=machine)
    if machine and ours:
        check_logger(run)
    _check_files(run)
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


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def _check_values(run: RunConfig) -> None:
    for key, value in _leaves(run):
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, float) and math.isnan(number) for number in numbers):
            raise fail(key, value, "a number")
        rule = RULES.get(key)
        if rule is not None and not rule.accepts(value):
            near = nearest(str(value), rule.names, count=1)
            raise fail(key, value, rule.allowed, f"; nearest: {near[0]}" if near else "")


def _check_frequencies(run: RunConfig) -> None:
    engine = run.engine
    if engine.sim_freq % engine.control_freq != 0:
        allowed = f"a multiple of engine.control_freq={engine.control_freq}"
        raise fail("engine.sim_freq", engine.sim_freq, allowed)


# -------------------------------------------------------------------------------------------------------------- files


def _check_files(run: RunConfig) -> None:
    for root in run.data_root:
        if not Path(root).expanduser().is_dir():
            raise fail("data_root", root, "an existing directory")
    _check_data_file("env.char_file", run.env.char_file, CHARACTER_SUFFIXES, run)
    if hasattr(run.env, "motion_file"):
        _check_data_file("env.motion_file", run.env.motion_file, MOTION_SUFFIXES, run)
    for i, thing in enumerate(getattr(run.env, "objects", [])):
        _check_data_file(f"env.objects[{i}].file", thing.file, CHARACTER_SUFFIXES, run)
    if hasattr(run.agent, "smp_prior_model"):
        _check_data_file("agent.smp_prior_model", run.agent.smp_prior_model, PRIOR_SUFFIXES, run)
    if run.model_file is not None and not Path(run.model_file).expanduser().exists():
        raise fail("model_file", run.model_file, "a checkpoint or a run directory that exists")
    if run.resume is not None and not Path(run.resume).expanduser().is_dir():
        raise fail("resume", run.resume, "a run directory that exists")


def _check_data_file(key: str, path: str, suffixes: tuple[str, ...], run: RunConfig) -> None:
    if Path(path).suffix not in suffixes:
        raise fail(key, path, f"a file ending in {', '.join(suffixes)}")
    try:
        resolve_data_file(path, run.data_root)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None


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
