"""``mimickit export RUN --to mimickit -o model.pt``: a trained policy in another program's form."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "export",
        help="write the weights of a run as a model.pt for MimicKit",
        description="Write policy, critic, further networks and normalisers of a run as MimicKit's model.pt.",
    )
    parser.add_argument("source", metavar="RUN", help="run directory (its best checkpoint is taken) or one checkpoint")
    parser.add_argument("--to", choices=("mimickit",), default="mimickit", help="the program that is to read it")
    parser.add_argument("-o", "--output", default="model.pt", help="file to write, or a folder to put model.pt in")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.adapter.export import export_model

    target = Path(args.output).expanduser()
    if target.is_dir():
        target = target / "model.pt"
    found = export_model(Path(args.source), target)
    for line in found.warnings:
        print(f"warning: {line}", file=sys.stderr)
    print(f"{target}: weights of {found.path}")
    return 0
