"""``mimickit demo``: a trained policy in the browser, to be pushed about."""

from __future__ import annotations

import argparse
from typing import Any

FIRST = "humanoid_walk"


def add_parser(subparsers: Any) -> None:
    from mimickit_hydra.cli.view import add_address

    parser = subparsers.add_parser(
        "demo",
        help="look at a trained policy in the browser, and push it",
        description="Opens a page where a policy that comes with the package walks, on the CPU, until Ctrl-C; "
        "the others of mimickit models can be chosen there. Needs viser: pip install 'mimickit-hydra[view]'.",
    )
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help=f"a trained policy ({FIRST})")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    add_address(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.checks.machine import check_viewer
    from mimickit_hydra.config.models import find, models

    check_viewer("demo")
    first, names = find(args.name or FIRST).name, [model.name for model in models()]
    from mimickit_hydra.cli.view import make_policy
    from mimickit_hydra.view.browser.viewer import open_viewer

    menu = {name: lambda name=name: make_policy(name, []) for name in sorted(names, key=lambda name: name != first)}
    options = {"host": args.host, "port": args.port, "browser": not args.no_browser}
    open_viewer(menu[first](), menu, **options)
    return 0
