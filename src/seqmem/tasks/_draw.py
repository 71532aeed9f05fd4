"""Random draws for a whole batch at once, from an explicit generator.

Only ``torch.rand`` and ``torch.randint`` are used, because their streams do not depend on the machine; in float64,
because ties would be broken differently from machine to machine.
"""

from __future__ import annotations

import torch
from torch import Tensor


def subsets(rows: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    """A uniformly random set of ``count`` numbers below ``size`` for each row, in no particular order.

    Returns (rows, count) int64.
    R. W. Floyd's algorithm: element i draws below size - count + i + 1, and takes the last of these when its draw is
    already in. The cost does not depend on ``size``. Source: Bentley and Floyd, Programming Pearls: A Sample of
    Brilliance (1987).
    """
    last = torch.arange(size - count, size)
    draws = (torch.rand(rows, count, generator=generator, dtype=torch.float64) * (last + 1)).long()  # (rows, count)
    for i in range(1, count):
        taken = (draws[:, :i] == draws[:, i, None]).any(dim=1)
        draws[:, i].masked_fill_(taken, int(last[i]))
    return draws


def shuffled(values: Tensor, generator: torch.Generator) -> Tensor:
    """Each row of ``values``, (rows, count), in a random order of its own."""
    order = torch.rand(values.shape, generator=generator, dtype=torch.float64).argsort(dim=1)
    return values.gather(1, order)


def in_turn(rows: int, count: int, generator: torch.Generator) -> Tensor:
    """(rows,) int64: 0 to ``count`` - 1 round and round, from a random start."""
    return (torch.arange(rows) + torch.randint(count, (), generator=generator)) % count


def any_of(possible: Tensor, generator: torch.Generator) -> Tensor:
    """For each row one of the columns that are possible, (rows, columns) bool; the first, where none is."""
    return (torch.rand(possible.shape, generator=generator, dtype=torch.float64) * possible).argmax(1)


def weighted(rows: int, count: int, weights: Tensor, generator: torch.Generator) -> Tensor:
    """``count`` distinct indices for each row, drawn one by one in proportion to what is left of ``weights``.

    Returns (rows, count) int64. An exponential race: the arrival times E / weight, in their order, are such a sequence
    of draws.
    """
    uniform = torch.rand(rows, len(weights), generator=generator, dtype=torch.float64)
    arrival = -torch.log1p(-uniform) / weights  # (rows, len(weights))
    return arrival.topk(count, dim=1, largest=False).indices
