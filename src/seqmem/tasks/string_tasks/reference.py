"""How probable a text is: a character n-gram model of any text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seqmem.errors import InputError

#: text -> natural logarithm of its probability
Reference = Callable[[str], float]
Array = NDArray[np.int64]

MOST = 7  # a context and the next character: bytes that an integer of 64 bits holds without its sign
BEGIN = b"\n"


class CharNGram:
    """An n-gram model of bytes, with contexts of 0 to ``order`` - 1 bytes mixed as by Witten and Bell: a context that
    was followed by many different bytes leaves more to the shorter ones.

        p(x | c) = (n(c x) + t(c) p(x | shorter c)) / (n(c) + t(c))

    n(c x): how often x followed c; n(c): how often anything did; t(c): how many different ones. The shortest mixes with
    a uniform distribution over 256. ``CharNGram(text)(line)`` is log p of a line, a line break before it and none
    behind.

    Source: The zero-frequency problem (1991), IEEE Transactions on Information Theory 37 (4).
    """

    def __init__(self, text: str, order: int = 5) -> None:
        if not 1 <= order <= MOST:
            raise InputError(f"order={order}, expected 1 to {MOST}")
        if not text:
            raise InputError("the text of a CharNGram is empty, expected lines to learn from")
        data = np.frombuffer(BEGIN + text.encode() + BEGIN, np.uint8)
        self.order = order
        #: for each size of context: numbers of contexts with the next byte, sorted, and their counts
        self._grams: list[tuple[Array, Array]] = []
        #: numbers of contexts, how often they are continued, and how many ways
        self._contexts: list[tuple[Array, Array, Array]] = []
        for size in range(order):
            grams, counts = np.unique(_numbers(data, size + 1), return_counts=True)
            starts = np.flatnonzero(np.diff(grams // 256, prepend=-1))
            self._grams.append((grams, counts))
            kinds = np.diff(np.append(starts, len(grams)))
            self._contexts.append((grams[starts] // 256, np.add.reduceat(counts, starts), kinds))

    def __call__(self, line: str) -> float:
        """log p of a line, in nats."""
        return float(np.log(self.probabilities(line)).sum())

    def probabilities(self, line: str) -> NDArray[np.float64]:
        """p of each byte of a line, given those before it."""
        data = np.frombuffer(BEGIN + line.encode(), np.uint8)
        p = np.full(len(data) - 1, 1 / 256)
        for size in range(min(self.order, len(data))):
            grams = _numbers(data, size + 1)[max(0, 1 - size) :]  # those that end behind the line break
            first = len(p) - len(grams)
            (followed,) = _looked_up(grams, *self._grams[size])
            total, kinds = _looked_up(grams // 256, *self._contexts[size])
            seen = total > 0
            mixed = (followed + kinds * p[first:]) / np.where(seen, total + kinds, 1)
            p[first:] = np.where(seen, mixed, p[first:])
        return p


def _numbers(data: NDArray[np.uint8], size: int) -> Array:
    """Each ``size`` neighbouring bytes as one number, the last byte the lowest."""
    count = len(data) - size + 1
    number = np.zeros(count, np.int64)
    for n in range(size):
        number = number * 256 + data[n : n + count]
    return number


def _looked_up(wanted: Array, keys: Array, *columns: Array) -> list[Array]:
    """The columns' values at sorted keys, 0 where there is none."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return [np.where(keys[at] == wanted, column[at], 0) for column in columns]
