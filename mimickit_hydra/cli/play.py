"""``mimickit play FILE.onnx``: plays an exported policy in bare MuJoCo."""

from __future__ import annotations

import argparse
from typing import Any

from mimickit_hydra.deploy.play import add_arguments


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "play",
        help="play an exported policy in bare MuJoCo: return, success, time of an inference",
        description="Runs the control loop of an ONNX file with numpy, mujoco and onnxruntime alone, and refuses one "
        "whose names, counts or rates do not fit. Where nothing else is installed: "
        "python -m mimickit_hydra.deploy.play FILE.onnx.",
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.deploy.play import play

    return play(args)
