"""Prints the doctor's findings as tables."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mimickit_hydra.doctor.health import Finding

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "-": "dim"}
_NARROWEST, _WIDEST = 80, 160  # columns


def print_findings(title: str, findings: Sequence[Finding]) -> None:
    """Print a table: the thing, its state, what was found and, below it, what to do."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = min(max(shutil.get_terminal_size((120, 24)).columns, _NARROWEST), _WIDEST)
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        said = Text(finding.text)
        if finding.next:
            said.append(f"\n→ {finding.next}", style="cyan")
        table.add_row(Text(finding.state, style=_STYLES.get(finding.state, "")), finding.topic, said)
    console = Console(width=width, highlight=False)
    console.print(table)
    console.print()
