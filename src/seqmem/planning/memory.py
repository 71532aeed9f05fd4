"""What a model remembers, in bytes, as a function of what it has read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch

from seqmem.models import SequenceConfig
from seqmem.planning.figures import STEP
from seqmem.planning.parts import Part, Piece
from seqmem.planning.trace import Trace, trace


class Growth(NamedTuple):
    """Bytes of one sequence's state after ``time`` positions: constant + per_position * time, at every length from
    ``since`` on that was looked at; since 0: at all of them."""

    constant: int
    per_position: float
    since: int = 0

    def at(self, time: int) -> float:
        """Bytes after so many positions."""
        return self.constant + self.per_position * time


def growth(config: SequenceConfig, part: Part, time: int, dtype: torch.dtype) -> Growth:
    """The line through the bytes at ``time`` and twice ``time``, and from where on it holds.

    A window, a segment or a cache of so many tokens fills up and stays: the line holds from there.
    """

    @functools.cache
    def traced(length: int) -> Trace:
        piece = Piece(config, part, 1, length, dtype)
        return trace(piece.build, piece.run, dtype, backward=False)

    lengths = sorted({1, STEP, time // 4, time // 2, time, 2 * time} - {0})
    if looping(traced):
        lengths = [1, STEP, 2 * STEP, 4 * STEP]
    known = {length: traced(length).state for length in lengths}
    *_, last, longest = known
    slope = (known[longest] - known[last]) / (longest - last)
    line = Growth(round(known[last] - slope * last), slope)
    wrong = [length for length, found in known.items() if found != line.at(length)]
    return line._replace(since=min(n for n in lengths if n > wrong[-1]) if wrong else 0)


def looping(traced: Callable[[int], Trace]) -> bool:
    """Whether a call for every position is made, so that long texts take long to trace. Such a layer has a state that
    is the same from the first position on, or grows from then on. traced: a call at so many positions."""
    short, long = (sum(traced(length).forward.values()) for length in (STEP, 2 * STEP))
    return long - short > STEP
