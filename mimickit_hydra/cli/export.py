"""``mimickit export RUN --to onnx -o policy.onnx``: writes a policy for another program."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mimickit_hydra.cli.named import find_policy
from mimickit_hydra.cli.overrides import add_overrides

_FILES = {"mimickit": "model.pt", "onnx": "policy.onnx"}


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "export",
        help="write the policy of a run as a model.pt for MimicKit, or as ONNX for a robot",
        description="Write policy, critic, further networks and normalisers of a run as MimicKit's model.pt, or the "
        "policy with all that a controller has to know as one ONNX file, a model card beside it; see docs/deploy.md.",
    )
    parser.add_argument(
        "source",
        metavar="RUN",
        help="run directory (its best checkpoint is taken), one checkpoint, or model=NAME (mimickit models)",
    )
    parser.add_argument("--to", choices=tuple(_FILES), default="mimickit", help="the program that is to read it")
    parser.add_argument(
        "-o", "--output", default="", help="file to write, or folder to put it in (model.pt, policy.onnx)"
    )
    onnx = parser.add_argument_group("with --to onnx")
    onnx.add_argument("--form", choices=("obs", "state"), default="obs", help="what the graph begins with")
    onnx.add_argument("--precision", choices=("float32", "float16", "int8"), default="float32", help="of the network")
    onnx.add_argument("--clip", default="", metavar="NAME", help="of a set: the clip that the reference is of")
    add_overrides(onnx, "KEY=VALUE", "of the run's settings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    target = Path(args.output or _FILES[args.to]).expanduser()
    if target.is_dir():
        target = target / _FILES[args.to]
    if args.to == "onnx":
        return _onnx(args, target)
    from mimickit_hydra.mimickit.export import export_model

    found = export_model(find_policy(args.source), target)
    for line in found.warnings:
        print(f"warning: {line}", file=sys.stderr)
    print(f"{target}: weights of {found.path}")
    return 0


def _onnx(args: argparse.Namespace, target: Path) -> int:
    from mimickit_hydra.deploy.export import export_policy

    done = export_policy(
        find_policy(args.source), target, form=args.form, precision=args.precision, clip=args.clip, words=args.overrides
    )
    if done.note:
        print(f"warning: {done.note}; mimickit play cannot play the file", file=sys.stderr)
    worst, mean, seconds = done.compared
    print(f"{target}: policy of {done.checkpoint}, {done.size / 1e6:.2f} MB; card in {target.with_suffix('.md').name}")
    print(f"beside torch: joint targets differ by {worst:.2g} rad at most, {mean:.2g} rad on average")
    print(f"inference: {1e3 * seconds:.2f} ms on one core")
    return 0
