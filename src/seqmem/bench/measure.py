"""Two calls timed against each other: alternating, in one process, judged by the ratio within each round.

A machine's speed drifts, and both calls of a round drift together: the median of the rounds' ratios holds where a ratio
of two medians would not. The spread that is given is the middle half of the ratios (the quartiles).
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

Call = Callable[[], Any]
Clock = Callable[[], float]

LEAST_ROUNDS, MOST_ROUNDS = 3, 200
SLOW = 4.0  # a call that takes more than so many times the seconds of its pair is timed once


class Timing(NamedTuple):
    """ratio: seconds of the other call over seconds of ours, median over the rounds; low, high: its quartiles, None
    when the other was called once. ours, other: median seconds."""

    ratio: float
    low: float | None
    high: float | None
    ours: float
    other: float
    rounds: int


def against(
    ours: Call,
    other: Call,
    seconds: float,
    agree: Callable[[Any, Any], None] | None = None,
    clock: Clock = time.perf_counter,
) -> Timing:
    """Time ``other`` against ``ours`` for about ``seconds``, after a first call of each that is not counted; what these
    return is given to ``agree(ours, other)``, which may raise.

    At least three rounds; a call of ``other`` that takes more than ``SLOW * seconds`` is its only one.
    """
    expected = ours()
    start = clock()
    found = other()
    once = clock() - start
    if agree is not None:
        agree(expected, found)
    del expected, found
    mine: list[float] = []
    theirs: list[float] = []
    with undisturbed():
        if once > SLOW * seconds:
            mine = [_timed(ours, clock) for _ in range(LEAST_ROUNDS + 1)][1:]
            typical = statistics.median(mine)
            return Timing(once / typical, None, None, typical, once, 1)
        end = clock() + seconds
        while len(mine) < LEAST_ROUNDS or (clock() < end and len(mine) < MOST_ROUNDS):
            first_ours = len(mine) % 2 == 0  # who goes first changes, so that neither always finds the other's caches
            if first_ours:
                mine.append(_timed(ours, clock))
            theirs.append(_timed(other, clock))
            if not first_ours:
                mine.append(_timed(ours, clock))
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    low, middle, high = quartiles(ratios)
    return Timing(middle, low, high, statistics.median(mine), statistics.median(theirs), len(ratios))


def alone(call: Call, seconds: float, clock: Clock = time.perf_counter) -> float:
    """Median seconds of a call, repeated for about ``seconds`` after two that are not counted."""
    return statistics.median(_repeated(call, seconds, clock))


def fastest(call: Call, seconds: float, clock: Clock = time.perf_counter) -> float:
    """The least seconds of such calls: what the machine can do, for a limit."""
    return min(_repeated(call, seconds, clock))


def _repeated(call: Call, seconds: float, clock: Clock) -> list[float]:
    for _ in range(2):
        call()
    taken: list[float] = []
    with undisturbed():
        end = clock() + seconds
        while len(taken) < LEAST_ROUNDS or (clock() < end and len(taken) < MOST_ROUNDS):
            taken.append(_timed(call, clock))
    return taken


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _timed(call: Call, clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without garbage collection."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
