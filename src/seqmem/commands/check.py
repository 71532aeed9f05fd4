"""``seqmem check``: run the mixer contract on a layer."""

from __future__ import annotations

import argparse

SUMMARY = "run the mixer contract on a layer"
DESCRIPTION = (
    "Runs the eight points of the mixer contract on a layer of the library or on your own, constructed as Class(width)."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mixer", metavar="NAME|package.module:ClassName")
    parser.add_argument("--width", type=int, default=16, help="the width to construct it with (default: %(default)s)")
    parser.add_argument(
        "--examples", type=int, default=0, metavar="N", help="check N drawn calls besides; needs Hypothesis"
    )
    parser.add_argument("--json", action="store_true", help="print the points as JSON")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.report.tables import console
    from seqmem.testing import run_check

    return run_check(
        arguments.mixer, width=arguments.width, as_json=arguments.json, examples=arguments.examples, console=console()
    )
