"""``mimickit convert ARGFILE``: prints one of MimicKit's argument files as an override line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "convert",
        help="a MimicKit argument file as an override line",
        description="Reads an argument file and the YAML it names, also changed ones, and prints the command that runs "
        "the same here, or refuses what could not run. What had to be decided on the way goes to standard error.",
    )
    parser.add_argument("argfile", metavar="ARGFILE", help="for example args/amp_humanoid_args.txt")
    parser.add_argument(
        "--save",
        metavar="[FOLDER/]NAME",
        help="also write it as experiment=NAME, with only what differs, into a config folder: FOLDER, or your own",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.mimickit.convert import command_line, convert, experiment_yaml, save_experiment

    found = convert(args.argfile)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    args.overrides = words = found.words()  # what a mistake in them is explained with
    _check(words)
    if args.save is None:
        print(command_line(words))
        return 0
    folder, name, flags = _place(args.save)
    text = experiment_yaml(found, Path(args.argfile).name)
    print(f"wrote {save_experiment(name, text, folder / 'experiment')}", file=sys.stderr)
    print(command_line([*flags, f"experiment={name}"]))
    return 0


def _check(words: Sequence[str]) -> None:
    """UserError, or what Hydra raises, where ``train.py`` would refuse the words."""
    from mimickit_hydra.checks.check import validate
    from mimickit_hydra.config.compose import compose, to_run

    validate(to_run(compose(words)), machine=False)


def _place(save: str) -> tuple[Path, str, list[str]]:
    """The config folder and the name that ``--save`` means, and the flags with which that folder is looked in."""
    from mimickit_hydra.config.roots import further, user_dir

    above, slash, name = save.rpartition("/")
    if not slash:
        return user_dir(), name, []
    folder = Path(above).expanduser().absolute()
    known = any(root.path.resolve() == folder.resolve() for root in further())
    return folder, name, [] if known else ["--config-dir", str(folder)]
