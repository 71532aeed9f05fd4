"""Random expressions with brackets, all rows at once, level by level of their trees.

An expression of 1 to 4 symbols is d, -d, (d) or (-d); a longer one is (left + right) or (left - right), the place
between them drawn evenly.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqmem.tasks._chomsky.regular import MINUS, MODULUS, PLUS

OPEN, CLOSE = 7, 8


class Level(NamedTuple):
    """Parts at one depth; the two halves of the n-th longer one are numbers 2n and 2n + 1 of the next level.

    longer, minus: (part,) bool; value: (part,) int64, of the digits."""

    longer: Tensor
    minus: Tensor
    value: Tensor


def draw(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Expressions (rows, size) and their values (rows,), modulo 5."""
    tokens = torch.empty(rows * size, dtype=torch.int64)
    start, length = torch.arange(rows) * size, torch.full((rows,), size)  # of every part, in the flat tokens
    levels: list[Level] = []
    while len(start) > 0:
        longer = length > 4
        minus = torch.randint(2, start.shape, generator=generator).bool()
        share = torch.rand(start.shape, generator=generator, dtype=torch.float64)
        digit = torch.randint(MODULUS, start.shape, generator=generator)
        minus = minus.where(longer, length % 2 == 0)
        bracketed = length > 2
        tokens[start[bracketed]] = OPEN
        tokens[(start + length - 1)[bracketed]] = CLOSE
        left = 1 + (share * (length - 4)).long()  # where longer: 1 to length - 4
        sign = start + torch.where(longer, 1 + left, bracketed.long())
        tokens[sign[longer | minus]] = torch.where(minus, MINUS, PLUS)[longer | minus]
        tokens[(start + bracketed + minus)[~longer]] = digit[~longer]
        levels.append(Level(longer, minus, torch.where(minus, -digit, digit)))
        begins = torch.stack([start + 1, sign + 1], 1)[longer]  # (longer part, half)
        lengths = torch.stack([left, length - left - 3], 1)[longer]
        start, length = begins.flatten(), lengths.flatten()
    return tokens.view(rows, size), _value(levels)


def _value(levels: list[Level]) -> Tensor:
    below = torch.empty(0, 2, dtype=torch.int64)  # the values of the halves
    for longer, minus, value in reversed(levels):
        left, right = below.T
        value = value.clone()
        value[longer] = left + torch.where(minus[longer], -right, right)
        value = value % MODULUS
        below = value.view(-1, 2) if len(value) % 2 == 0 else value[:, None]
    return below.flatten()
