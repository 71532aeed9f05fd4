"""The ``seqmem`` command.

Exit codes: 0 done, 1 a check failed, 2 the input was wrong (one line on standard error says what was given, what was
expected and what to do), 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from seqmem import __version__
from seqmem.commands import COMMANDS
from seqmem.errors import InputError, did_you_mean
from seqmem.loading import import_module


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see '{self.prog} --help'")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="seqmem", description="A workbench for memory in sequence models.")
    parser.add_argument("--version", action="version", version=f"seqmem {__version__}")
    parser.add_argument(
        "--import", dest="imports", metavar="MODULE", action="append", default=[],
        help="import a module of your own first, such as the one with the layers of a saved model; before COMMAND",
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    for name, command in COMMANDS.items():
        command.add(commands.add_parser(name, help=command.SUMMARY, description=command.DESCRIPTION))
    return parser


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
        for name in given.imports:
            import_module(name, "--import")
        code = COMMANDS[given.command].run(given)
        sys.stdout.flush()  # a reader that has gone is noticed here rather than when Python ends
        return code
    except InputError as error:
        print(f"seqmem: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("seqmem: interrupted", file=sys.stderr)
        return 130
    except RuntimeError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):  # Python 3.11 wraps one that comes while a class is made
            raise
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
