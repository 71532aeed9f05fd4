"""Tasks that ask for more than a stack."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import torch
from torch import Tensor

from seqmem.tasks._chomsky.kind import Draw, Kind, as_long, one
from seqmem.tasks.base import IGNORE

BETWEEN, NUMBER_END = 2, 3
HIDDEN = 2
BUCKETS = 5


def duplicate_string(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The string twice."""
    strings = torch.randint(2, (rows, size), generator=generator)
    return strings, strings.repeat(1, 2)


def missing_duplicate(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A string twice, one symbol hidden; the answer is that symbol. ``size`` is even."""
    strings = torch.randint(2, (rows, size // 2), generator=generator).repeat(1, 2)
    place = torch.randint(size, (rows, 1), generator=generator)
    return strings.scatter(1, place, HIDDEN), strings.gather(1, place)


def odds_first(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """First, third, fifth ... symbol, then second, fourth ..."""
    strings = torch.randint(2, (rows, size), generator=generator)
    return strings, torch.cat([strings[:, ::2], strings[:, 1::2]], 1)


def bucket_sort(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The symbols in their order."""
    strings = torch.randint(BUCKETS, (rows, size), generator=generator)
    return strings, strings.sort(1).values


def of_two_numbers(calculate: Callable[[int, int], int]) -> Draw:
    """Two numbers above 0, least bit first; the answer likewise, and an end."""

    def draw(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        first = 1 + (torch.rand(rows, generator=generator, dtype=torch.float64) * (size - 2)).long()  # bits of it
        bits = torch.randint(2, (rows, size), generator=generator)
        bits.scatter_(1, first[:, None], BETWEEN)
        answers = torch.full((rows, size), IGNORE)
        for row, cut in enumerate(first.tolist()):
            numbers = []
            for part in (bits[row, :cut], bits[row, cut + 1 :]):
                if not part.any():
                    part[-1] = 1
                numbers.append(int("".join(map(str, part.flip(0).tolist())), 2))
            result = [int(bit) for bit in reversed(f"{calculate(*numbers):b}")]
            answers[row, : len(result) + 1] = torch.tensor([*result, NUMBER_END])
        return bits, answers

    return draw


def compute_sqrt(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A number above 0, greatest bit first; the answer is its root, rounded down, likewise, in half the bits."""
    bits = torch.randint(2, (rows, size), generator=generator)
    bits[:, -1] |= bits.sum(1) == 0
    roots = [math.isqrt(int("".join(map(str, row)), 2)) for row in bits.tolist()]
    width = _half(size)
    return bits, torch.tensor([[int(bit) for bit in f"{root:0{width}b}"] for root in roots])


def _twice(size: int) -> int:
    return 2 * size


def _half(size: int) -> int:
    return (size + 1) // 2


_ABOVE, _BITS = "context-sensitive", ("0", "1")
KINDS = {
    "duplicate_string": Kind(_ABOVE, _BITS, _twice, 1 / 2, duplicate_string),
    "missing_duplicate": Kind(_ABOVE, (*_BITS, "_"), one, 1 / 2, missing_duplicate, least=2, stride=2),
    "odds_first": Kind(_ABOVE, _BITS, as_long, 1 / 2, odds_first),
    "binary_addition": Kind(_ABOVE, (*_BITS, "+", "end"), as_long, 1 / 2, of_two_numbers(operator.add), least=3),
    "binary_multiplication": Kind(_ABOVE, (*_BITS, "*", "end"), as_long, 1 / 2, of_two_numbers(operator.mul), least=3),
    "compute_sqrt": Kind(_ABOVE, _BITS, _half, 1 / 2, compute_sqrt),
    "bucket_sort": Kind(_ABOVE, tuple(map(str, range(BUCKETS))), as_long, 1 / BUCKETS, bucket_sort),
}
