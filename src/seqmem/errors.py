"""The one exception that means: the input was wrong, not the program.

The command line prints its message as one line and exits with code 2. As a library it is an ordinary ``ValueError``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What was given, what was expected, and what to do, in one line."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``" Did you mean 'mamba'?"`` when a known name is near ``given``, else the empty string."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def line_of(error: BaseException | None) -> str:
    """What an exception says, in one line."""
    return " ".join(str(error).split())
