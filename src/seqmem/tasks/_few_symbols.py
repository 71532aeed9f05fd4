"""What selective and delayed copying share: a few symbols among blanks, then a question for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Split, Task

BLANK, ASK, FIRST_SYMBOL = range(3)


@dataclass(frozen=True)
class FewSymbols(Task):
    """The options are described in the tasks. A task gives its ``name`` and says where the symbols stand."""

    name: ClassVar[str]

    length: int
    symbols: int
    vocabulary: int
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer(self.name, "length", self.length, at_least=1)
        _check.integer(self.name, "symbols", self.symbols, at_least=1)
        _check.integer(self.name, "vocabulary", self.vocabulary, at_least=2)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test(self.name, self.test_lengths, length))
        for one in self.test_lengths:
            self._check_length(one)

    def _places(self, rows: int, body: int, generator: torch.Generator) -> Tensor:
        """Where the symbols stand in the ``body`` steps before the questions, in order: (rows, symbols)."""
        raise NotImplementedError

    @property
    def vocab_size(self) -> int:
        return self.vocabulary + FIRST_SYMBOL

    @property
    def chance(self) -> float:
        return 1 / self.vocabulary

    def _check_length(self, length: int) -> None:
        if length < 2 * self.symbols:
            raise InputError(
                f"task '{self.name}': length={length} is too short for symbols={self.symbols}, expected at least "
                f"{2 * self.symbols} (a place and a question for each); use fewer symbols or a greater length"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request(self.name, batch_size, length, generator, split)
        self._check_length(length)
        body = length - self.symbols
        places = self._places(batch_size, body, generator)
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
