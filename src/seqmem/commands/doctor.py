"""``seqmem doctor``: what runs here, how fast this machine is, what is known to go wrong."""

from __future__ import annotations

import argparse

SUMMARY = "say what runs here, how fast, and what is known to go wrong"
DESCRIPTION = (
    "Prints versions, threads, the path that every recurrence takes, this machine's measured memory bandwidth and "
    "arithmetic, where results are kept, and known traps. Exit code 1 when it found a problem."
)
MARKS = {"ok": "", "note": "[yellow]note[/yellow]", "problem": "[red bold]problem[/red bold]"}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", metavar="DIR", help="look at this store (default: the one that compare uses)")
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects")


def run(arguments: argparse.Namespace) -> int:
    import json

    from rich.markup import escape
    from rich.table import Table

    from seqmem.bench.doctor import examine
    from seqmem.report.tables import console

    findings = examine(arguments.store)
    if arguments.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        section = ""
        for finding in findings:
            if finding.section != section:
                section = finding.section
                table.add_row(f"[dim]{section}[/dim]", "", "")
            words = f"{MARKS[finding.state]} {escape(finding.advice)}".strip()
            table.add_row("  " + escape(finding.name), escape(finding.found), words)
        console().print(table)
    return 1 if any(finding.state == "problem" for finding in findings) else 0
