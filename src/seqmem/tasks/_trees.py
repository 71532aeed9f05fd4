"""How nested lists grow: token by token from the left, all rows of a batch at once, each with its value.

In numpy, whose calls cost less than a tensor's on so few numbers; all draws come from the torch generator.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

DIGITS = 10
LEAST = 2  # arguments of a list
OPEN, DIGIT, SHUT = range(3)
LIKING = np.array([[0.25], [0.5], [0.25]])  # for each of these, where all are possible


class Grown(NamedTuple):
    """tokens: (rows, length) int64, blanks (0) in front. values: (rows,) int64."""

    tokens: Tensor
    values: Tensor


def capacity(depth: int, arguments: int) -> int:
    """Tokens of the largest tree: a digit is 1, a list is its two brackets and as many of the next smaller."""
    size = 1
    for _ in range(depth):
        size = 2 + arguments * size
    return size


def grow(rows: int, length: int, depth: int, arguments: int, generator: torch.Generator) -> Grown:
    """``rows`` random lists of at most ``length`` tokens, filled up with blanks in front.

    A list shuts, takes a digit or opens another list, whichever is possible: what is open can still be brought to its
    end in the steps left, and, as long as anything allows it, can still be made to fill them all.
    """
    draws = torch.rand(3, length, rows, generator=generator, dtype=torch.float64).numpy()
    operations, digits = (draws[1] * 4).astype(np.int64), (draws[2] * DIGITS).astype(np.int64)
    room = np.array([capacity(depth - level, arguments) for level in range(depth + 1)])  # of an argument, by level
    row = np.arange(rows)
    tokens = np.zeros((rows, length), dtype=np.int64)
    kind = np.zeros((rows, depth + 1), dtype=np.int64)  # the operation of each list that is open
    count = np.zeros((rows, depth + 1), dtype=np.int64)  # its arguments so far; level 0 has the tree as its only one
    values = np.zeros((rows, depth + 1, arguments), dtype=np.int64)
    ended = np.full(rows, length)
    tokens[:, 0] = 1 + DIGITS + operations[0]
    kind[:, 1] = operations[0]
    level = np.ones(rows, dtype=np.int64)  # lists that are open
    least = np.full(rows, LEAST + 1)  # tokens that it takes to shut everything
    most = np.full(rows, room[0] - 1)  # tokens that can still come

    for t in range(1, length):
        left = length - t - 1
        alive, have, here = level > 0, count[row, level], room[level]
        needed, free = have < LEAST, alive & (have < arguments)
        after_least = np.stack([least + LEAST + 1 - needed, least - needed, least - 1])
        after_most = np.stack([most - 1, most - here, most - 1 - (arguments - have) * here])
        possible = np.stack([free & (level < depth), free, alive & ~needed]) & (after_least <= left)
        filling = possible & (after_most >= left)
        bound = (LIKING * np.where(filling.any(0), filling, possible)).cumsum(0)
        action = (draws[0, t] * bound[2] >= bound).sum(0)  # the first whose bound is above the draw
        taken = np.minimum(action, SHUT)  # of a tree that has ended, any
        least, most = after_least[taken, row], after_most[taken, row]

        opens, takes, shuts = (alive & (action == one) for one in (OPEN, DIGIT, SHUT))

        where = row[takes]
        _append(values, count, where, level[where], digits[t, where])
        tokens[where, t] = 1 + digits[t, where]

        where = row[opens]
        level[where] += 1
        kind[where, level[where]] = operations[t, where]
        count[where, level[where]] = 0
        tokens[where, t] = 1 + DIGITS + operations[t, where]

        where = row[shuts]
        inner = level[where]
        result = _value(kind[where, inner], values[where, inner], count[where, inner])
        level[where] -= 1
        _append(values, count, where, level[where], result)
        tokens[where, t] = 1 + DIGITS + 4
        ended[where[level[where] == 0]] = t + 1

    place = np.arange(length) - (length - ended)[:, None]  # each tree moved to the end of its row
    moved = np.where(place >= 0, np.take_along_axis(tokens, np.maximum(place, 0), 1), 0)
    return Grown(torch.from_numpy(moved), torch.from_numpy(values[:, 0, 0].copy()))


def _append(values: np.ndarray, count: np.ndarray, rows: np.ndarray, level: np.ndarray, what: np.ndarray) -> None:
    """One more argument of the list that is open at ``level``."""
    values[rows, level, count[rows, level]] = what
    count[rows, level] += 1


def _value(kind: np.ndarray, values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Of lists with operation ``kind`` (lists,) and the first ``count`` of ``values`` (lists, arguments)."""
    inside = np.arange(values.shape[1]) < count[:, None]
    ranked = np.sort(np.where(inside, values, DIGITS), 1)
    lists = np.arange(len(kind))
    middle = (ranked[lists, (count - 1) // 2] + ranked[lists, count // 2]) // 2
    total = (values * inside).sum(1) % DIGITS
    return np.choose(kind, [ranked[lists, count - 1], ranked[:, 0], middle, total])
