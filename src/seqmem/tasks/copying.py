"""Copying: say again, from memory, the string that was just read.

Source: Neural Turing Machines (2014), arXiv 1410.5401, its copy task, with symbols in place of random vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

SEPARATOR, ASK, FIRST_SYMBOL = 0, 1, 2


@dataclass(frozen=True)
class Copying(Task):
    """``length`` / 2 random symbols, a separator, then nothing but the token that asks for the next one.

    The separator ends the string and asks for its first symbol, so that n symbols take 2n steps. The string grows with
    the length: a memory of constant size must fail from some length on.

    Options:
        length: time steps of a training example, an even number.
        vocabulary: number of different symbols.
        test_lengths: lengths to test at, even numbers, by default 1, 2 and 4 times ``length``.
    """

    changes: ClassVar[Changes] = {"vocabulary": (32, 64), "length": (128, 256)}

    length: int = 64
    vocabulary: int = 16
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("copying", "length", self.length, at_least=1)
        _check.integer("copying", "vocabulary", self.vocabulary, at_least=2)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("copying", self.test_lengths, length))
        for one in self.test_lengths:
            _check.even("copying", "length", one, "half string, half answer")

    @property
    def vocab_size(self) -> int:
        return self.vocabulary + FIRST_SYMBOL

    @property
    def chance(self) -> float:
        return 1 / self.vocabulary

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps, an even number."""
        _check.request("copying", batch_size, length, generator, split)
        _check.even("copying", "length", length, "half string, half answer")
        half = length // 2
        symbols = torch.randint(FIRST_SYMBOL, self.vocab_size, (batch_size, half), generator=generator)
        inputs = torch.full((batch_size, length), ASK)
        inputs[:, :half] = symbols
        inputs[:, half] = SEPARATOR
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, half:] = symbols
        return Batch(inputs, targets)

    def example(self, generator: torch.Generator) -> str:
        """Symbols as numbers."""
        inputs = self.sample(1, self.length, generator).inputs[0, : self.length // 2].tolist()
        symbols = " ".join(str(token - FIRST_SYMBOL) for token in inputs)
        return f"{symbols}  | {'? ' * len(inputs)}->  {symbols}"
