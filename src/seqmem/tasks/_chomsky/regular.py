"""Tasks that a machine with a fixed number of states can do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seqmem.tasks._chomsky.kind import Kind, Running, one
from seqmem.tasks.base import IGNORE

CYCLE = 5
MODULUS = 5
DIGITS = tuple(str(digit) for digit in range(MODULUS))
STAY, FORWARD, BACK = 5, 6, 7
PLUS, MINUS, TIMES = 5, 6, 7


def even_pairs(strings: Tensor) -> Tensor:
    """1 where "ab" and "ba" together stand there an odd number of times: where first and last differ."""
    return (strings[:, :1] != strings).long()


def parity_check(strings: Tensor) -> Tensor:
    """1 where the ones are odd in number."""
    return strings.cumsum(1) % 2


def cycle_navigation(strings: Tensor) -> Tensor:
    """The place on a circle of five after these moves from 0."""
    return ((strings == FORWARD).long() - (strings == BACK).long()).cumsum(1) % CYCLE


def modular_arithmetic(strings: Tensor) -> Tensor:
    """The value of digits between +, - and *, products first, modulo 5; nothing after an operator."""
    digits, operators = strings[:, ::2], strings[:, 1::2]
    answers = torch.full_like(strings, IGNORE)
    total, product = torch.zeros_like(digits[:, 0]), digits[:, 0]
    answers[:, 0] = product
    for place in range(operators.shape[1]):
        digit, operator = digits[:, place + 1], operators[:, place]
        times = operator == TIMES
        total = torch.where(times, total, total + product) % MODULUS
        signed = torch.where(operator == MINUS, -digit, digit)
        product = torch.where(times, product * digit, signed) % MODULUS
        answers[:, 2 * place + 2] = (total + product) % MODULUS
    return answers


def bits(rows: int, size: int, generator: torch.Generator) -> Tensor:
    """Zeros and ones."""
    return torch.randint(2, (rows, size), generator=generator)


def moves(rows: int, size: int, generator: torch.Generator) -> Tensor:
    """Stay, forward, back."""
    return STAY + torch.randint(3, (rows, size), generator=generator)


def expressions(rows: int, size: int, generator: torch.Generator) -> Tensor:
    """Digits with operators between them. ``size`` is odd."""
    strings = torch.empty(rows, size, dtype=torch.int64)
    strings[:, ::2] = torch.randint(MODULUS, (rows, size // 2 + 1), generator=generator)
    strings[:, 1::2] = PLUS + torch.randint(3, (rows, size // 2), generator=generator)
    return strings


Strings = Callable[[int, int, torch.Generator], Tensor]


def kind(symbols: tuple[str, ...], states: int, strings: Strings, running: Running, stride: int = 1) -> Kind:
    """A task whose answer is the last of the running answers."""

    def draw(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = strings(rows, size, generator)
        return drawn, running(drawn)[:, -1:]

    return Kind("regular", symbols, one, 1 / states, draw, stride=stride, running=running)


KINDS = {
    "even_pairs": kind(("0", "1"), 2, bits, even_pairs),
    "parity_check": kind(("0", "1"), 2, bits, parity_check),
    "cycle_navigation": kind((*DIGITS, "stay", "forward", "back"), CYCLE, moves, cycle_navigation),
    "modular_arithmetic": kind((*DIGITS, "+", "-", "*"), MODULUS, expressions, modular_arithmetic, stride=2),
}
