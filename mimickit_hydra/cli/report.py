"""``mimickit report DIR``: writes one page about the runs below a directory."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mimickit_hydra.errors import UserError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "report",
        help="compare runs: one HTML page and a CSV table",
        description="Compare the runs below a directory: one HTML page that opens without a network, and a CSV table.",
    )
    parser.add_argument("dir", help="a sweep, or any directory with runs below it")
    parser.add_argument(
        "--group-by",
        metavar="SETTING",
        action="append",
        help="average over runs with the same value, for example method or agent.discount; may be given more than "
        "once (default: every setting that differs, except the seed)",
    )
    parser.add_argument("--out", metavar="FILE", help="the page (default: DIR/report.html)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    folder = Path(args.dir).expanduser()
    if not folder.is_dir():
        raise UserError(f"{args.dir}: no such directory")
    page = Path(args.out).expanduser() if args.out else folder / "report.html"
    if page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {args.out}: must end in .html")
    from mimickit_hydra.view.report_data import collect
    from mimickit_hydra.view.report_page import write_report

    keys = [key for text in args.group_by for key in text.split(",")] if args.group_by else None
    report = collect(folder, group_by=keys)
    try:
        page, table = write_report(report, page)
    except OSError as error:
        raise UserError(f"{page}: cannot be written: {error.strerror or error}") from None
    print(f"{len(report.runs)} runs, {len(report.groups)} groups\n{page}\n{table}")
    return 0
