"""``seqmem tasks``: list the tasks."""

from __future__ import annotations

import argparse
import json

SUMMARY = "list the tasks"
DESCRIPTION = "List the tasks."


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.report.tables import print_listing
    from seqmem.tasks import TASKS, describe

    if arguments.json:
        print(json.dumps([describe(name) for name in TASKS], indent=2))
    else:
        rows = [{"name": t.name, "summary": t.summary, "source": t.source} for t in TASKS.values()]
        print_listing(rows, ("name", "summary", "source"), as_json=False)
    return 0
