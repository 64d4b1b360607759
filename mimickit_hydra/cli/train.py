"""``train.py`` and ``mimickit train``: parses the command line of a run or a sweep and starts it."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mimickit_hydra.cli.folders import take_from
from mimickit_hydra.config.compose import Source
from mimickit_hydra.config.overrides import values_of
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_text
from mimickit_hydra.screen import lasting
from mimickit_hydra.training.interrupt import Interrupts, guarded


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 something the user can put right, 130 Ctrl-C."""
    arguments, prog = list(sys.argv[1:] if argv is None else argv), prog or sys.argv[0]
    return guarded(lambda interrupts, overrides: _main(arguments, prog, interrupts, overrides))


def _main(arguments: list[str], prog: str, interrupts: Interrupts, overrides: list[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        from mimickit_hydra.cli.help import train_help

        take_from(arguments)
        print(train_help(prog))
        return 0
    if "--version" in arguments:
        from mimickit_hydra import __version__

        print(f"mimickit-hydra {__version__}")
        return 0
    from mimickit_hydra.runs.repeat import expand
    from mimickit_hydra.sweeps.hydra_app import asks_hydra, show

    args, parser = _parse(take_from(arguments))
    shows = asks_hydra(args)
    sweep = not shows and (args.multirun or "MULTIRUN" in values_of("hydra.mode", args.overrides))
    with contextlib.nullcontext() if shows else lasting():
        overrides += expand(args.overrides, args.from_run, sweep=sweep)
    args.overrides = overrides
    source = Source(args.config_path, args.config_name or Source.name)
    interrupts.check()
    if shows:
        _refuse_added(args, source)
        show(args, parser, source)
    elif sweep:
        from mimickit_hydra.cli.sweep import start

        with lasting():
            return start(overrides, source)
    else:
        from mimickit_hydra.sweeps.single import run_one

        with lasting():
            run_one(overrides, source)
    return 0


# -------------------------------------------------------------------------------------------------- the command line


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """Parse Hydra's arguments and ``--from``."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise UserError(message)

    parser: argparse.ArgumentParser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parser.add_argument("--from", dest="from_run", help="Repeat the run in this directory; overrides go on top")
    args, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        raise UserError(_unknown_flag(unknown[0], parser))
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun: reads a pickle, which may run code; use --from RUN_DIR")
    _take_config_path(args)
    if args.config_path is not None:
        if not os.path.isdir(args.config_path):
            raise UserError(f"--config-path {args.config_path}: no such directory")
        args.config_path = os.path.abspath(args.config_path)
    return args, parser


def _take_config_path(args: argparse.Namespace) -> None:
    """``--config-path RUN_DIR``, the plain Hydra way to feed a saved config back, means ``--from RUN_DIR``."""
    if args.config_path is None or args.from_run is not None:
        return
    saved = Path(args.config_path) / f"{args.config_name or 'config'}.yaml"
    if saved.is_file() and not any(line.startswith("defaults:") for line in read_text(saved).splitlines()):
        args.from_run, args.config_path, args.config_name = str(saved), None, None


def _unknown_flag(flag: str, parser: argparse.ArgumentParser) -> str:
    from mimickit_hydra.config.groups import groups
    from mimickit_hydra.config.messages import known_keys
    from mimickit_hydra.config.overrides import ALIASES
    from mimickit_hydra.errors import suggestion

    name, _, value = flag.lstrip("-").partition("=")
    if name == "arg_file" or name.endswith("_config"):
        return f"{flag}: a flag of MimicKit's; mimickit convert ARGFILE prints its argument file as a command line here"
    name = name.replace("-", "_")
    keys = [*groups(), *ALIASES, *known_keys()]
    if found := next((key for key in keys if name in (key, key.rpartition(".")[2])), None):
        return f"{flag}: unknown flag; values are written without dashes: {found}={value or 'VALUE'}"
    options = [text for action in parser._actions for text in action.option_strings if text.startswith("--")]
    return f"{flag}: unknown flag{suggestion(flag, options)}"


def _refuse_added(args: argparse.Namespace, source: Source) -> None:
    """UserError for keys that ``+`` carries past the schema; showing the config needs no other checks."""
    if args.cfg and any(text.startswith("+") for text in args.overrides):
        from mimickit_hydra.config.compose import compose, to_run

        to_run(compose(args.overrides, source=source))
