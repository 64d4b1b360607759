"""Whether this machine has what a run asks for, as far as that can be told without importing torch or a simulator."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.schema import EngineConfig, RunConfig
from mimickit_hydra.engines.catalog import ENGINES, Interpreter, interpreter, interpreter_problem, next_step

_DEVICE = re.compile(r"^(cpu|cuda(?::(\d+))?)$")


def check_devices(run: RunConfig, *, present: bool) -> None:
    """The form of ``devices``; with ``present``, also that there are so many GPUs here."""
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
    if run.core.name == "native" and run.engine.engine_name == "mujoco":
        raise UserError(f"devices: found {run.devices[0]}, but engine=mujoco runs on the CPU; use devices=[cpu]")


def _check_gpus(run: RunConfig) -> None:
    count = gpu_count()
    if count is None:
        return
    for device in run.devices:
        match = _DEVICE.match(device)
        index = int(match.group(2) or 0) if match else 0
        if index < count:
            continue
        here = "this machine has no GPU" if count == 0 else f"this machine has {count} GPU{'s' if count > 1 else ''}"
        fix = "compute=cpu" if run.model_file is None and run.resume is None else "devices=[cpu]"  # networks must fit
        hint = f"; try {fix}" if count == 0 else f"; the last is cuda:{count - 1}"
        asked = "compute=gpu" if run.engine.engine_name == "mujoco" else f"engine={run.engine.engine_name}"
        raise UserError(f"devices: {device} asked for ({asked}), but {here}{hint}")


def gpu_count() -> int | None:
    """How many CUDA devices a process may see, None where that cannot be told without asking the driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1", "NoDevFiles"):
        return 0
    if not sys.platform.startswith("linux") or Path("/dev/dxg").exists() or Path("/dev/kfd").exists():
        return 0 if sys.platform == "darwin" else None
    count = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return min(count, len(visible.split(","))) if visible else count


def check_engine(engine: EngineConfig, *, installed: bool) -> None:
    """The engine is one we know and, with ``installed``, its packages are here, or the interpreter it is hosted in."""
    name = engine.engine_name
    if name not in ENGINES:
        raise UserError(f"engine.engine_name: found {name!r}, must be one of {', '.join(ENGINES)}")
    if not installed:
        return
    where = interpreter(name, engine.python)
    if where != Interpreter():
        if problem := interpreter_problem(name, where):
            raise UserError(problem)
        return
    missing = [module for module in ENGINES[name].packages if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(
            f"engine={name}: not installed (no module {', '.join(missing)}): {ENGINES[name].install}; "
            f"{next_step(name)}; or use engine=mujoco"
        )


def check_engine_exists(name: str) -> None:
    """This version has a module for the engine."""
    if not _has_adapter(name):
        ready = [other for other in ENGINES if _has_adapter(other)]
        raise UserError(f"engine={name}: this version cannot drive it yet; engines that work: {', '.join(ready)}")


def check_logger(run: RunConfig) -> None:
    """What the loggers import and a plain installation lacks."""
    if run.logger.wandb and importlib.util.find_spec("wandb") is None:
        raise UserError("logger=wandb: not installed (no module wandb): pip install 'mimickit-hydra[wandb]'")


def _has_adapter(name: str) -> bool:
    return importlib.util.find_spec(f"mimickit_hydra.engines.{name}_engine") is not None
