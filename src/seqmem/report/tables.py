"""Tables on a terminal, or the same rows as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


class _Console(Console):
    """A Console that leaves a closed pipe to its caller (rich itself would exit with code 1)."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(stderr: bool = False) -> Console:
    """A console that keeps whole lines when the output is not a terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return _Console(stderr=stderr, highlight=False, width=None if stream.isatty() else 1_000)


def print_listing(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print ``rows`` as a table with ``columns``, or as a JSON list of objects."""
    if as_json:
        print(json.dumps(list(rows), indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column == columns[0], style="bold" if column == columns[0] else "")
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    console().print(table)
