"""Checks that this machine has what a run asks for, as far as can be told without importing torch or a simulator."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from mimickit_hydra import gpus
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.engines.catalog import Interpreter, importable, interpreter, interpreter_problem, next_step
from mimickit_hydra.engines.schema import EngineConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.plugins import ENGINES
from mimickit_hydra.runs.directory import wandb_id

_DEVICE = re.compile(r"^(cpu|cuda(?::(\d+))?)$")


def check_devices(run: RunConfig, *, present: bool) -> None:
    """Check the form of ``devices`` and, with ``present``, that this machine has so many GPUs."""
    if not run.devices:
        raise UserError("devices: found an empty list, must be one device per process, e.g. [cpu] or [cuda:0,cuda:1]")
    for device in run.devices:
        if not _DEVICE.match(device):
            raise UserError(f"devices: found {device!r}, must be cpu or cuda:0, cuda:1, ...")
    on_cpu = [device == "cpu" for device in run.devices]
    if any(on_cpu) and not all(on_cpu):
        raise UserError(f"devices: found {run.devices}, must be all cpu or all cuda")
    if all(on_cpu):
        return
    if present:
        _check_gpus(run)
    name = run.engine.engine_name
    if run.core.name == "native" and "cuda" not in ENGINES[name].facts.get("devices", ("cpu", "cuda")):
        raise UserError(f"devices: found {run.devices[0]}, but engine={name} runs on the CPU; use devices=[cpu]")


def _check_gpus(run: RunConfig) -> None:
    count = gpus.gpu_count()
    if count is None:
        return
    for device in run.devices:
        match = _DEVICE.match(device)
        index = int(match.group(2) or 0) if match else 0
        if index < count:
            continue
        here = "this machine has no GPU" if count == 0 else f"this machine has {count} GPU{'s' if count > 1 else ''}"
        typed = run.devices != run.compute.devices
        # A policy's networks have to stay as they are, which compute= would change.
        fix = "devices=[cpu]" if typed or run.model_file is not None or run.resume is not None else "compute=cpu"
        hint = f"; try {fix}" if count == 0 else f"; the last is cuda:{count - 1}"
        asked = "compute=gpu" if run.engine.engine_name == "mujoco" else f"engine={run.engine.engine_name}"
        who = "" if typed else f" ({asked})"
        raise UserError(f"devices: {device} asked for{who}, but {here}{hint}")


def check_engine(engine: EngineConfig, *, installed: bool) -> None:
    """Check that the engine is known and, with ``installed``, that its packages or its own interpreter are here."""
    name = engine.engine_name
    facts = ENGINES[name].facts
    if not installed:
        return
    where = interpreter(name, engine.python)
    if where != Interpreter():
        if problem := interpreter_problem(name, where, facts["packages"]):
            raise UserError(problem)
        return
    missing = [module for module in facts["packages"] if not importable(module)]
    if missing:
        raise UserError(
            f"engine={name}: not installed (no module {', '.join(missing)}): {facts['install']}; "
            f"{next_step(name)}; or use engine=mujoco"
        )


def check_logger(run: RunConfig) -> None:
    """Check that the packages of the chosen loggers are installed, and that a continued run stays the run it was."""
    if not run.logger.wandb:
        return
    if importlib.util.find_spec("wandb") is None:
        raise UserError("logger=wandb: not installed (no module wandb): pip install 'mimickit-hydra[wandb]'")
    wandb_id(Path(run.resume or run.out_dir or os.curdir).expanduser())


def check_viewer(key: str) -> None:
    """UserError, naming ``key``, where the viewer's package is missing; imports nothing of it."""
    if not importable("viser"):
        raise UserError(f"{key}: not installed (no module viser): pip install 'mimickit-hydra[view]'")
