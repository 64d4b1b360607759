"""Calls Hydra's own application for what is left to it: its flags, and sweepers and launchers other than ours."""

from __future__ import annotations

import argparse
import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from omegaconf import OmegaConf, flag_override

from mimickit_hydra.config.compose import OURS, Source, config_loader
from mimickit_hydra.errors import UserError
from mimickit_hydra.training.interrupt import USER_ERROR_CODE

_COMMANDS = ("cfg", "info", "hydra_help", "shell_completion", "multirun", "run")


def asks_hydra(args: argparse.Namespace) -> bool:
    """Whether the flags ask to be shown something instead of running. UserError where they contradict each other."""
    given = [f"--{name.replace('_', '-')}" for name in _COMMANDS if getattr(args, name)]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)}: only one of them can be given")
    for name in ("resolve", "package"):
        if getattr(args, name) and not args.cfg:
            raise UserError(f"--{name}: goes with --cfg only")
    return bool(given) and not (args.multirun or args.run)


def show(args: argparse.Namespace, parser: argparse.ArgumentParser, source: Source) -> None:
    """What ``--cfg``, ``--info``, ``--hydra-help`` and ``--shell-completion`` print."""
    with _application(source) as hydra:
        if args.cfg:
            if args.resolve:
                _resolve_first(hydra)
            try:
                hydra.show_cfg(source.name, args.overrides, args.cfg, args.package, args.resolve)
            except SystemExit:  # there is no such package, as Hydra has said
                raise SystemExit(USER_ERROR_CODE) from None
        elif args.info:
            hydra.show_info(args.info, config_name=source.name, overrides=args.overrides)
        elif args.hydra_help:
            hydra.hydra_help(config_name=source.name, args_parser=parser, args=args)
        else:
            try:
                hydra.shell_completion(config_name=source.name, overrides=args.overrides)
            except (ValueError, KeyError):
                raise UserError(
                    "--shell-completion: must be install=SHELL or uninstall=SHELL, of bash, zsh or fish; "
                    "of all commands: mimickit completion SHELL"
                ) from None


_OF_A_SWEEP = ("num", "id")  # of hydra.job: a run on its own has none


def _resolve_first(hydra: Any) -> None:
    """Let Hydra resolve the whole config before it takes the part that is shown, which may refer to the rest."""
    part = hydra.get_sanitized_cfg

    def resolved(cfg: Any, kind: str) -> Any:
        job = cfg.hydra.job
        missing = [key for key in _OF_A_SWEEP if OmegaConf.is_missing(job, key)]
        with flag_override(cfg, ["readonly", "struct"], False):
            job.update(dict.fromkeys(missing, 0))  # OmegaConf 2.4 resolves no text that refers to what is missing
            OmegaConf.resolve(cfg)
            job.update(dict.fromkeys(missing, "???"))
        return part(cfg, kind)

    hydra.get_sanitized_cfg = resolved


def multirun(overrides: Sequence[str], task: Callable[[Any], Any]) -> None:
    """Let Hydra's sweeper and launcher call ``task`` with the config of each run."""
    gc.enable()  # this may take days
    with _application(OURS) as hydra:
        hydra.multirun(OURS.name, task, [*overrides, "hydra.mode=MULTIRUN"])


@contextlib.contextmanager
def _application(source: Source) -> Iterator[Any]:
    from hydra._internal.hydra import Hydra
    from hydra.core.global_hydra import GlobalHydra

    with config_loader(source) as loader:
        hydra = Hydra(task_name="train", config_loader=loader)
        GlobalHydra.instance().initialize(hydra)
        try:
            yield hydra
        finally:
            GlobalHydra.instance().clear()
