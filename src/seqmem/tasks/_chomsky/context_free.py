"""Tasks that ask for a stack."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.tasks._chomsky import expressions
from seqmem.tasks._chomsky.kind import Kind, as_long, one
from seqmem.tasks._chomsky.regular import DIGITS, MODULUS
from seqmem.tasks.base import IGNORE

POP, PUSH, STACK_END = 2, 3, 5  # PUSH + symbol
UNKNOWN, EQUALS = 9, 10


def stack_manipulation(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A stack, bottom first, and what is done to it; the answer is the stack, top first, and an end. A pop of nothing
    does nothing."""
    held = 1 + (torch.rand(rows, generator=generator, dtype=torch.float64) * max(1, size - 1)).long()
    symbols = torch.randint(2, (rows, size), generator=generator)
    actions = torch.randint(POP, POP + 3, (rows, size), generator=generator)
    strings = torch.where(torch.arange(size) < held[:, None], symbols, actions)
    stack, height = torch.zeros(rows, size + 1, dtype=torch.int64), torch.zeros(rows, 1, dtype=torch.int64)
    for token in strings.T[..., None]:  # (rows, 1)
        pushed = torch.where(token < POP, token, token - PUSH)
        stack = torch.where(token == POP, stack, stack.scatter(1, height, pushed))
        height = torch.where(token == POP, (height - 1).clamp(min=0), height + 1)
    place = height - 1 - torch.arange(size + 1)  # (rows, answer)
    answers = stack.gather(1, place.clamp(min=0)).masked_fill(place == -1, STACK_END)
    return strings, answers.masked_fill(place < -1, IGNORE)


def reverse_string(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The string from its end."""
    strings = torch.randint(2, (rows, size), generator=generator)
    return strings, strings.flip(1)


def modular_arithmetic_brackets(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The value of an expression with brackets, modulo 5."""
    strings, values = expressions.draw(rows, size, generator)
    return strings, values[:, None]


def solve_equation(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The digit that x stands for in "expression = value", modulo 5."""
    strings, values = expressions.draw(rows, size - 2, generator)
    start = torch.randint(size - 2, (rows, 1), generator=generator)
    onwards = (torch.arange(size - 2) - start) % (size - 2)  # (rows, place): steps from a random place, round the end
    place = onwards.masked_fill(strings >= MODULUS, size).argmin(1, keepdim=True)
    answers = strings.gather(1, place)
    hidden = strings.scatter(1, place, UNKNOWN)
    return torch.cat([hidden, torch.full((rows, 1), EQUALS), values[:, None]], 1), answers


def _and_end(size: int) -> int:
    return size + 1


_SIGNS = (*DIGITS, "+", "-", "(", ")")
_FREE = "context-free"
KINDS = {
    "stack_manipulation": Kind(
        _FREE, ("0", "1", "pop", "push 0", "push 1", "end"), _and_end, 1 / 2, stack_manipulation
    ),
    "reverse_string": Kind(_FREE, ("0", "1"), as_long, 1 / 2, reverse_string),
    "modular_arithmetic_brackets": Kind(_FREE, _SIGNS, one, 1 / MODULUS, modular_arithmetic_brackets),
    "solve_equation": Kind(_FREE, (*_SIGNS, "x", "="), one, 1 / MODULUS, solve_equation, least=3),
}
