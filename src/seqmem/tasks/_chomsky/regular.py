"""Tasks that a machine with a fixed number of states can do."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.tasks._chomsky.kind import Kind, one

CYCLE = 5
MODULUS = 5
DIGITS = tuple(str(digit) for digit in range(MODULUS))
STAY, FORWARD, BACK = 5, 6, 7
PLUS, MINUS, TIMES = 5, 6, 7


def even_pairs(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """1 where "ab" and "ba" together stand there an odd number of times: where first and last differ."""
    strings = torch.randint(2, (rows, size), generator=generator)
    return strings, (strings[:, :1] != strings[:, -1:]).long()


def parity_check(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """1 where the ones are odd in number."""
    strings = torch.randint(2, (rows, size), generator=generator)
    return strings, strings.sum(1, keepdim=True) % 2


def cycle_navigation(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The place on a circle of five after these moves from 0."""
    moves = torch.randint(3, (rows, size), generator=generator)  # stay, forward, back
    return STAY + moves, ((moves == 1).long() - (moves == 2).long()).sum(1, keepdim=True) % CYCLE


def modular_arithmetic(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The value of digits between +, - and *, products first, modulo 5. ``size`` is odd."""
    digits = torch.randint(MODULUS, (rows, size // 2 + 1), generator=generator)
    operators = PLUS + torch.randint(3, (rows, size // 2), generator=generator)
    strings = torch.empty(rows, size, dtype=torch.int64)
    strings[:, ::2], strings[:, 1::2] = digits, operators
    total, product = torch.zeros(rows, dtype=torch.int64), digits[:, 0]
    for digit, operator in zip(digits[:, 1:].T, operators.T, strict=True):
        times = operator == TIMES
        total = torch.where(times, total, total + product) % MODULUS
        signed = torch.where(operator == MINUS, -digit, digit)
        product = torch.where(times, product * digit, signed) % MODULUS
    return strings, ((total + product) % MODULUS)[:, None]


KINDS = {
    "even_pairs": Kind("regular", ("0", "1"), one, 1 / 2, even_pairs),
    "parity_check": Kind("regular", ("0", "1"), one, 1 / 2, parity_check),
    "cycle_navigation": Kind("regular", (*DIGITS, "stay", "forward", "back"), one, 1 / CYCLE, cycle_navigation),
    "modular_arithmetic": Kind("regular", (*DIGITS, "+", "-", "*"), one, 1 / MODULUS, modular_arithmetic, stride=2),
}
