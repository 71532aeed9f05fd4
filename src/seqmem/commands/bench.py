"""``seqmem bench``: time the recurrences against other implementations."""

from __future__ import annotations

import argparse

SUMMARY = "time the recurrences against other implementations"
DESCRIPTION = (
    "Times every recurrence of the library against other implementations on this machine (ratios of alternating calls, "
    "with their spread), against the machine's limits, and every layer's single step against an LSTM cell; memory, "
    "the cost of the first call and the tokens that each task makes in a second of processor time beside them. "
    "Writes DIR/bench.json and DIR/bench.html. Peers that are not installed are named: pip install 'seqmem[bench]'. "
    "Leave the machine alone while it runs."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--op", metavar="A,B", help="ops, separated by commas (default: all, unless --mixers or --tasks is given)"
    )
    parser.add_argument(
        "--mixers",
        metavar="A,B",
        help="layers whose single step is timed: names (see 'seqmem mixers') or package.module:ClassName "
        "(default: all, unless --op or --tasks is given)",
    )
    parser.add_argument(
        "--tasks",
        metavar="A,B",
        help="tasks whose sampling is timed: names (see 'seqmem tasks') or package.module:ClassName "
        "(default: all, unless --op or --mixers is given)",
    )
    parser.add_argument(
        "--against", choices=("peers", "none"), default="peers", help="compare with others (default: %(default)s)"
    )
    parser.add_argument("--lengths", metavar="T,T", default="512,2048", help="sequence lengths (default: %(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads (default: 2, or 1 on a single core)")
    parser.add_argument(
        "--seconds", type=float, metavar="S", default=0.5, help="time for each pair (default: %(default)s)"
    )
    parser.add_argument(
        "--out", metavar="DIR", default="seqmem-bench", help="where figures and page go (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as a JSON list instead")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.bench.command import bench

    return bench(arguments)
