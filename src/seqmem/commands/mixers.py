"""``seqmem mixers``: list the sequence-mixing layers."""

from __future__ import annotations

import argparse

SUMMARY = "list the sequence-mixing layers"
DESCRIPTION = "List the sequence-mixing layers."


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.mixers import MIXERS
    from seqmem.report.tables import print_listing

    rows = [{"name": m.name, "memory": m.memory, "summary": m.summary, "source": m.source} for m in MIXERS.values()]
    print_listing(rows, ("name", "memory", "summary", "source"), as_json=arguments.json)
    return 0
