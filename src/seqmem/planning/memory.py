"""What a model remembers, in bytes, as a function of what it has read."""

from __future__ import annotations

from typing import NamedTuple

import torch

from seqmem.models import SequenceConfig
from seqmem.planning.figures import STEP
from seqmem.planning.parts import Part, Piece
from seqmem.planning.trace import trace


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
    lengths = sorted({1, STEP, time // 4, time // 2, time, 2 * time} - {0})
    if looping(config, part, dtype):
        lengths = [1, STEP, 2 * STEP, 4 * STEP]
    known = {length: state_bytes_at(config, part, length, dtype) for length in lengths}
    *_, last, longest = known
    slope = (known[longest] - known[last]) / (longest - last)
    line = Growth(round(known[last] - slope * last), slope)
    wrong = [length for length, found in known.items() if found != line.at(length)]
    return line._replace(since=min(n for n in lengths if n > wrong[-1]) if wrong else 0)


def state_bytes_at(config: SequenceConfig, part: Part, time: int, dtype: torch.dtype) -> int:
    """Of one sequence, after ``time`` positions in one call."""
    piece = Piece(config, part, 1, time, dtype)
    return trace(piece.build, piece.run, dtype, backward=False).state


def looping(config: SequenceConfig, part: Part, dtype: torch.dtype) -> bool:
    """Whether a call for every position is made, so that long texts take long to trace. Such a layer has a state that
    is the same from the first position on, or grows from then on."""
    piece = [Piece(config, part, 1, time, dtype) for time in (STEP, 2 * STEP)]
    short, long = (sum(trace(one.build, one.run, dtype, backward=False).forward.values()) for one in piece)
    return long - short > STEP
