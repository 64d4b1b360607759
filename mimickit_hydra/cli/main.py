"""The command ``mimickit`` and its subcommands."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from mimickit_hydra.cli.folders import take_from
from mimickit_hydra.errors import UserError
from mimickit_hydra.training.interrupt import Interrupts, guarded

PROG = "mimickit"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code: 0 done, 2 something the user can put right, 130 Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["train"]:  # Hydra parses the rest itself
        from mimickit_hydra.cli.train import main as train

        return train(arguments[1:], prog=f"{PROG} train")

    def body(interrupts: Interrupts, overrides: list[str]) -> int:
        parser = make_parser()
        args = parsed(parser, take_from(arguments))
        if args.command is None:
            parser.print_help()
            return 0
        _write_out(args)
        overrides += getattr(args, "overrides", None) or ()
        interrupts.check()
        return int(args.run(args) or 0)

    return guarded(body)


def parsed(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """The arguments of a subcommand; overrides may stand after its options too, where argparse expects no more."""
    args, left = parser.parse_known_args(arguments)
    words = getattr(args, "overrides", None)
    if isinstance(words, list) and not any(text.startswith("-") for text in left):
        args.overrides = [*words, *left]  # words may be the default that all calls share
    elif left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    return args


def _write_out(args: argparse.Namespace) -> None:
    """Write out short keys and ``~`` in a command's overrides."""
    if getattr(args, "overrides", None):
        from mimickit_hydra.config.overrides import written_out

        args.overrides = [written_out(text) for text in args.overrides]


class _Parser(argparse.ArgumentParser):
    """argparse, with mistakes reported in one line."""

    def error(self, message: str) -> NoReturn:
        if match := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            from mimickit_hydra.errors import suggestion

            found, allowed = match.group(1), match.group(2).replace("'", "")
            hint = suggestion(found, allowed.split(", "))
            raise UserError(f"{self.prog} {found}: no such command{hint}; allowed: {allowed}")
        raise UserError(f"{self.prog}: {message}; see {self.prog} --help")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, which shell completion reads too."""
    from mimickit_hydra import __version__
    from mimickit_hydra.cli import (
        assets,
        character,
        completion,
        control,
        convert,
        demo,
        diff,
        doctor,
        explain,
        export,
        listing,
        models,
        motion,
        play,
        prior,
        report,
        robustness,
        sim2sim,
        status,
        sweep,
        view,
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
        character,
        prior,
        sim2sim,
        robustness,
        sweep,
        status,
        control,
        report,
        export,
        play,
        models,
        motion,
        view,
        demo,
    ):
        module.add_parser(subparsers)
    completion.add_parser(subparsers, parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
