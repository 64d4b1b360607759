"""``mimickit convert ARGFILE``: one of MimicKit's argument files as an override line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "convert",
        help="a MimicKit argument file as an override line",
        description="Reads an argument file and the YAML it names, also changed ones, and prints the command that runs "
        "the same here. What had to be decided on the way goes to standard error.",
    )
    parser.add_argument("argfile", metavar="ARGFILE", help="for example args/amp_humanoid_args.txt")
    parser.add_argument("--save", metavar="NAME", help="also write it as experiment=NAME, with only what differs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.config.convert import command_line, convert, experiment_yaml, save_experiment
    from mimickit_hydra.config.paths import conf_dir

    found = convert(args.argfile)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if args.save is None:
        print(command_line(found.words()))
        return 0
    text = experiment_yaml(found, Path(args.argfile).name)
    path = save_experiment(args.save, text, conf_dir() / "experiment")
    print(f"wrote {path}", file=sys.stderr)
    print(command_line([f"experiment={args.save}"]))
    return 0
