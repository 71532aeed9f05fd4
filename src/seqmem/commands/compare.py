"""``seqmem compare``: train memory mechanisms side by side and report."""

from __future__ import annotations

import argparse

from seqmem.commands._engine import add_options

SUMMARY = "train memory mechanisms side by side and report"
DESCRIPTION = (
    "Trains sequence mixers at equal parameters and equal tokens, prints one table, and writes DIR/results.jsonl and "
    "DIR/report.html. Without arguments: six mixers on associative recall and on real text."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", nargs="?", metavar="STUDY.yaml", help="a study file; the options below override what it says"
    )
    parser.add_argument(
        "--mixers", metavar="A,B", help="names (see 'seqmem mixers') or package.module:ClassName, separated by commas"
    )
    parser.add_argument(
        "--tasks", metavar="X,Y", help="names (see 'seqmem tasks') or package.module:ClassName, separated by commas"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="repetitions with different seeds")
    parser.add_argument("--budget", choices=("smoke", "laptop", "full"), help="how long to train (default: laptop)")
    parser.add_argument(
        "--out", metavar="DIR", default="seqmem-compare", help="where results and report go (default: %(default)s)"
    )
    add_options(parser, "experiments")
    parser.add_argument("--json", action="store_true", help="print the table as JSON instead")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.compare import compare

    return compare(arguments)
