"""The figures of a part at any size: traced there, or at a few small sizes and carried on exactly.

In the number of rows every figure is a line, and in the number of positions a parabola (attention's pairs), so three
lengths tell them all. A fourth, longer one is traced too and must agree; where it does not, no figure is given. Lengths
are taken that leave the same rest when divided by eight as the one that is asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch

from seqmem.models import SequenceConfig
from seqmem.planning.parts import Part, Piece
from seqmem.planning.trace import Call, Trace, trace

MOST_CALLS = {"traced": 3_000, "run": 30_000}  # of one trace: a layer that loops over time is traced at short lengths
LONGEST_REAL = 2_048  # positions of a layer that must be run for real
STEP = 8  # the short lengths are one, two, three and four times so many positions longer than the rest
TOLERANCE = 0.02  # between what three lengths foretell of the fourth and what it shows


class Rates(NamedTuple):
    """Of one device: products, operations per second of a matrix product; memory, bytes per second."""

    products: float
    memory: float


@dataclass(frozen=True)
class Pass:
    """One direction. calls: of torch's operators. products, kernels: operations in matrix products (with attention,
    convolutions, transforms) and in this library's kernels. moved: bytes. fresh: bytes of blocks above
    LARGEST_KEPT. limit: seconds that a device needs at least, each call the longer of its arithmetic and its memory."""

    calls: float = 0.0
    products: float = 0.0
    kernels: float = 0.0
    moved: float = 0.0
    fresh: float = 0.0
    limit: float = 0.0

    @property
    def flops(self) -> float:
        """All operations."""
        return self.products + self.kernels


@dataclass(frozen=True)
class Figures:
    """Of one training step of a part. saved: bytes kept for the backward pass, in ``saves`` calls. uncounted: operators
    that are missing from the operations. how: "traced", "run" for real, or "carried on" from shorter ones. miss: what
    contradicts them, "" where nothing does."""

    forward: Pass
    backward: Pass
    saved: float
    saves: float = 0.0
    uncounted: tuple[str, ...] = ()
    how: str = "traced"
    miss: str = ""

    @property
    def flops(self) -> float:
        """Of both passes."""
        return self.forward.flops + self.backward.flops

    @property
    def limit(self) -> float:
        """Seconds of both passes, at least."""
        return self.forward.limit + self.backward.limit

    @property
    def calls(self) -> float:
        """Of both passes."""
        return self.forward.calls + self.backward.calls

    @property
    def fresh(self) -> float:
        """Of both passes."""
        return self.forward.fresh + self.backward.fresh


def figures(config: SequenceConfig, part: Part, batch: int, time: int, dtype: torch.dtype, rates: Rates) -> Figures:
    """Of one step of ``batch`` rows of ``time`` positions."""

    @functools.cache
    def at(rows: int, positions: int) -> Figures:
        piece = Piece(config, part, rows, positions, dtype)
        return _of(trace(piece.build, piece.run, dtype), rates)

    if time <= 4 * STEP:
        return _by_rows(at, batch, time)
    rest = time % STEP
    first, second = at(batch, rest + STEP), at(batch, rest + 2 * STEP)
    calls = first.calls + (second.calls - first.calls) * (time - rest - STEP) / STEP
    longest = LONGEST_REAL if first.how == "run" else math.inf
    loops = calls > MOST_CALLS[first.how]
    if not loops and time <= longest:
        return _by_rows(at, batch, time)
    unit = STEP if loops else max(STEP, STEP * (LONGEST_REAL // (4 * STEP)))
    known = {length: _by_rows(at, batch, length) for length in (rest + n * unit for n in (1, 2, 3, 4))}
    return carried_on(known, time)


def _by_rows(at: Callable[[int, int], Figures], batch: int, time: int) -> Figures:
    """A run for real is spared all rows but three; one row is no measure, since it needs no broadcasting."""
    found = at(min(batch, 2), time)
    if batch <= 2:
        return found
    if found.how != "run":
        return at(batch, time)
    return _combined([found, at(3, time)], [3.0 - batch, batch - 2.0])


def carried_on(known: dict[int, Figures], time: int) -> Figures:
    """At ``time``, from the figures at four lengths: the parabola through the first three, checked at the last."""
    *lengths, last = sorted(known)
    told = [known[length] for length in lengths]
    foretold, found = _combined(told, lagrange(lengths, last)), known[last]
    misses = [
        f"{name} at {last} positions is {b:.4g}, not {a:.4g}"
        for (name, a), (_, b) in zip(_named(foretold), _named(found), strict=True)
        if abs(a - b) > TOLERANCE * max(abs(b), 1e-12)
    ]
    result = _combined(told, lagrange(lengths, time))
    return dataclasses.replace(result, how="carried on", miss=misses[0] if misses else "")


def lagrange(points: list[int], at: int) -> list[float]:
    """What the values at ``points`` are multiplied by in the value of their polynomial at ``at``."""
    return [math.prod((at - q) / (p - q) for q in points if q != p) for p in points]


def _combined(known: list[Figures], weights: list[float]) -> Figures:
    def total(of: Callable[[Figures], float]) -> float:
        return sum(w * of(one) for w, one in zip(weights, known, strict=True))

    def one_pass(which: str) -> Pass:
        return Pass(*(total(lambda f, n=field.name: getattr(getattr(f, which), n)) for field in fields(Pass)))  # type: ignore[misc]

    last = known[-1]
    kept = total(lambda f: f.saved), total(lambda f: f.saves)
    return Figures(one_pass("forward"), one_pass("backward"), *kept, last.uncounted, last.how)


def _named(found: Figures) -> list[tuple[str, float]]:
    """The figures that must be foretold rightly: the limit need not, since it takes the longer of two."""
    return [
        ("arithmetic", found.flops),
        ("arithmetic of the forward pass", found.forward.flops),
        ("memory that is moved", found.forward.moved + found.backward.moved),
        ("memory that is kept", found.saved),
    ]


def _of(found: Trace, rates: Rates) -> Figures:
    uncounted = tuple(f"{name} ({count} calls)" for name, count in found.uncounted.items())
    how = "run" if found.real else "traced"
    return Figures(_pass(found.forward, rates), _pass(found.backward, rates), found.saved, found.saves, uncounted, how)


def _pass(calls: Counter[Call], rates: Rates) -> Pass:
    def total(of: Iterable[tuple[float, int]]) -> float:
        return sum(value * count for value, count in of)

    each = calls.items()
    return Pass(
        calls=sum(calls.values()),
        products=total((call.flops, n) for call, n in each if not call.kernel),
        kernels=total((call.flops, n) for call, n in each if call.kernel),
        moved=total((call.moved, n) for call, n in each),
        fresh=total((call.fresh, n) for call, n in each),
        limit=total((max(call.done / rates.products, call.moved / rates.memory), n) for call, n in each),
    )
