"""Hydra's own settings (``hydra.*``): each works as Hydra's users know it, or is refused where it cannot."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimickit_hydra.config.overrides import find, parse
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.snapshot import JobSettings

_OF_A_SWEEP = ("hydra.sweep", "hydra.sweeper", "hydra.launcher", "hydra/sweeper", "hydra/launcher", "sweep")
_PATHS = ("out_dir", "hydra.run.dir", "hydra.sweep.dir", "resume", "model_file")
_OF_HYDRA_ITSELF = ("hydra.runtime", "hydra.overrides", "hydra.job.override_dirname", "hydra.job.config_name")


def refuse_unread(overrides: Sequence[str], *, sweep: bool) -> None:
    """UserError for a setting that would be ignored: of a sweep in a single run, and the other way round."""
    for word in map(parse, overrides):
        if word.key == "hydra.job.env_copy":
            for name in word.typed or ():
                if name not in os.environ:
                    raise UserError(f"hydra.job.env_copy: found {name}, must be a variable of this environment")
        if _is_below(word.key, _OF_HYDRA_ITSELF) or (sweep and word.key in ("hydra.job.num", "hydra.job.id")):
            raise UserError(f"{word.text}: Hydra sets this itself")
        if word.key in _PATHS and not word.is_sweep and not str(word.value or "").strip() and not word.is_deleted:
            if word.value is not None:
                raise UserError(f"{word.text}: found nothing, must be a path; is a variable of the shell empty?")
            if word.key not in ("resume", "model_file"):
                raise UserError(f"{word.text}: found null, must be a directory")
        if sweep and _is_below(word.key, ("hydra.run",)):
            raise UserError(f"{word.text}: a sweep's directory is named by out_dir= or hydra.sweep.dir=")
        if not sweep and _is_below(word.key, _OF_A_SWEEP) and word.value not in (None, "basic"):
            raise UserError(f"{word.text}: has a meaning for several runs only; add --multirun (-m)")


def _is_below(key: str, places: Sequence[str]) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in places)


def refuse_not_carried(hydra: DictConfig, where: str) -> None:
    """UserError for a setting that cannot reach a run which starts ``where``."""
    for given, name in (
        (bool(hydra.callbacks), "hydra.callbacks"),
        (hydra.output_subdir is not None, f"hydra.output_subdir={hydra.output_subdir}"),
        (hydra.job_logging.get("root") is not None, "hydra/job_logging"),
        (hydra.hydra_logging.get("root") is not None, "hydra/hydra_logging"),
    ):
        if given:
            raise UserError(f"{name}: does not reach a run {where}; it works for a single run with launch=local")


def refuse_one_wandb_id(run: RunConfig) -> None:
    """UserError where the environment gives every run of a sweep the same run of Weights & Biases."""
    if run.logger.wandb and os.environ.get("WANDB_RUN_ID"):
        raise UserError(
            f"WANDB_RUN_ID: found {os.environ['WANDB_RUN_ID']}, which all runs of the sweep would write to; unset it"
        )


def run_directory(cfg: DictConfig, overrides: Sequence[str]) -> tuple[str, bool]:
    """The run directory that ``out_dir=``, ``hydra.run.dir=`` or ``resume=`` names, and whether one was given by hand.

    UserError where two of them are given and differ.
    """
    out, hydra_dir = str(cfg.out_dir), str(OmegaConf.select(cfg, "hydra.run.dir"))
    given = [(key, found) for key, found in (("out_dir", out), ("hydra.run.dir", hydra_dir)) if find(key, overrides)]
    if cfg.resume is not None:
        given = [("resume", str(cfg.resume)), *given]
    for key, found in given[1:]:
        first, named = given[0]
        if _same(named, found):
            continue
        raise UserError(f"{first}={named} and {key}={found}: both name the run directory; give one of them")
    if given:
        return given[0][1], True
    return out if _same(out, hydra_dir) else hydra_dir, False  # a config of the user's may set hydra.run.dir


def _same(one: str, other: str) -> bool:
    return os.path.abspath(os.path.expanduser(one)) == os.path.abspath(os.path.expanduser(other))


def job_settings(hydra: DictConfig, resolved: Callable[[str], Any]) -> JobSettings:
    """What ``hydra.job`` and ``hydra.verbose`` ask of the run's process; ``resolved`` gives a key's value."""
    copied = [str(name) for name in hydra.job.env_copy]  # Hydra has put them among those that are set
    env = {str(name): str(resolved(f"job.env_set.{name}")) for name in hydra.job.env_set if name not in copied}
    verbose = OmegaConf.to_container(hydra.verbose) if OmegaConf.is_config(hydra.verbose) else hydra.verbose
    return JobSettings(env, copied, bool(hydra.job.chdir), verbose)
