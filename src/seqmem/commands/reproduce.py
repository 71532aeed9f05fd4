"""``seqmem reproduce``: run the experiments of papers, and judge their claims by rules written before the run."""

from __future__ import annotations

import argparse

from seqmem.commands._engine import add_options

SUMMARY = "run the experiments of papers and judge their claims"
DESCRIPTION = (
    "Runs the experiment of each paper, prints its figures and the verdict that follows from them by a rule that was "
    "written before the run, and writes a page per paper and an index to DIR. Finished parts are never run again. Exit "
    "code 0 when all ran, whatever the verdicts; 1 when a part failed; 2 for bad input."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("slugs", nargs="*", metavar="SLUG", help="names, see 'seqmem papers'")
    parser.add_argument("--all", action="store_true", help="every paper that is built")
    parser.add_argument("--room", metavar="ROOM", help="every paper of a room that is built")
    parser.add_argument("--budget", choices=("smoke", "laptop", "full"), default="laptop", help="default: laptop")
    parser.add_argument("--model", metavar="M", help="a Hugging Face name or path, for papers that look into a model")
    parser.add_argument("--seeds", type=int, metavar="N", help="repetitions with different seeds")
    parser.add_argument(
        "--out", metavar="DIR", default="seqmem-papers", help="where the pages go (default: %(default)s)"
    )
    add_options(parser, "finished parts")
    parser.add_argument("--json", action="store_true", help="print a JSON list of the evidence instead")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.papers.command import reproduce_command

    return reproduce_command(arguments)
