"""Delayed copying: say the few symbols that stood at the beginning, after nothing for a long time.

Source: Unitary Evolution Recurrent Neural Networks (2015), arXiv 1511.06464, its copying memory problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Split, Task

BLANK, ASK, FIRST_SYMBOL = range(3)


@dataclass(frozen=True)
class DelayedCopying(Task):
    """``symbols`` random symbols, a delay of blanks, then a question for each.

    How much is to be kept is always the same; a longer sequence keeps it for longer, ``length`` - 2 ``symbols`` blanks.

    Options:
        length: time steps of a training example, the asking ones included; at least 2 per symbol.
        symbols: how many symbols are to be kept.
        vocabulary: number of different symbols.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    length: int = 40
    symbols: int = 10
    vocabulary: int = 8
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("delayed_copying", "length", self.length, at_least=1)
        _check.integer("delayed_copying", "symbols", self.symbols, at_least=1)
        _check.integer("delayed_copying", "vocabulary", self.vocabulary, at_least=2)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("delayed_copying", self.test_lengths, length))
        for one in self.test_lengths:
            self._check_length(one)

    @property
    def vocab_size(self) -> int:
        return self.vocabulary + FIRST_SYMBOL

    @property
    def train_length(self) -> int:
        return self.length

    @property
    def chance(self) -> float:
        return 1 / self.vocabulary

    def _check_length(self, length: int) -> None:
        if length < 2 * self.symbols:
            raise InputError(
                f"task 'delayed_copying': length={length} is too short for symbols={self.symbols}, expected at least "
                f"{2 * self.symbols} (a place and a question for each); use fewer symbols or a greater length"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request("delayed_copying", batch_size, length, generator, split)
        self._check_length(length)
        symbols = torch.randint(FIRST_SYMBOL, self.vocab_size, (batch_size, self.symbols), generator=generator)
        inputs = torch.full((batch_size, length), BLANK)
        inputs[:, : self.symbols] = symbols
        inputs[:, length - self.symbols :] = ASK
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, length - self.symbols :] = symbols
        return Batch(inputs, targets)

    def example(self, generator: torch.Generator) -> str:
        """Symbols as numbers, blanks as dots."""
        tokens = self.sample(1, self.length, generator).inputs[0].tolist()
        words = ["." if token == BLANK else str(token - FIRST_SYMBOL) for token in tokens[: -self.symbols]]
        return f"{' '.join(words)}  | {'? ' * self.symbols}->  {' '.join(words[: self.symbols])}"
