"""``mimickit``: one command, a subcommand for each thing to do."""

from __future__ import annotations

import argparse
import gc
import importlib.util
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from mimickit_hydra.cli.interrupt import EXIT_CODE, Interrupts
from mimickit_hydra.config.errors import UserError

PROG = "mimickit"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code: 0 done, 2 something the user can put right, 130 Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["train"]:  # Hydra parses the rest itself
        from mimickit_hydra.cli.train import main as train

        return train(arguments[1:], prog=f"{PROG} train")
    with Interrupts() as interrupts:
        try:
            return _main(arguments, interrupts)
        except KeyboardInterrupt:
            return EXIT_CODE


def _main(arguments: list[str], interrupts: Interrupts) -> int:
    args: argparse.Namespace | None = None
    try:
        gc.disable()  # composing makes many small objects and no cycles worth looking for
        parser = make_parser()
        args = parser.parse_args(arguments)
        if args.command is None:
            parser.print_help()
            return 0
        _take_home(args)
        interrupts.check()
        return int(args.run(args) or 0)
    except BrokenPipeError:  # the reader, a pager or head, has seen enough
        sys.stderr.close()
        return 0
    except Exception as error:
        interrupts.check()  # whatever it is, it may be what became of a KeyboardInterrupt
        from mimickit_hydra.config.one_line import one_line

        line = one_line(error, getattr(args, "overrides", None) or ())
        if line is None:
            raise
        print(line, file=sys.stderr)
        return 2
    finally:
        gc.enable()


def _take_home(args: argparse.Namespace) -> None:
    """``key=~/path`` among a command's overrides, which bash does not expand."""
    if any("=~" in text or "=[~" in text for text in getattr(args, "overrides", None) or ()):
        from mimickit_hydra.config.repeat import with_home

        args.overrides = [with_home(text) for text in args.overrides]


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line."""

    def error(self, message: str) -> NoReturn:
        if match := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            from mimickit_hydra.config.one_line import suggestion

            found, allowed = match.group(1), match.group(2).replace("'", "")
            hint = suggestion(found, allowed.split(", "))
            raise UserError(f"{self.prog} {found}: no such command{hint}; allowed: {allowed}")
        raise UserError(f"{self.prog}: {message}; see {self.prog} --help")


def make_parser() -> argparse.ArgumentParser:
    """The whole command line; shell completion reads it too."""
    from mimickit_hydra import __version__
    from mimickit_hydra.cli import (
        assets,
        completion,
        control,
        convert,
        diff,
        doctor,
        explain,
        export,
        listing,
        prior,
        report,
        sim2sim,
        status,
        sweep,
    )

    parser = _Parser(prog=PROG, description="Motion imitation: every choice is one word on the command line.")
    parser.add_argument("--version", action="version", version=f"mimickit-hydra {__version__}")
    subparsers: Any = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    subparsers.add_parser("train", help="train or test a policy (the same as train.py)", add_help=False)
    for module in (
        listing,
        explain,
        diff,
        doctor,
        convert,
        assets,
        prior,
        sim2sim,
        sweep,
        status,
        control,
        report,
        export,
    ):
        module.add_parser(subparsers)
    if importlib.util.find_spec("mimickit_hydra.cli.motion") is not None:
        _add_motion(subparsers)
    completion.add_parser(subparsers)
    return parser


def _add_motion(subparsers: Any) -> None:
    from mimickit_hydra.cli import motion

    before = set(subparsers.choices)
    motion.add_parser(subparsers)
    for name in set(subparsers.choices) - before:
        subparsers.choices[name].set_defaults(run=motion.run)


if __name__ == "__main__":
    raise SystemExit(main())
