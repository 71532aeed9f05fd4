"""Selective copying: keep the symbols, let the blanks go by.

Source: Mamba: Linear-Time Sequence Modeling with Selective State Spaces (2023), arXiv 2312.00752, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.base import IGNORE, Batch, Split, Task

BLANK, ASK, FIRST_SYMBOL = 0, 1, 2


@dataclass(frozen=True)
class SelectiveCopying(Task):
    """A few symbols at random places among blanks, then as many steps that ask for them in their order.

    Where a symbol stands says nothing, so a fixed filter over time cannot find it: the layer must choose by content. A
    longer sequence has more blanks, not more symbols.

    Options:
        length: time steps of a training example, the asking ones included; at least 2 per symbol.
        symbols: how many symbols are to be kept.
        vocabulary: number of different symbols.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    length: int = 64
    symbols: int = 8
    vocabulary: int = 16
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("selective_copying", "length", self.length, at_least=1)
        _check.integer("selective_copying", "symbols", self.symbols, at_least=1)
        _check.integer("selective_copying", "vocabulary", self.vocabulary, at_least=2)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("selective_copying", self.test_lengths, length))
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
                f"task 'selective_copying': length={length} is too short for symbols={self.symbols}, expected at least "
                f"{2 * self.symbols} (a place and a question for each); use fewer symbols or a greater length"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request("selective_copying", batch_size, length, generator, split)
        self._check_length(length)
        body = length - self.symbols
        places = _draw.subsets(batch_size, self.symbols, body, generator).sort(dim=1).values  # (batch, symbol)
        symbols = torch.randint(FIRST_SYMBOL, self.vocab_size, (batch_size, self.symbols), generator=generator)
        inputs = torch.full((batch_size, length), BLANK)
        inputs.scatter_(1, places, symbols)
        inputs[:, body:] = ASK
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, body:] = symbols
        return Batch(inputs, targets)

    def example(self, generator: torch.Generator) -> str:
        """Symbols as numbers, blanks as dots."""
        batch = self.sample(1, self.length, generator)
        body = batch.inputs[0, : -self.symbols].tolist()
        words = ["." if token == BLANK else str(token - FIRST_SYMBOL) for token in body]
        answer = [str(token - FIRST_SYMBOL) for token in batch.targets[0, -self.symbols :].tolist()]
        return f"{' '.join(words)}  | {'? ' * self.symbols}->  {' '.join(answer)}"
