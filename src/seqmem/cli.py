"""The ``seqmem`` command.

Exit codes: 0 done, 1 a check failed, 2 the input was wrong (one line on standard error says what was given, what was
expected and what to do), 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from seqmem import __version__
from seqmem.errors import InputError, did_you_mean

COMMANDS = ("compare", "check", "mixers", "tasks")


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see '{self.prog} --help'")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="seqmem", description="A workbench for memory in sequence models.")
    parser.add_argument("--version", action="version", version=f"seqmem {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    compare = commands.add_parser(
        "compare",
        help="train memory mechanisms side by side and report",
        description="Trains sequence mixers at equal parameters and equal tokens, prints one table, and writes "
        "DIR/results.jsonl and DIR/report.html. Without arguments: six mixers on associative recall and on real text.",
    )
    compare.add_argument(
        "study", nargs="?", metavar="STUDY.yaml", help="a study file; the options below override what it says"
    )
    compare.add_argument(
        "--mixers", metavar="A,B", help="names (see 'seqmem mixers') or package.module:ClassName, separated by commas"
    )
    compare.add_argument("--tasks", metavar="X,Y", help="names (see 'seqmem tasks'), separated by commas")
    compare.add_argument("--seeds", type=int, metavar="N", help="repetitions with different seeds")
    compare.add_argument("--budget", choices=("smoke", "laptop", "full"), help="how long to train (default: laptop)")
    compare.add_argument(
        "--out", metavar="DIR", default="seqmem-compare", help="where results and report go (default: %(default)s)"
    )
    compare.add_argument(
        "--store", metavar="DIR", help="where experiments are kept (default: $SEQMEM_STORE, else the user's cache)"
    )
    compare.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    compare.add_argument("--json", action="store_true", help="print the table as JSON instead")

    check = commands.add_parser(
        "check",
        help="run the mixer contract on a layer",
        description="Runs the eight points of the mixer contract on a layer of the library or on your own, constructed "
        "as Class(width).",
    )
    check.add_argument("mixer", metavar="NAME|package.module:ClassName")
    check.add_argument("--width", type=int, default=16, help="the width to construct it with (default: %(default)s)")
    check.add_argument("--json", action="store_true", help="print the points as JSON")

    for name, what in (("mixers", "list the sequence-mixing layers"), ("tasks", "list the tasks")):
        listing = commands.add_parser(name, help=what, description=f"{what.capitalize()}.")
        listing.add_argument("--json", action="store_true", help="print a JSON list of objects")
    return parser


def _mixers(arguments: argparse.Namespace) -> int:
    from seqmem.mixers import MIXERS
    from seqmem.report.tables import print_listing

    rows = [{"name": m.name, "memory": m.memory, "summary": m.summary, "source": m.source} for m in MIXERS.values()]
    print_listing(rows, ("name", "memory", "summary", "source"), as_json=arguments.json)
    return 0


def _tasks(arguments: argparse.Namespace) -> int:
    from seqmem.report.tables import print_listing
    from seqmem.tasks import TASKS, describe

    if arguments.json:
        print(json.dumps([describe(name) for name in TASKS], indent=2))
    else:
        rows = [{"name": t.name, "summary": t.summary, "source": t.source} for t in TASKS.values()]
        print_listing(rows, ("name", "summary", "source"), as_json=False)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from seqmem.report.tables import console
    from seqmem.testing import run_check

    return run_check(arguments.mixer, width=arguments.width, as_json=arguments.json, console=console())


def _compare(arguments: argparse.Namespace) -> int:
    from seqmem.compare import compare

    return compare(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    with contextlib.suppress(FileNotFoundError):  # the current folder may have been deleted
        if (here := os.getcwd()) not in sys.path:
            sys.path.insert(
                0, here
            )  # so that package.module:ClassName finds a layer in the current folder, in this process and in workers
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        parser = _parser()
        if words and not words[0].startswith("-") and words[0] not in COMMANDS:
            raise InputError(
                f"unknown command '{words[0]}'.{did_you_mean(words[0], COMMANDS)} Commands: {', '.join(COMMANDS)}"
            )
        given = parser.parse_args(words)
        if given.command is None:
            parser.print_help()
            return 0
        code = {"compare": _compare, "check": _check, "mixers": _mixers, "tasks": _tasks}[given.command](given)
        sys.stdout.flush()  # a reader that has gone is noticed here rather than when Python ends
        return code
    except InputError as error:
        print(f"seqmem: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("seqmem: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `seqmem mixers | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder where a file should go
        print(f"seqmem: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
