"""ListOps: what does this nested list of operations on digits come to?

Source: ListOps: A Diagnostic Dataset for Latent Tree Learning (2018), arXiv 1804.06028; long ones in Long Range Arena
(2020), arXiv 2011.04006.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks._trees import DIGITS, Grown, capacity, grow
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

OPERATIONS = ("MAX", "MIN", "MED", "SM")
FIRST_OPERATION = 1 + DIGITS
CLOSE = FIRST_OPERATION + len(OPERATIONS)


@dataclass(frozen=True)
class ListOps(Task):
    """``[MAX 4 [MIN 2 3 ] 1 0 [MED 1 5 8 9 2 ] ]`` is 5: lists of an operation and two or more arguments, each a digit
    or a list; the value is asked at the bracket that closes the outermost list.

    MAX and MIN are the greatest and the least argument, MED is their median (of an even number the mean of the two in
    the middle, rounded down), SM their sum, its last digit. The expression fills the row but for a few blanks in front.
    Every answer is as likely as any other. Token 0 is the blank, d + 1 the digit d, then come the operations (with
    their bracket) and the closing bracket.

    Options:
        length: time steps of a training example, at least 4.
        depth: lists that are open at once, at most.
        arguments: of a list, at most; at least 2.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; depth and arguments stay, there are
            more lists.
    """

    changes: ClassVar[Changes] = {"depth": (7, 10), "arguments": (7, 10), "length": (128, 256)}

    length: int = 64
    depth: int = 5
    arguments: int = 5
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("listops", "length", self.length, at_least=4)
        _check.integer("listops", "depth", self.depth, at_least=1)
        _check.integer("listops", "arguments", self.arguments, at_least=2)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("listops", self.test_lengths, length))
        for one in self.test_lengths:
            self._check_length(one)

    @property
    def vocab_size(self) -> int:
        return CLOSE + 1

    @property
    def chance(self) -> float:
        return 1 / DIGITS

    def _check_length(self, length: int) -> None:
        _check.integer("listops", "length", length, at_least=4)
        most = capacity(self.depth, self.arguments)
        if length > most:
            raise InputError(
                f"task 'listops': length={length}, expected at most {most}, which is all that depth={self.depth} and "
                f"arguments={self.arguments} have room for; use a greater depth or more arguments"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps. Each row draws its answer, and takes the next random
        expression that has it."""
        _check.request("listops", batch_size, length, generator, split)
        self._check_length(length)
        wanted = torch.randint(DIGITS, (batch_size,), generator=generator)
        inputs = torch.empty(batch_size, length, dtype=torch.int64)
        left = torch.arange(batch_size)  # rows without an expression
        while len(left):
            found = grow(2 * len(left) + 32, length, self.depth, self.arguments, generator)
            chosen = _first_come(wanted[left], found)
            got = chosen >= 0
            inputs[left[got]] = found.tokens[chosen[got]]
            left = left[~got]
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, -1] = 1 + wanted
        return Batch(inputs, targets)

    def example(self, generator: torch.Generator) -> str:
        """The expression, and its value."""
        batch = self.sample(1, self.length, generator)
        return f"{written(batch.inputs[0].tolist())} -> {int(batch.targets[0, -1]) - 1}"


def written(tokens: Sequence[int]) -> str:
    """A row as text."""
    words = ("", *map(str, range(DIGITS)), *(f"[{name}" for name in OPERATIONS), "]")
    return " ".join(words[token] for token in tokens if token)


def _first_come(wanted: torch.Tensor, found: Grown) -> torch.Tensor:
    """For every wanted value the number of an expression that has it, each given once; -1 where there are too few."""
    chosen = torch.full_like(wanted, -1)
    for value in range(DIGITS):
        rows, expressions = (wanted == value).nonzero()[:, 0], (found.values == value).nonzero()[:, 0]
        count = min(len(rows), len(expressions))
        chosen[rows[:count]] = expressions[:count]
    return chosen
